"""Features that depend on the element of the central atom alone."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class CenterValues(NamedTuple):
    """The features that depend on the element of the central atom and on nothing else.

    Their means over all atoms are linear in the composition, which the inverse finds from them.

    Attributes:
        features: their indices in a row.
        values: their values for each element of the descriptor, without a unit.
    """

    features: Int[np.ndarray, " k"]
    values: Float[np.ndarray, "e k"]
