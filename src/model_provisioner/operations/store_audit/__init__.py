"""The audit of a store, blob by blob."""
