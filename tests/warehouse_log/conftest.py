"""A business on each warehouse that supports a log."""

from __future__ import annotations

import pytest
from logged import drop, log_in


@pytest.fixture(params=["duckdb", "postgres"])
def logged(request, tmp_path, stripe):
    """Two syncs with five rows; runs are logged to the warehouse."""
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    business = log_in(request.param, tmp_path / "shop", stripe, server)
    yield business
    drop(business)


@pytest.fixture
def on_duckdb(tmp_path, stripe):
    return log_in("duckdb", tmp_path / "shop", stripe, None)


@pytest.fixture
def on_postgres(tmp_path, stripe, postgres):
    business = log_in("postgres", tmp_path / "shop", stripe, postgres)
    yield business
    drop(business)
