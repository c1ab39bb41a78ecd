"""Devices, processes, interruptions, and what is kept of long work."""
