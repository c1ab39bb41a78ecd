"""Figures, each a function of plain arrays, and the page of the explorer."""
