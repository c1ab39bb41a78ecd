"""Reference calculators by name, the energies that they give, and labels of many structures."""
