"""Atoms, cells, what an atom sees of its neighbours, and how alike two structures are."""
