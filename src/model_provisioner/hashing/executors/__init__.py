"""Executors: files are hashed by threads, processes or workers on other machines. What they say is judged here."""
