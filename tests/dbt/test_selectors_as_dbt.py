"""About 1,000 selectors on five projects, and random ones, select what a real dbt of each engine lists."""

from __future__ import annotations

import pytest
from random_selectors import random_selectors
from selector_table import (
    PROJECTS,
    listed_by_dbt_1,
    listed_by_dbt_2,
    parsed_project,
    selected_by_us,
    selectors_of,
)

NAMES = sorted(path.name for path in PROJECTS.iterdir())


def differences(ours, theirs):
    return {line: {"ours": ours[line], "dbt's": theirs[line]} for line in ours if ours[line] != theirs[line]}


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_every_selector_selects_what_dbt_1_lists(name, dbt_1, tmp_path, monkeypatch):
    monkeypatch.setenv("DBT_STRIPE_SYNC_DBT", str(dbt_1))
    root = parsed_project(name, dbt_1, tmp_path)
    lines = selectors_of(name) + random_selectors(root / "target" / "manifest.json", seed=1, count=200)

    assert differences(selected_by_us(root, lines), listed_by_dbt_1(dbt_1, root, lines)) == {}


@pytest.mark.dbt2
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_every_selector_selects_what_dbt_2_lists(name, dbt_2, tmp_path, monkeypatch):
    monkeypatch.setenv("DBT_STRIPE_SYNC_DBT", str(dbt_2))
    root = parsed_project(name, dbt_2, tmp_path)
    lines = selectors_of(name)

    assert differences(selected_by_us(root, lines), listed_by_dbt_2(dbt_2, root, lines)) == {}
