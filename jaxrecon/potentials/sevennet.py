"""SevenNet: a universal equivariant potential, here 7net-mf-0 as trained on PBE."""

from typing import Any

from ase import Atoms

from jaxrecon.potentials.base import ReferenceCalculator

MODEL, MODAL = "7net-mf-0", "PBE"
"""Pretrained model, and the level of theory that it is asked for."""


class SevenNet(ReferenceCalculator):
    """The pretrained multi-fidelity model 7net-mf-0 at the level of PBE.

    Source: Park et al., J. Chem. Theory Comput. 20, 4857 (2024), for the architecture; Kim et al.,
    J. Am. Chem. Soc. 147, 1042 (2025), for the model.
    """

    name = "sevennet"
    package = "sevenn"
    distributions = ("ase", "sevenn", "torch")

    def __init__(self) -> None:
        super().__init__()
        import warnings

        import torch
        from sevenn.calculator import SevenNetCalculator

        device = "cuda" if torch.cuda.is_available() else "cpu"
        # Clusters are small: several processes of one thread are faster than one of several.
        torch.set_num_threads(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._potential = SevenNetCalculator(MODEL, modal=MODAL, device=device)

    def parameters(self) -> dict[str, Any]:
        """Return the names of the model and of its level of theory."""
        return {"model": MODEL, "modal": MODAL}

    def free(self, atoms: Atoms) -> Any:
        """Return the one calculator that has the network."""
        return self._potential
