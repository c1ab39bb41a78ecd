"""TrainConfig: all settings of a generator and a surrogate, validated without JAX."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from jaxrecon.models.checks import check, check_names, check_whole
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.registry import GENERATORS, SCALINGS, SURROGATES
from jaxrecon.runtime.seeds import checked_seed

SplitName = Literal["trajectory", "random"]


@dataclass(frozen=True)
class FitConfig:
    """Settings of one network and of its fit.

    Attributes:
        layers: number of hidden layers.
        hidden: number of units of a hidden layer; in an autoencoder, of the widest one.
        learning_rate: learning rate of Adam.
        epochs: number of passes over the training examples; the weights of the epoch with the least
            validation loss are chosen.
        batch: number of training examples per step.

    Raises:
        ValueError: if a value is out of range.

    >>> FitConfig(layers=3, hidden=128, learning_rate=1e-3, epochs=500, batch=64).epochs
    500
    """

    layers: int
    hidden: int
    learning_rate: float
    epochs: int
    batch: int

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "epochs", "batch"):
            check_whole(self, name)
        check(self, "learning_rate", "a number > 0", self.learning_rate > 0)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the models that are learned from a labelled set.

    A scaling, a generator or a surrogate of your own is named ``module:class``.

    Attributes:
        fingerprint: name of a preset of :meth:`jaxrecon.Fingerprint.preset`.
        poolings: poolings of the fingerprint.
        scaling: scaling of the fingerprints for networks: ``"minmax"`` scales the features as they
            are; with ``"principal"``, any scaled numbers stand for a possible fingerprint.
        generator: kind of generator: ``"autoencoder"``.
        surrogate: kind of surrogate: ``"gaussian_process"`` or, as an ensemble, ``"network"`` of
            the fingerprint; ``"local_gpr"`` or ``"local_network"`` of the rows of all atoms, each
            of which gets an energy.
        forces: whether a Gaussian process learns from forces too, where those of all examples are
            known.
        generator_fit: networks of the autoencoder and their fit.
        surrogate_fit: networks of the ensemble and their fit.
        latent: number of dimensions of the autoencoder's latent space.
        beta: weight of the autoencoder's Kullback-Leibler divergence.
        members: number of networks in the ensemble.
        local_fit: the model of local energies and its fit; ``forces`` and ``seed`` are taken from
            here instead.
        validation: fraction of the labelled set that is used for validation.
        split: ``"trajectory"`` puts no trajectory on both sides of the split; ``"random"`` draws
            the validation examples one by one.
        seed: seed of the split, the initial weights and the order of the training examples.

    Raises:
        ValueError: if a value is out of range.

    >>> config = TrainConfig(surrogate="network", members=5)
    >>> config.generator_fit.epochs, config.surrogate_fit.epochs, config.scaling
    (2000, 2000, 'principal')
    """

    fingerprint: str = "bonds"
    poolings: tuple[str, ...] = ("mean", "moment2")
    scaling: str = "principal"
    generator: str = "autoencoder"
    surrogate: str = "gaussian_process"
    forces: bool = True
    generator_fit: FitConfig = field(default_factory=lambda: FitConfig(3, 128, 1e-3, 2000, 64))
    surrogate_fit: FitConfig = field(default_factory=lambda: FitConfig(5, 256, 5e-4, 2000, 256))
    latent: int = 25
    beta: float = 0.75
    members: int = 1
    local_fit: LocalConfig = field(default_factory=lambda: LocalConfig(points=500, batch=32))
    validation: float = 0.2
    split: SplitName = "trajectory"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "poolings", tuple(self.poolings))
        check(self, "poolings", "at least one name", len(self.poolings) > 0)
        registries = {"scaling": SCALINGS, "generator": GENERATORS, "surrogate": SURROGATES}
        for name, registry in registries.items():
            expected = f"among {tuple(registry)} or module:class"
            check(self, name, expected, getattr(self, name) in registry)
        splits = get_args(SplitName)
        check(self, "split", f"among {splits}", self.split in splits)
        for name in ("latent", "members"):
            check_whole(self, name)
        check(self, "beta", "a number >= 0", self.beta >= 0)
        check(self, "validation", "a fraction in (0, 1)", 0 < self.validation < 1)
        object.__setattr__(self, "seed", checked_seed(self.seed))

    @classmethod
    def preset(cls, name: str) -> "TrainConfig":
        """Return the settings of a preset.

        Args:
            name: ``"default"``; ``"fung2022"`` for those of Fung et al. (arXiv 2207.13227); or
                ``"universal"`` for structures of several compositions.

        Returns:
            The settings.

        Raises:
            ValueError: if there is no preset of this name.
        """
        if name not in PRESETS:
            raise ValueError(f"expected a preset among {tuple(PRESETS)}, got {name!r}")
        return cls(**PRESETS[name])

    def replace(self, **changes: Any) -> "TrainConfig":
        """Return a copy with some settings changed.

        Args:
            **changes: settings by name, like ``forces=False``.

        Returns:
            The new settings.

        Raises:
            ValueError: if a name is not a setting, or a value is out of range.
        """
        check_names(changes, TrainConfig)
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data for JSON."""
        return {**asdict(self), "poolings": list(self.poolings)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TrainConfig":
        """Make settings from plain data: the inverse of :meth:`to_dict`.

        Args:
            data: settings by name; missing ones have their defaults, those of a fit too.

        Returns:
            The settings.

        Raises:
            ValueError: if a name is not a setting, or a value is out of range.
        """
        check_names(data, TrainConfig)
        default = cls()
        parts: dict[str, Any] = {}
        for name in FITS:
            if name in data:
                check_names(data[name], FitConfig)
                parts[name] = replace(getattr(default, name), **data[name])
        if "local_fit" in data:
            parts["local_fit"] = LocalConfig.from_dict(
                {**default.local_fit.to_dict(), **data["local_fit"]}
            )
        if "poolings" in data:
            parts["poolings"] = tuple(data["poolings"])
        return cls(**(data | parts))


FITS = ("generator_fit", "surrogate_fit")
"""Settings that are a :class:`FitConfig`."""

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "fung2022": {
        "fingerprint": "fung2022",
        "poolings": ("max", "min"),
        "scaling": "minmax",
        "surrogate": "network",
        "split": "random",
    },
    "universal": {
        "fingerprint": "alchemical",
        "generator_fit": FitConfig(3, 256, 1e-3, 300, 64),
    },
}
"""Settings of each preset that differ from the defaults of :class:`TrainConfig`."""
