"""What is recorded of models and of what was written for them: catalog, build record, handoff, snapshot."""
