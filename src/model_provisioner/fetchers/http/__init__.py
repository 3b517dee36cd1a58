"""Bytes over HTTP and HTTPS."""
