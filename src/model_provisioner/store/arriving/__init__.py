"""The shared store of fetched files under `cache_dir`."""
