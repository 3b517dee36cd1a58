"""The catalog of the user: one database, with a module for each thing that it records."""
