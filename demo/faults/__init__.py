"""Faults of the kind that happens, put into candidates on purpose to see them stopped."""
