"""The page of the explorer in a browser without a network."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import ase.io
import pytest
from exploring import clusters
from matplotlib.image import imread

from jaxrecon.cli import main

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
TIMEOUT = 120_000
"""Milliseconds; they are many, because WebGL is slow without a GPU."""
SPOT = """row => {
    const map = document.querySelector('#map > div').shadowRoot.querySelector('.chsp-map');
    const { left, top } = map.getBoundingClientRect();
    const { xaxis, yaxis } = map._fullLayout;
    return {
        x: left + xaxis._offset + xaxis.l2p(map.data[0].x[row]),
        y: top + yaxis._offset + yaxis.l2p(map.data[0].y[row]),
    };
}"""
"""Position on the screen of a point of the map."""
SHOWN = "document.querySelector('#info > div').shadowRoot.querySelector('thead').textContent"
"""The structure that the table shows."""
VALUES = "[...document.querySelectorAll('#sliders label')].map(label => label.innerText)"
"""Names and values beside the sliders."""

pytest.importorskip("chemiscope", reason="needs chemiscope")


@pytest.fixture
def messages() -> list[str]:
    """Errors of the page, and addresses that it requests."""
    return []


@pytest.fixture
def page(command_line: None, messages: list[str]) -> Iterator[Page]:
    """The page of five clusters, opened."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    ase.io.write("found.extxyz", clusters())
    assert main.main(["explore", "found.extxyz"]) == 0
    # A browser of root has no sandbox; without a GPU it needs WebGL in software.
    flags = ["--enable-unsafe-swiftshader", *["--no-sandbox"] * (os.geteuid() == 0)]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=TIMEOUT)
        page = browser.new_page(viewport={"width": 900, "height": 640}, offline=True)
        page.set_default_timeout(TIMEOUT)
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("console", lambda log: messages.append(log.text) if log.type == "error" else None)
        page.on("request", lambda request: messages.append(request.url))
        page.goto(Path("found.html").resolve().as_uri())
        page.wait_for_function("window.visualizer !== undefined")
        yield page
        browser.close()


def picture(page: Page, part: str) -> bytes:
    """Pixels of a part of the page once they no longer change."""
    before = b""
    while before != (now := page.locator(part).screenshot()):
        before = now
        page.wait_for_timeout(200)
    return before


@pytest.mark.slow
def test_points_show_and_a_click_or_a_slider_changes_the_structure(
    page: Page, messages: list[str]
) -> None:
    assert page.title() == "found.extxyz"
    first = picture(page, "#viewer")
    assert page.evaluate(SHOWN) == "Properties for structure 0"
    assert page.evaluate(VALUES)[:2] == ["e_form (eV/atom)\n2", "energy (eV)\n-9"]

    pixels = imread(io.BytesIO(page.screenshot()))
    spots = [page.evaluate(SPOT, row) for row in range(5)]
    colours = {tuple(pixels[round(spot["y"]), round(spot["x"])]) for spot in spots}
    assert len(colours) == 5
    assert (1.0, 1.0, 1.0) not in colours

    page.mouse.move(**spots[3])
    page.mouse.click(**spots[3])
    page.wait_for_function(f"{SHOWN} === 'Properties for structure 3'")
    second = picture(page, "#viewer")
    assert second != first
    assert page.evaluate(VALUES)[:2] == ["e_form (eV/atom)\n2.3", "energy (eV)\n-18"]

    # Four of the five have a formation energy; the fifth structure has the highest.
    page.locator("#sliders input").first.fill("3")
    page.wait_for_function(f"{SHOWN} === 'Properties for structure 4'")
    assert picture(page, "#viewer") not in (first, second)
    assert page.evaluate(VALUES)[:2] == ["e_form (eV/atom)\n2.4", "energy (eV)\n-21"]

    page.locator("#sliders input").nth(1).fill("3")
    page.wait_for_function(f"{SHOWN} === 'Properties for structure 1'")
    assert page.evaluate(VALUES)[0] == "e_form (eV/atom)\nunknown"
    assert page.locator("#message").inner_text() == ""
    assert messages == [Path("found.html").resolve().as_uri()]
