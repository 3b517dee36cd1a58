"""The one door to the disk: atomic writes, bounded reads, locks, SQLite, and how files look to `stat`."""
