"""Local descriptors: one family a file, a config dataclass and pure functions."""
