"""LocalConfig: all settings of the models of local energies, validated without JAX."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from jaxrecon.models.checks import check, check_names, check_whole
from jaxrecon.runtime.seeds import checked_seed

Selection = Literal["furthest", "random", "cur"]
Targets = Literal["local", "total", "both"]


@dataclass(frozen=True)
class LocalConfig:
    """Settings of the models of local energies; each model reads those that it needs.

    Attributes:
        targets: energies that are learned: ``"local"``, ``"total"`` or ``"both"``; None for local
            energies where they are known, and else totals.
        forces: whether forces are learned too; networks don't.
        sigma: noise of a local energy in eV: what the rows do not determine.
        sigma_total: noise of a total energy in eV, for one atom; it grows with the square root of
            the number of atoms.
        sigma_force: noise of a force in eV/Angstrom.
        points: number of sparse points of a kernel.
        inducing: number of inducing points of a deep kernel.
        selection: how sparse points are chosen: ``"furthest"``, ``"random"``, or ``"cur"`` by
            scikit-matter.
        zeta: exponent of the kernel of environments.
        layers: number of hidden layers of a network.
        hidden: number of units of a hidden layer.
        features: number of features that the network of a deep kernel gives to its kernel.
        dropout: fraction of hidden units that are left out in each step of the fit of a network.
        learning_rate: learning rate of Adam at the beginning; it falls to 0 along half a cosine.
        epochs: largest number of passes over the examples; the weights of the pass with the least
            validation error are chosen.
        steps: largest number of steps: with many examples there are fewer passes.
        batch: number of environments in a step, or of structures where totals are learned.
        members: number of networks in an ensemble.
        validation: fraction of the training examples that decides when a network stops.
        seed: seed of all random numbers.

    Raises:
        ValueError: if a value is out of range.

    >>> LocalConfig(points=500, zeta=2).sigma
    0.01
    """

    targets: Targets | None = None
    forces: bool = False
    sigma: float = 0.01
    sigma_total: float = 0.005
    sigma_force: float = 0.1
    points: int = 1000
    inducing: int = 200
    selection: Selection = "furthest"
    zeta: int = 4
    layers: int = 3
    hidden: int = 128
    features: int = 16
    dropout: float = 0.0
    learning_rate: float = 3e-3
    epochs: int = 300
    steps: int = 20_000
    batch: int = 256
    members: int = 1
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("sigma", "sigma_total", "sigma_force", "learning_rate"):
            check(self, name, "a number > 0", 0 < getattr(self, name) < math.inf)
        points = ("points", "inducing", "zeta")
        networks = ("layers", "hidden", "features", "epochs", "steps", "batch", "members")
        for name in points + networks:
            check_whole(self, name)
        check(self, "dropout", "a fraction in [0, 1)", 0 <= self.dropout < 1)
        check(self, "validation", "a fraction in (0, 1)", 0 < self.validation < 1)
        kinds = get_args(Targets)
        check(self, "targets", f"among {kinds} or None", self.targets in (None, *kinds))
        choices = get_args(Selection)
        check(self, "selection", f"among {choices}", self.selection in choices)
        object.__setattr__(self, "seed", checked_seed(self.seed))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "LocalConfig":
        """Make settings from plain data: the inverse of :meth:`to_dict`.

        Args:
            data: settings by name; missing ones have their defaults.

        Returns:
            The settings.

        Raises:
            ValueError: if a name is not a setting, or a value is out of range.
        """
        check_names(data, cls)
        return cls(**data)
