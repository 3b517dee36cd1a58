"""What the header of a model file says, and whether its engine can load it."""
