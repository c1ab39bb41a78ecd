"""TrainConfig: every setting of a generator and a surrogate, validated once, without jax."""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

ScalingName = Literal["minmax", "principal"]
SurrogateName = Literal["network", "gaussian_process"]
SplitName = Literal["trajectory", "random"]


@dataclass(frozen=True)
class FitConfig:
    """Settings of one network and of how it is fitted.

    Attributes:
        layers: hidden ones.
        hidden: units of each; in the generator of the widest.
        learning_rate: of Adam.
        epochs: passes over the training rows; the best by validation loss is kept.
        batch: rows of one step.

    Raises:
        ValueError: if a value is out of range, named with what was expected and what came.

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
            _check_whole(self, name)
        _check(self, "learning_rate", "a number > 0", self.learning_rate > 0)


@dataclass(frozen=True)
class TrainConfig:
    """What is learned of a labelled set, and how.

    Attributes:
        fingerprint: preset of :meth:`jaxrecon.Fingerprint.preset`.
        poolings: of the fingerprint.
        scaling: of fingerprints for the networks: ``"minmax"`` of the numbers as they are, or
            ``"principal"`` of coordinates whose every value stands for a possible fingerprint.
        surrogate: of the property: ensemble of networks or Gaussian process.
        forces: whether a Gaussian process learns from forces too, where they are known.
        generator_fit: networks of the generator, a conditional autoencoder.
        surrogate_fit: network of the surrogate, if it is one.
        latent: dimensions of the generator's latent space.
        beta: weight of its Kullback-Leibler term.
        members: networks in the ensemble.
        validation: fraction of the set that is kept aside.
        split: whether a trajectory stays on one side, or rows are drawn ``"random"``ly.
        seed: of the split, the first weights and the order of rows.

    Raises:
        ValueError: if a value is out of range, named with what was expected and what came.

    >>> config = TrainConfig(surrogate="network", members=5)
    >>> config.generator_fit.epochs, config.surrogate_fit.epochs, config.scaling
    (2000, 2000, 'principal')
    """

    fingerprint: str = "bonds"
    poolings: tuple[str, ...] = ("mean", "moment2")
    scaling: ScalingName = "principal"
    surrogate: SurrogateName = "gaussian_process"
    forces: bool = True
    generator_fit: FitConfig = field(default_factory=lambda: FitConfig(3, 128, 1e-3, 2000, 64))
    surrogate_fit: FitConfig = field(default_factory=lambda: FitConfig(5, 256, 5e-4, 2000, 256))
    latent: int = 25
    beta: float = 0.75
    members: int = 1
    validation: float = 0.2
    split: SplitName = "trajectory"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "poolings", tuple(self.poolings))
        _check(self, "poolings", "at least one name", len(self.poolings) > 0)
        for name, kinds in (
            ("scaling", ScalingName),
            ("surrogate", SurrogateName),
            ("split", SplitName),
        ):
            names = get_args(kinds)
            _check(self, name, f"among {names}", getattr(self, name) in names)
        for name in ("latent", "members"):
            _check_whole(self, name)
        _check(self, "beta", "a number >= 0", self.beta >= 0)
        _check(self, "validation", "a fraction in (0, 1)", 0 < self.validation < 1)
        _check(self, "seed", "a whole number >= 0", isinstance(self.seed, int) and self.seed >= 0)

    @classmethod
    def preset(cls, name: str) -> "TrainConfig":
        """A named set of settings: ``"default"``, or ``"fung2022"`` as Fung et al. published it.

        Args:
            name: one of the two.

        Raises:
            ValueError: if there is none of this name.
        """
        if name not in PRESETS:
            raise ValueError(f"expected a preset among {tuple(PRESETS)}, got {name!r}")
        return cls(**PRESETS[name])

    def replace(self, **changes: Any) -> "TrainConfig":
        """A copy with some settings changed.

        Args:
            **changes: settings by name, like ``forces=False``.

        Raises:
            ValueError: if a name is not a setting, or a value is out of range.
        """
        _check_names(changes, TrainConfig)
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data for JSON."""
        return {**asdict(self), "poolings": list(self.poolings)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TrainConfig":
        """The inverse of :meth:`to_dict`.

        Args:
            data: settings by name; those that are missing are as by default.

        Raises:
            ValueError: if a name is not a setting, or a value is out of range.
        """
        _check_names(data, TrainConfig)
        fits = {name: dict(data[name]) for name in FITS if name in data}
        for fit in fits.values():
            _check_names(fit, FitConfig)
        parts: dict[str, Any] = {name: FitConfig(**fit) for name, fit in fits.items()}
        if "poolings" in data:
            parts["poolings"] = tuple(data["poolings"])
        return cls(**(data | parts))


FITS = ("generator_fit", "surrogate_fit")

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "fung2022": {
        "fingerprint": "fung2022",
        "poolings": ("max", "min"),
        "scaling": "minmax",
        "surrogate": "network",
        "split": "random",
    },
}
"""What each preset sets; everything else is as it stands in :class:`TrainConfig`."""


def _check(config: Any, name: str, expected: str, holds: bool) -> None:
    if not holds:
        raise ValueError(f"expected {name} to be {expected}, got {getattr(config, name)!r}")


def _check_whole(config: Any, name: str) -> None:
    value = getattr(config, name)
    _check(config, name, "a whole number >= 1", isinstance(value, int) and value >= 1)


def _check_names(data: dict[str, Any], kind: "type[TrainConfig] | type[FitConfig]") -> None:
    names = {each.name for each in fields(kind)}
    if unknown := sorted(set(data) - names):
        raise ValueError(f"expected settings among {sorted(names)}, got {unknown}")
