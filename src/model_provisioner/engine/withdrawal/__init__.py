"""Withdrawal: what can't be confirmed loses its handoff before the long work begins."""
