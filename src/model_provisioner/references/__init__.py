"""What a text of the configuration refers to: references, digests, shards, and where paths lead on this machine."""
