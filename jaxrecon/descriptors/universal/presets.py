"""The presets of universal fingerprints: one to be inverted, one to learn from."""

from functools import partial

from jaxrecon.descriptors.preset import Preset
from jaxrecon.descriptors.universal.universal import Universal

MEAN_AND_VARIANCE = {"poolings": ("mean", "moment2")}

PRESETS: dict[str, Preset] = {
    "universal": Preset(
        partial(
            Universal,
            own_r_s=(2.5, 3.5, 4.5),
            own_widths=(0.01, 0.05, 0.15, 0.4),
            own_l_max=2,
        ),
        MEAN_AND_VARIANCE,
    ),
    "alchemical": Preset(
        partial(
            Universal,
            properties=("group", "period"),
            eta=1.0,
            r_s=(1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0),
            widths=(0.02, 0.1),
            l_max=2,
        ),
        MEAN_AND_VARIANCE,
    ),
}
"""The presets by name.

``"universal"``, 256 numbers, is found again best. It has the defaults of the class, and functions
of neighbours of the central atom's own element: without them ten atoms of one element have 14
different numbers for 24 unknowns. Functions that count all neighbours alike hold such clusters as
well, but with them fewer large molecules are found than with neither.

Two of its weights tell elements apart that are chemically alike, which a model has to learn for
each: in ``"alchemical"``, 180 numbers, alike elements are alike. Kernel ridge regression that has
learned the heats of 900 perovskites is 0.19 eV/atom off with it, and 0.24 with the defaults of the
class; of 100 molecules a search finds 8 from it.
"""
