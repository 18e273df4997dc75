"""Real warehouses for the tests, and the models in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import adbc_driver_postgresql.dbapi
import duckdb

from dbt_stripe_sync.model.nodes import RowSource
from dbt_stripe_sync.warehouse import open_warehouse

if TYPE_CHECKING:
    from pathlib import Path


def model(name="customers", *columns, schema="main", database="dev"):
    """A model that dbt has materialised."""
    return RowSource(name=name, relation=f'"{database}"."{schema}"."{name}"', sql=None, columns=columns)


def ephemeral(sql, *columns):
    """An ephemeral model with its compiled SQL."""
    return RowSource(name="ephemeral_model", relation=None, sql=sql, columns=columns)


def as_duckdb_types(reader):
    """Column name to the type that the next DuckDB sees."""
    connection = duckdb.connect()
    connection.register("incoming", reader)
    return {name: kind for name, kind, *_ in connection.execute("DESCRIBE SELECT * FROM incoming").fetchall()}


@dataclass
class DuckDBFile:
    path: Path

    def execute(self, *statements):
        with duckdb.connect(str(self.path)) as connection:
            for statement in statements:
                connection.execute(statement)

    def open(self, **settings):
        return open_warehouse(
            {"type": "duckdb", "path": self.path.name, "schema": "main"} | settings,
            project_root=self.path.parent,
            adapter=None,
        )


@dataclass
class PostgresServer:
    host: str
    opened: list = field(default_factory=list)

    def target(self, **settings):
        return {
            "type": "postgres",
            "host": self.host,
            "user": "postgres",
            "password": "",
            "port": 5432,
            "dbname": "postgres",
            "schema": "shop",
        } | settings

    def execute(self, *statements):
        conninfo = f"host={self.host} user=postgres dbname=postgres options='-c lock_timeout=5000'"
        with adbc_driver_postgresql.dbapi.connect(conninfo, autocommit=True) as connection:
            for statement in statements:
                with connection.cursor() as cursor:
                    cursor.execute(statement)

    def open(self, **settings):
        warehouse = open_warehouse(self.target(**settings), project_root=None, adapter=None)
        self.opened.append(warehouse)
        return warehouse

    def close_all(self):
        """A snapshot that stays open would keep the next test from dropping its tables."""
        while self.opened:
            self.opened.pop().close()


def shop_model(name, *columns):
    return model(name, *columns, schema="shop", database="postgres")
