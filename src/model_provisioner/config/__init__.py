"""What a project asks for: `models.yaml` and `models.lock`, read into frozen values."""
