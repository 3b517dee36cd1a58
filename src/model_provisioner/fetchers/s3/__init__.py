"""Objects of S3 storage."""
