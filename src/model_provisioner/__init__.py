"""An incremental build for model files."""
