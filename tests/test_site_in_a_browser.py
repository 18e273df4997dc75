"""The documentation site as a reader sees it, in Debian's Chromium, on a wide screen and on a phone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from business import ROOT

pytestmark = pytest.mark.browser

# The pages with the longest names, most of them generated.
WIDEST = ("stripe-rules", "settings", "mapping", "commands", "problems", "python-api", "resources", "performance")
PHONE, DESKTOP = 390, 1280

TOO_WIDE = """() => {
  const isCut = (element) => element.scrollWidth > element.clientWidth;
  const tables = [...document.querySelectorAll(".md-typeset table")];
  const holders = tables.flatMap((table) => [table, table.closest(".md-typeset__scrollwrap") ?? table.parentElement]);
  const cells = tables.flatMap((table) => [...table.querySelectorAll("td, th")]);
  return [document.documentElement, ...holders, ...cells].filter(isCut).map((element) =>
    `${element.tagName} has ${element.scrollWidth} px in ${element.clientWidth}: ${element.textContent.slice(0, 60)}`);
}"""

# What is read before each cell but the first of its row, which is the card's title, and what should be.
LABELS = """() => [...document.querySelectorAll(".md-typeset table")].flatMap((table) => {
  const names = [...table.querySelectorAll("thead th")].map((name) => name.textContent);
  const cells = [...table.querySelectorAll("tbody td:not(:first-child):not(:empty)")];
  return cells.map((cell) => [getComputedStyle(cell, "::before").content, `"${names[cell.cellIndex]}: "`]);
})"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A function that gives the address of a page; the site is built once, of the pages as they are now."""
    programs = (Path(sys.executable).parent, ROOT / "build" / "docs-venv" / "bin")
    zensical = next((program / "zensical" for program in programs if (program / "zensical").exists()), None)
    if zensical is None:
        pytest.skip("zensical is not installed: run .ci/site")
    root = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "mkdocs.yml", root)
    shutil.copytree(ROOT / "docs", root / "docs")
    (root / "dbt_stripe_sync").symlink_to(ROOT / "dbt_stripe_sync")
    subprocess.run([zensical, "build", "--strict"], cwd=root, check=True, capture_output=True)
    return lambda name: (root / "build" / "site" / f"{name}.html").as_uri()


@pytest.fixture
def read(browser, site):
    """Opens a page and returns what an expression finds in it."""
    with browser.new_context() as context:
        page = context.new_page()

        def evaluate(name, width, expression):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(site(name))
            return page.evaluate(expression)

        yield evaluate


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("name", WIDEST)
def test_no_page_scrolls_sideways_and_no_table_is_cut(read, name, width):
    assert read(name, width, TOO_WIDE) == []


@pytest.mark.parametrize("name", ["stripe-rules", "settings", "commands", "problems", "resources", "performance"])
def test_on_a_phone_every_cell_follows_the_name_of_its_column(read, name):
    labels = read(name, PHONE, LABELS)

    assert labels
    assert [shown for shown, expected in labels if shown != expected] == []
