"""One run: sweep, fetch, verify, register, publish."""
