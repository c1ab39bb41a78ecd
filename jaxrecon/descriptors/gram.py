"""Gram matrices: numbers that together can't be anything."""

from typing import NamedTuple


class GramEntry(NamedTuple):
    """Where a number stands in a symmetric matrix of scalar products.

    Such a matrix is positive semidefinite in every row, and so are sums and means over atoms. Of
    each pair of equal entries one is enough.

    Attributes:
        matrix: which of the matrices of the row.
        row: index of the first factor of the product.
        column: index of the second factor.
        scale: what the entry is multiplied by to give the number; not 0.
    """

    matrix: tuple[int, ...]
    row: int
    column: int
    scale: float
