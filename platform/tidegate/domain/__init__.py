"""Frozen values and rules of the platform: no vendor library, no I/O beyond hashing what it is given."""
