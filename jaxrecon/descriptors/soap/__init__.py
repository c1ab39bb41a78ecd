"""Smooth overlap of atomic positions (SOAP), a family of descriptors."""
