"""`train --surrogate` and `evaluate rigidity`: per-atom values in files and on a page."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from commands import run
from test_local_surrogates import LOCAL, trained

from jaxrecon.cli.design import _train_config
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.models.folder import save_model

pytestmark = pytest.mark.usefixtures("command_line")


@pytest.fixture
def files(command_line: None) -> None:
    """A model, and clusters of two sizes."""
    save_model(trained(), "model")
    ase.io.write("made.extxyz", [random_cluster("Pt4", 1), random_cluster("Pt6", 2)])


@pytest.mark.usefixtures("files")
def test_rigidities_are_written_for_every_atom(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate rigidity model made.extxyz -o out.extxyz --json") == 0
    said = json.loads(capsys.readouterr().out)
    found = ase.io.read("out.extxyz", ":")
    assert [len(atoms) for atoms in found] == [4, 6]
    for atoms in found:
        values = atoms.arrays["local_rigidities"]
        assert values.shape == (len(atoms),)
        assert (values > 0.0).all()
        assert atoms.info["rigidity"] == pytest.approx(values.min(), abs=1e-8)
        assert atoms.info["predicted"] == pytest.approx(
            atoms.arrays["local_energies"].mean(), abs=1e-7
        )
        assert atoms.info["deviation"] > 0.0
    smallest = min(atoms.info["rigidity"] for atoms in found)
    assert said["smallest"] == pytest.approx(smallest)
    assert (said["structures"], said["atoms"]) == (2, 10)


@pytest.mark.usefixtures("files")
def test_a_page_has_the_numbers_of_the_atoms() -> None:
    pytest.importorskip("chemiscope")
    assert run("evaluate rigidity model made.extxyz -o out.html") == 0
    text = Path("out.html").read_text()
    data = json.loads(text.split("const dataset = ", 1)[1].split(";\n", 1)[0])
    assert data["properties"]["local_rigidities"]["target"] == "atom"
    assert len(data["properties"]["local_rigidities"]["values"]) == 10
    assert len(data["environments"]) == 10
    assert data["settings"]["structure"][0]["color"]["property"] == "local_rigidities"
    assert np.isfinite(data["properties"]["predicted"]["values"]).all()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("evaluate rigidity model made.extxyz", "expected --output with structures"),
        ("evaluate rigidity made.extxyz -o out.extxyz", "expected one model and files"),
        ("evaluate rigidity model -o out.extxyz", "expected one model and files"),
        ("evaluate rigidity model copper.xyz -o out.extxyz", "got Cu"),
        ("train set.npz -o new --surrogate local-none", "expected surrogate to be among"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ase.io.write("copper.xyz", Atoms("Cu"))
    assert run(line) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_a_surrogate_has_its_name_with_hyphens() -> None:
    Path("small.json").write_text(json.dumps(LOCAL.replace(surrogate="network").to_dict()))
    assert _train_config("small.json", "local-gpr", 3) == LOCAL.replace(seed=3)
