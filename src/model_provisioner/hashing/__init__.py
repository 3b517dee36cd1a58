"""Which bytes a file holds: digests, and the memo that keeps an unchanged file from being read again."""
