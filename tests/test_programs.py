"""Compiled programs are let go: memory stays bounded over many of them."""

import gc
import weakref

import pytest
from ase.build import molecule

from jaxrecon import Fingerprint, featurize, reconstruct
from jaxrecon.runtime.programs import programs_kept
from jaxrecon.search import batches, compiled, polishing


class Program:
    """Stands for a compiled program, which refers to itself."""

    def __init__(self) -> None:
        self.own = self


def test_programs_used_last_are_kept_and_older_ones_are_freed():
    made = []

    @programs_kept(4)
    def make(number):
        program = Program()
        made.append(weakref.ref(program))
        return program

    gc.disable()  # as long as Python's own collection does nothing, ours has to
    try:
        for number in (0, 1, 2, 3, 0, 4):
            make(number)
        # Of 1, 2, 3, 0, 4 the two used longest ago have gone.
        assert [each() is None for each in made] == [False, True, True, False, False]
        make(0)
        make(1)
        assert len(made) == 6
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_program_is_made_for_each_shape(monkeypatch):
    kept = {}

    def counted(name):
        def make(*arguments):
            kept[name, arguments] = program = getattr(compiled, name)(*arguments)
            return program

        return make

    monkeypatch.setattr(batches, "compiled_hop", counted("compiled_hop"))
    monkeypatch.setattr(polishing, "compiled_polish", counted("compiled_polish"))
    fingerprint = Fingerprint.preset("default", ["H", "O"], r_cut=4.0)
    structures = [molecule("H2O"), molecule("H2O2")]
    reconstruct(
        featurize(structures, fingerprint),
        fingerprint,
        symbols=[list(atoms.symbols) for atoms in structures],
        hops=1,
        replicas=1,
    )
    assert len(kept) == 4
    assert [program._cache_size() for program in kept.values()] == [1] * 4
