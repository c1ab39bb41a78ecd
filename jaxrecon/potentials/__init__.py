"""Energies: calculators by name, labels, and reference calculations."""
