"""Locks between threads, processes and hosts: what they hold, how far they reach, and what is renewed beyond that."""
