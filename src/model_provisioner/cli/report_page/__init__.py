"""The page of `doit model-report`, a module for each section."""
