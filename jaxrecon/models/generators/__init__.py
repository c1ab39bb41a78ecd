"""Generators: fingerprints that structures with a wanted value of the property may have."""
