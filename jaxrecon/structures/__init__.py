"""Structures: atoms and cells, the neighbours of an atom, and the similarity of two structures."""
