"""Provenance: the log of verifications, the statements made from it, and the signatures of publishers."""
