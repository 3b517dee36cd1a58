"""The page of `model-report`."""
