"""The seams to doit: the only package that imports it."""
