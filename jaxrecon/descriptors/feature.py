"""What a family of descriptors tells the rest of the program about each number of a row."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxrecon.descriptors.gram import GramEntry

RadialFunction = Callable[[Float[np.ndarray, " k"]], Float[np.ndarray, " k"]]
"""A function of distances in Angstrom, cutoff function included, with values without a unit."""


class Feature(NamedTuple):
    """What is known about one number of a row.

    Only the name is necessary. Everything else is a promise about the number that makes some part
    of the program work better; the defaults promise nothing.

    Attributes:
        name: a unique name for people, like ``"G2[O] eta=4 r_s=1"``; no code reads it.
        neighbors: chemical symbols of elements that all have to be among the neighbours for the
            number to differ from 0. The inverse finds from it which elements a structure has.
        nonnegative: whether the number is never negative. Generators then draw no negative value.
        radial: the function g if the number is the sum of g(r) over the distances r of all
            neighbours of the one element in :attr:`neighbors`, or of all elements where that is
            empty, and g is never negative. The inverse finds the composition and the volume of an
            unknown cell from the means of such numbers.
        peak: distance in Angstrom around which :attr:`radial` is largest.
        gram: its place in a positive semidefinite matrix. Generators draw no other matrices.
    """

    name: str
    neighbors: tuple[str, ...] = ()
    nonnegative: bool = False
    radial: RadialFunction | None = None
    peak: float = 0.0
    gram: GramEntry | None = None
