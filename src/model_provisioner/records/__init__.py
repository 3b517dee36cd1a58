"""What is recorded of models and written for them: catalog, build record, handoff, `.sha256` target, snapshot."""
