"""What is asked for: references, digests and the configuration. Pure values; nothing here reads a model."""
