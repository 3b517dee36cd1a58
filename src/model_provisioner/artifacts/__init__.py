"""What we hold: files, their digests and headers, and the records we keep of them."""
