"""Fingerprints as values: names, presets, digests, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from fingerprints import FOUR, SMALL, compiled, placed, small, whole
from strategies import random_cluster

from jaxrecon import ACSF, Fingerprint, featurize, from_ase
from jaxrecon.descriptors.acsf.presets import PRESETS as ACSF_PRESETS
from jaxrecon.descriptors.registry import PRESETS
from jaxrecon.structures.structure import Structure, padded

ROOT = Path(__file__).parents[1]


# Names


def test_published_set_for_one_element() -> None:
    fingerprint = Fingerprint.preset("fung2022", "H")
    names = fingerprint.names
    assert len(names) == len(set(names)) == fingerprint.size == 380
    assert names[0] == "max G2[H] eta=0.01 r_s=0"
    assert names[13:15] == ("max G2[H] eta=0.01 r_s=10", "max G2[H] eta=0.06 r_s=0")
    assert names[139:141] == ("max G2[H] eta=5 r_s=10", "max G5[H,H] zeta=1 lam=-1 eta=0.06")
    assert names[145] == "max G5[H,H] zeta=1 lam=1 eta=0.06"
    assert names[189:191] == ("max G5[H,H] zeta=64 lam=1 eta=1", "min G2[H] eta=0.01 r_s=0")
    assert names[379] == "min G5[H,H] zeta=64 lam=1 eta=1"
    assert fingerprint.images == "minimum"


@pytest.mark.parametrize("name", ACSF_PRESETS)
def test_presets(name: str) -> None:
    one, three = Fingerprint.preset(name, ["Pt"]), Fingerprint.preset(name, ["Pt", "H", "O"])
    sizes = {"default": 46, "cluster": 82, "crystal": 34}
    sizes |= {"fung2022": 380, "gastegger2018": 64, "bonds": 126}
    assert one.size == sizes[name]
    grown = {
        "default": 2 * 3 * (3 * 11 + 6 * 12),
        "cluster": 2 * 3 * (3 * 11 + 6 * 30),
        "crystal": 2 * 3 * (3 * 5 + 6 * 12),
        "fung2022": 2 * (3 * 140 + 6 * 50),
        "bonds": 2 * 3 * (3 * 21 + 6 * 42),
    }
    assert three.size == grown.get(name, one.size)
    assert len(set(three.names)) == len(three.names) == three.size
    averaged = name in ("default", "cluster", "crystal", "bonds")
    assert three.poolings == (("mean", "moment2") if averaged else ("max", "min"))
    assert three.per_element == averaged
    assert three.images == ("minimum" if name == "fung2022" else "all")
    changed = Fingerprint.preset(name, "H", images="all", poolings=("mean",), per_element=True)
    assert (changed.images, changed.poolings, changed.per_element) == ("all", ("mean",), True)
    assert changed.descriptor == Fingerprint.preset(name, "H").descriptor


def test_order_of_the_names() -> None:
    """The order is by pooling, central element, entry and feature."""
    elements = ("H", "O")
    fingerprint = whole(elements, per_element=True, max_atoms=2, poolings=("sorted", "max", "none"))
    features = fingerprint.descriptor.names
    expected = [
        f"{label} {feature}"
        for labels in (
            [f"sorted{entry}[{symbol}]" for symbol in elements for entry in range(2)],
            [f"max[{symbol}]" for symbol in elements],
            [f"atom{entry}[{symbol}]" for symbol in elements for entry in range(2)],
        )
        for label in labels
        for feature in features
    ]
    assert list(fingerprint.names) == expected
    assert features[0] == "G2[H] eta=0.5 r_s=0.5"


@pytest.mark.parametrize("per_element", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_names_are_as_many_as_the_numbers(per_element: bool, weighted: bool) -> None:
    fingerprint = whole(FOUR, per_element=per_element, weighted=weighted)
    assert len(set(fingerprint.names)) == len(fingerprint.names) == fingerprint.size
    shape = jax.eval_shape(fingerprint, from_ase(Atoms("HO"))).shape
    assert shape == (fingerprint.size,)


def test_find() -> None:
    fingerprint = whole(("Na", "Cl", "O"), per_element=True, max_atoms=2, g5_eta=(0.1, 1))

    names = fingerprint.names

    def found(words: str) -> list[str]:
        return [names[index] for index in fingerprint.find(words)]

    assert found("max[O] G2[Cl] r_s=1.5") == ["max[O] G2[Cl] eta=0.5 r_s=1.5"]
    pair = [
        "smooth_min[Cl] G5[Na,Cl] zeta=4 lam=-1 eta=0.1",
        "smooth_min[Cl] G5[Na,Cl] zeta=4 lam=1 eta=0.1",
    ]
    assert found("smooth_min[Cl] zeta=4 G5[Na,Cl] eta=0.1") == pair
    assert found("smooth_min[Cl] zeta=4 G5[Cl,Na] eta=0.1") == pair
    # Only whole words match: eta=1 is not found in zeta=1 or eta=15, and a dot is only a dot.
    assert {name.split()[-1] for name in found("eta=1")} == {"eta=1"}
    assert found("eta=0?1") == found("eta=0") == found("G5") == found("max G2[Li]") == []
    assert len(found("")) == len(found("*")) == fingerprint.size
    labels = {name.split()[0] for name in found("sorted*[Na] G2[O]")}
    assert labels == {"sorted0[Na]", "sorted1[Na]"}
    ours = found("mean[*] G5[O,*] zeta=1 lam=1 eta=1")
    assert {name.split()[1] for name in ours} == {"G5[O,O]", "G5[O,Na]", "G5[O,Cl]"}
    assert len(ours) == 9
    assert fingerprint.find("nothing").dtype == fingerprint.find("max[O]").dtype


# Values


def test_transformations_of_jax() -> None:
    clusters = [random_cluster(seed, 4) for seed in range(3)]
    structures = list(map(from_ase, clusters))
    one_by_one = np.stack([np.asarray(compiled(SMALL, structure)) for structure in structures])
    mapped = jax.jit(jax.vmap(SMALL))(padded(clusters, 4))
    np.testing.assert_allclose(mapped, one_by_one, rtol=1e-6, atol=1e-7)
    gradient = jax.grad(lambda x, s: SMALL(placed(s, x)).sum())
    batch = jnp.stack([structure.positions for structure in structures])
    gradients = jax.jit(jax.vmap(gradient, in_axes=(0, None)))(batch, structures[0])
    assert np.abs(gradients).max(axis=(1, 2)).min() > 0.01


def test_equal_values_share_a_compiled_program() -> None:
    traces = []

    @partial(jax.jit, static_argnums=0)
    def counted(fingerprint: Fingerprint, structure: Structure) -> jax.Array:
        traces.append(fingerprint)
        return fingerprint(structure)

    structure = from_ase(Atoms("OPt", [(0, 0, 0), (0, 0, 2)]))
    counted(small(), structure)
    counted(small(("Pt", "O", "H")), structure)
    assert len(traces) == 1
    counted(small(poolings=("min",)), structure)
    assert len(traces) == 2


DIFFERENT = [
    small(poolings=("max",)),
    small(poolings=("min", "max")),
    small(images="minimum"),
    small(per_element=True),
    small(max_atoms=3),
    small(max_atoms=4),
    small(temperature=0.2),
    whole(per_element=True, temperature=1e-3),
    small(("H", "O")),
    *(
        small(**change)
        for change in (
            {"r_cut": 5.0001},
            {"g1": True},
            {"g2_eta": (0.5, 0.6)},
            {"g2_r_s": (1.5, 0.5, 2.5)},
            {"g3_kappa": (1.0,)},
            {"g4_zeta": (1.0,), "g4_eta": (0.1,)},
            {"g4_zeta": (1.0,), "g4_eta": (0.1,), "g4_lam": (1.0,)},
            {"g4_zeta": (1.0,), "g4_eta": (0.1,), "g4_r_s": (1.0,)},
            {"g5_zeta": (1, 5)},
            {"g5_lam": (1, -1)},
            {"g5_eta": (0.1 + 1e-9,)},
            {"g5_r_s": (0.5,)},
            {"cutoff": "tanh3"},
            {"weighted": True},
        )
    ),
]


def test_differences_find_every_setting() -> None:
    named = {text.split(":")[0] for other in DIFFERENT for text in SMALL.differences(other)}
    settings = SMALL.to_dict()
    assert named == {*settings.pop("descriptor"), *settings} - {"family"}


def test_digests_differ_if_fingerprints_do() -> None:
    everything = [SMALL, *DIFFERENT, *(Fingerprint.preset(name, "HO") for name in PRESETS)]
    assert len({item.digest() for item in everything}) == len(everything)
    assert len({hash(item) for item in everything}) == len(everything)
    one = ACSF(elements=("O", "H"), r_cut=5, g2_eta=(1,), g2_r_s=(2,), g5_zeta=(4,))
    same = ACSF(elements=("H", "O"), r_cut=5.0, g2_eta=(1.0,), g2_r_s=(2.0,), g5_zeta=(4.0,))
    assert Fingerprint(one) == Fingerprint(same)
    assert Fingerprint(one).digest() == Fingerprint(same).digest()
    assert hash(Fingerprint(one)) == hash(Fingerprint(same))


def test_digest_is_the_same_in_another_process() -> None:
    code = (
        "from jaxrecon import Fingerprint\n"
        "print(Fingerprint.preset('fung2022', {'O', 'H', 'Pt', 'Au', 'C', 'N'}).digest())"
    )
    expected = Fingerprint.preset("fung2022", ["H", "C", "N", "O", "Pt", "Au"]).digest()
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == expected


@pytest.mark.parametrize("fingerprint", [SMALL, *DIFFERENT], ids=lambda item: item.digest())
def test_json_gives_the_same_fingerprint(fingerprint: Fingerprint) -> None:
    again = Fingerprint.from_json(fingerprint.to_json())
    assert again == fingerprint
    assert again.digest() == fingerprint.digest()
    assert again.names == fingerprint.names
    assert Fingerprint.from_dict(fingerprint.to_dict()) == fingerprint
    plain = json.loads(fingerprint.to_json())
    assert plain["descriptor"]["family"] == "acsf"
    assert plain["descriptor"]["r_cut"] == fingerprint.descriptor.r_cut
    assert plain["max_atoms"] == fingerprint.max_atoms


def changed(changes: dict[str, object]) -> dict[str, object]:
    """Settings of the descriptor with changes."""
    return {"descriptor": {**SMALL.descriptor.to_dict(), **changes}}


def test_missing_settings_have_their_defaults() -> None:
    descriptor = {"family": "acsf", "elements": ["O"]}
    assert Fingerprint.from_dict({"descriptor": descriptor}) == Fingerprint(ACSF(("O",)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"descriptor": "acsf"}, "expected settings of a descriptor by name, got 'acsf'"),
        ({"descriptor": None}, "expected settings of a descriptor by name, got None"),
        (changed({"family": "none"}), r"expected a descriptor family among \('acsf', .*got 'none'"),
        (
            changed({"r_cutt": 3.0}),
            r"expected settings among \['cutoff', 'elements'.*got \['r_cutt'\]",
        ),
        (changed({"r_cut": -3.0}), "expected r_cut > 0 Angstrom, got -3.0"),
        ({"r_cut": 3.0}, r"expected settings among \['images', .*got \['r_cut'\]"),
        ({"poolings": ["median"]}, r"expected poolings among \('max', .*got \('median',\)"),
        ({"poolings": ["max", "max"]}, "expected each pooling once, got"),
        ({"poolings": []}, r"expected poolings among \('max', 'min', .*got \(\)"),
        ({"poolings": ["max", "median"]}, r"expected poolings among \('max', .*'median'\)"),
        ({"images": "some"}, "expected images 'all' or 'minimum', got 'some'"),
        ({"poolings": ["sorted"]}, "expected max_atoms >= 1, the most atoms, .*'sorted', got None"),
        ({"poolings": ["none", "max"], "max_atoms": 0}, "expected max_atoms >= 1, .*'none', got 0"),
        ({"temperature": 0.0}, "expected temperature > 0, got 0.0"),
        ({"temperature": float("inf")}, "expected temperature > 0, got inf"),
        ({"temperature": float("nan")}, "expected temperature > 0, got nan"),
    ],
)
def test_impossible_settings_are_refused(
    change: dict[str, object], message: str, unchecked: None
) -> None:
    with pytest.raises(ValueError, match=message):
        Fingerprint.from_dict({**SMALL.to_dict(), **change})


def test_settings_without_a_descriptor_are_refused() -> None:
    data = SMALL.to_dict()
    del data["descriptor"]
    with pytest.raises(ValueError, match="expected settings of a descriptor by name, got None"):
        Fingerprint.from_dict(data)


def test_differences_name_the_settings() -> None:
    other = small(r_cut=6.0, g5_zeta=(1, 2), poolings=("max",), images="minimum", temperature=1.0)
    found = SMALL.differences(other)
    assert [text.split(":")[0] for text in found] == [
        "r_cut",
        "g5_zeta",
        "poolings",
        "images",
        "temperature",
    ]
    assert found[0] == "r_cut: 5.0 != 6.0"
    assert SMALL.differences(small()) == []


def test_impossible_presets_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a preset among \('default'.*got 'acsf'"):
        Fingerprint.preset("acsf", "H")
    with pytest.raises(ValueError, match=r"expected elements as chemical symbols, got \['Q'\]"):
        Fingerprint.preset("fung2022", ["Q"])
    with pytest.raises(ValueError, match=r"expected r_cut >= 2 Angstrom, got 1\.5"):
        Fingerprint.preset("crystal", ["H"], r_cut=1.5)
    with pytest.raises(ValueError, match=r"changes that preset 'fung2022' takes, got \['r_cut'\]"):
        Fingerprint.preset("fung2022", ["H"], r_cut=5.0)


def test_the_preset_of_crystals_has_lower_exponents() -> None:
    broad, crystal = (Fingerprint.preset(name, ["H"], r_cut=6.0) for name in ("default", "crystal"))
    assert broad.differences(crystal) == ["g5_zeta: (1.0, 4.0, 16.0) != (1.0, 2.0, 4.0)"]


def test_restricted_to_some_elements() -> None:
    """The numbers are those of the same names; all others are 0 for such structures."""
    whole = Fingerprint.preset("default", ["H", "C", "O"])
    part = whole.restricted(["O", "H"])
    water = molecule("H2O")
    places = [whole.names.index(name) for name in part.names]
    values = featurize(water, whole)[0]
    np.testing.assert_allclose(values[places], featurize(water, part)[0], rtol=1e-12)
    assert (np.delete(values, places) == 0).all()
