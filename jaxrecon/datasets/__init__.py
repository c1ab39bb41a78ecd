"""Structures and fingerprints: the paper's prototypes, clusters, and files in and out."""
