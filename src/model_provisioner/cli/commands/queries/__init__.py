"""The commands that tell what is known, and change nothing: `run` in the module of the name of each."""
