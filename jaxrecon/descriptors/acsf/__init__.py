"""Atom-centred symmetry functions."""
