"""Long work on a machine: devices, processes, interruptions, progress, and files of results."""
