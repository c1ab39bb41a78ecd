"""The inverse: the search for structures with a given fingerprint."""
