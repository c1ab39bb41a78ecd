"""The registry of reference calculators: a new one is one line here."""

from collections.abc import Callable
from functools import cache

from jaxrecon.potentials.base import ReferenceCalculator
from jaxrecon.potentials.chgnet import CHGNet
from jaxrecon.potentials.emt import EffectiveMedium
from jaxrecon.potentials.gpaw import GpawPBE
from jaxrecon.potentials.imported import imported
from jaxrecon.potentials.in_jax import NequixReference, TersoffReference
from jaxrecon.potentials.sevennet import SevenNet
from jaxrecon.potentials.vasp import VaspPBE
from jaxrecon.potentials.xtb import XTB

CALCULATORS: dict[str, type[ReferenceCalculator]] = {
    "emt": EffectiveMedium,
    "tersoff": TersoffReference,
    "nequix": NequixReference,
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
        name: a key of :data:`CALCULATORS`, followed by a colon and a file if it takes one, like
            ``nequix:FILE.nqx``; or ``module:factory`` for a function of the user's own that returns
            an ASE calculator or a :class:`~jaxrecon.potentials.base.ReferenceCalculator`.

    Returns:
        The calculator, ready to compute energies in eV and forces in eV/Angstrom.

    Raises:
        ValueError: if no calculator has this name, its package is missing, the file has no
            parameters for it, or the function of the user's own fails.
        FileNotFoundError: if the file is missing.

    >>> from ase import Atoms
    >>> emt = reference_calculator("emt")
    >>> cluster = emt.for_cluster(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]]))
    >>> round(float(cluster.get_potential_energy()), 2)
    3.19
    """
    family, colon, path = name.partition(":")
    if family in CALCULATORS and (not colon or CALCULATORS[family].argument):
        kind: Callable[..., ReferenceCalculator] = CALCULATORS[family]
        return kind(path) if path else kind()
    if colon:
        return imported(name)
    names = ", ".join([*known_names(), "module:factory"])
    raise ValueError(f"expected a calculator among {names}, got {name!r}")


def known_names() -> list[str]:
    """The names of all calculators as people write them, like ``nequix:FILE.nqx``.

    >>> known_names()[:3]
    ['emt', 'tersoff[:FILE.tersoff]', 'nequix:FILE.nqx']
    """
    return [f"{name}{kind.argument}" for name, kind in CALCULATORS.items()]
