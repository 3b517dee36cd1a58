"""What each command does: `run` in the module of its name, here or in `queries`."""
