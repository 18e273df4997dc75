"""Collects the benchmark results of a session and describes the machine."""

from __future__ import annotations

import pytest
from figures import SIZES, Figures
from large import on_duckdb, on_postgres


@pytest.fixture(scope="session")
def figures():
    gathered = Figures()
    yield gathered
    gathered.write()


@pytest.fixture(params=SIZES, ids="{:,}".format)
def rows(request):
    return request.param


@pytest.fixture(params=["PostgreSQL", "DuckDB"])
def large(request, rows, tmp_path, stripe):
    """A table of so many rows in each warehouse, synced already."""
    root = tmp_path / "shop"
    if request.param == "DuckDB":
        made = on_duckdb(root, stripe, rows)
    else:
        made = on_postgres(root, stripe, request.getfixturevalue("postgres"), rows)
    return made
