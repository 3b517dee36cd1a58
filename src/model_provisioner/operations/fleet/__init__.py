"""The catalog of a fleet: a PostgreSQL to which hosts publish what they have, and which answers for all of them."""
