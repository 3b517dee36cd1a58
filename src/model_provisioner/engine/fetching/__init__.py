"""Fetching: the files of remote entries come into the store."""
