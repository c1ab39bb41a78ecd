"""Models of local energies: one for structures of any size, as a sum over atoms."""
