"""CHGNet: a universal graph network potential, trained on crystals of the Materials Project."""

from typing import Any

from ase import Atoms

from jaxrecon.potentials.base import ReferenceCalculator


class CHGNet(ReferenceCalculator):
    """The pretrained CHGNet, which needs periodic cells.

    Source: Deng et al., Nature Machine Intelligence 5, 1031 (2023).
    """

    name = "chgnet"
    package = "chgnet"
    distributions = ("ase", "chgnet", "torch")
    boxed = True

    def __init__(self) -> None:
        super().__init__()
        from chgnet.model.dynamics import CHGNetCalculator

        # Atoms far from all others would otherwise raise.
        self._potential = CHGNetCalculator(on_isolated_atoms="ignore")

    def parameters(self) -> dict[str, Any]:
        """Return the size of the boxes."""
        return {"vacuum": self.vacuum, "least_edge": self.least_edge}

    def free(self, atoms: Atoms) -> Any:
        """Return the one calculator that has the network."""
        return self._potential
