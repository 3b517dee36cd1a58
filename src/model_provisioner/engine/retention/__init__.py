"""Retention: what of the store stays, what may be evicted, and who uses it."""
