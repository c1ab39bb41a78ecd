"""Atom-centred symmetry functions (ACSF), a family of descriptors."""
