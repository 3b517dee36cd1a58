"""Add models to `models.yaml`."""
