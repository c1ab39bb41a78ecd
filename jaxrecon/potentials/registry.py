"""The registry of reference calculators: a new one is one line here."""

from functools import cache

from jaxrecon.potentials.base import ReferenceCalculator
from jaxrecon.potentials.chgnet import CHGNet
from jaxrecon.potentials.emt import EffectiveMedium
from jaxrecon.potentials.gpaw import GpawPBE
from jaxrecon.potentials.imported import imported
from jaxrecon.potentials.sevennet import SevenNet
from jaxrecon.potentials.vasp import VaspPBE
from jaxrecon.potentials.xtb import XTB

CALCULATORS: dict[str, type[ReferenceCalculator]] = {
    "emt": EffectiveMedium,
    "chgnet": CHGNet,
    "sevennet": SevenNet,
    "xtb": XTB,
    "gpaw": GpawPBE,
    "vasp": VaspPBE,
}
"""The reference calculators by name."""


@cache
def reference_calculator(name: str) -> ReferenceCalculator:
    """Load a reference calculator, once per process.

    Args:
        name: a key of :data:`CALCULATORS`, or ``module:factory`` for a function of the user's own
            that returns an ASE calculator or a
            :class:`~jaxrecon.potentials.base.ReferenceCalculator`.

    Returns:
        The calculator, ready to compute energies in eV and forces in eV/Angstrom.

    Raises:
        ValueError: if no calculator has this name, its package is missing, or the function of the
            user's own fails.

    >>> from ase import Atoms
    >>> emt = reference_calculator("emt")
    >>> cluster = emt.for_cluster(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]]))
    >>> round(float(cluster.get_potential_energy()), 2)
    3.19
    """
    if ":" in name:
        return imported(name)
    if name not in CALCULATORS:
        names = ", ".join([*CALCULATORS, "module:factory"])
        raise ValueError(f"expected a calculator among {names}, got {name!r}")
    return CALCULATORS[name]()
