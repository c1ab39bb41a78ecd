"""Files of images: there and back, and what is no such file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from imaging import COARSE, crystals

from jaxrecon.images import Image, ImageParameters, encode, read_images, write_images

NEGATIVE = object()
"""Stands for indices of voxels below zero."""


def test_there_and_back(tmp_path: Path) -> None:
    written = encode([*crystals(2), bulk("Si")], COARSE)
    write_images(tmp_path / "images.npz", written)
    read = read_images(tmp_path / "images.npz")
    assert len(read) == len(written)
    for one, two in zip(read, written, strict=True):
        assert (one.elements, one.parameters) == (two.elements, two.parameters)
        assert one.cell.dtype == one.basis.dtype == np.float32
        np.testing.assert_array_equal(one.cell, two.cell)
        np.testing.assert_array_equal(one.basis, two.basis)
    assert (tmp_path / "images.npz").stat().st_size < 200_000


def test_noise_and_double_precision_stay(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    image = Image(random.random((16,) * 3), random.random((1, *(32,) * 3)), ("Si",), COARSE)
    write_images(tmp_path / "image.npz", image)
    (read,) = read_images(tmp_path / "image.npz")
    assert read.basis.dtype == np.float64
    np.testing.assert_array_equal(read.basis, image.basis)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": np.int64(9)}, "expected version 1"),
        ({"type": np.str_("int8")}, "voxels of type int8"),
        ({"parameters": np.str_("{}")}, "unreadable parameters"),
        ({"parameters": np.str_("nothing")}, "unreadable parameters"),
        ({"elements": np.array([1])}, "with elements"),
        ({"elements": np.array(["Xx"])}, "expected elements as chemical symbols"),
        ({"basis_voxels": None}, "without"),
        ({"basis_counts": np.array([3])}, "with basis_voxels of shape"),
        ({"basis_counts": np.array([-3])}, "negative basis_counts"),
        ({"cell_voxels": NEGATIVE}, "cell_voxels outside the grid"),
    ],
)
def test_bad_files_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    write_images(path, encode(bulk("Si"), COARSE))
    content = dict(np.load(path))
    for name, value in change.items():
        content[name] = -1 - content[name] if value is NEGATIVE else value
    np.savez(path, **{name: array for name, array in content.items() if array is not None})
    with pytest.raises(ValueError, match=message) as caught:
        read_images(path)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match="no zip archive"):
        read_images(tmp_path / "text.npz")
    with pytest.raises(FileNotFoundError, match="a file of images"):
        read_images(tmp_path / "none.npz")


def test_bad_images_are_not_written(tmp_path: Path) -> None:
    silicon = encode(bulk("Si"), COARSE)
    other = encode(bulk("Si"), ImageParameters())
    with pytest.raises(ValueError, match=r"to an \.npz file"):
        write_images(tmp_path / "images.txt", silicon)
    with pytest.raises(ValueError, match="at least one image"):
        write_images(tmp_path / "images.npz", [])
    with pytest.raises(ValueError, match="with the same parameters, got 2 kinds"):
        write_images(tmp_path / "images.npz", [silicon, other])
    with pytest.raises(ValueError, match="expected the basis image to have real numbers in shape"):
        write_images(tmp_path / "images.npz", dataclasses.replace(silicon, basis=other.basis))
    assert not list(tmp_path.iterdir())
