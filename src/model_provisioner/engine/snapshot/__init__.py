"""The snapshot of a run: compared at its beginning, written at its end."""
