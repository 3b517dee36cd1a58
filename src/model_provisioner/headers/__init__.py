"""Read the headers of model files, and check that the engine can load them."""
