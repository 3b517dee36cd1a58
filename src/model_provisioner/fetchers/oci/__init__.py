"""Artifacts of OCI registries, and models of Ollama's."""
