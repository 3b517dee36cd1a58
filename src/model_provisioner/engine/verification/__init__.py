"""Verification: what the bytes of an entry are found to be."""
