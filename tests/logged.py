"""A business whose runs are logged to its warehouse, in a DuckDB file or in PostgreSQL."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import duckdb
from adbc_driver_postgresql import dbapi
from business import Business

COLUMNS = {
    "objects": "sync, key, key_parts, resource, stripe_id, is_removed, is_adopted, is_missing, run_id",
    "runs": "run_id, command, target, status, account, livemode, succeeded, rejected, unknown, skipped, owed, requests",
    "changes": "run_id, number, sync, key, key_parts, resource, action, status, stripe_id, error_code, error_param",
    "problems": "run_id, number, severity, code, model, sync, key, field",
}


@dataclass
class DuckDBBusiness(Business):
    """The log's schema is `main_stripe_sync`."""

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.warehouse)) as warehouse:
            return warehouse.execute(query).fetchall()

    def do(self, *statements: str) -> None:
        with duckdb.connect(str(self.warehouse)) as warehouse:
            for statement in statements:
                warehouse.execute(statement)

    def log(self, table: str, columns: str | None = None) -> list[tuple[Any, ...]]:
        """The rows of a table of the log, in the order of its columns."""
        columns = columns or COLUMNS[table]
        rows = self.ask(f'SELECT {columns} FROM "{self.schema}_stripe_sync".{table}')
        return sorted(map(tuple, rows), key=str)

    def logs(self) -> dict[str, list[tuple[Any, ...]]]:
        """All tables of the log."""
        return {table: self.log(table) for table in COLUMNS}

    def drop_log(self) -> None:
        self.do(f'DROP SCHEMA IF EXISTS "{self.schema}_stripe_sync" CASCADE')


@dataclass
class PostgresBusiness(DuckDBBusiness):
    """The same in a database of its own on a real server, whose settings are `server`."""

    server: dict[str, str] | None = None
    database = "shop"
    schema = "public"

    @property
    def profile(self) -> dict[str, Any]:
        named = {name.removeprefix("BRIGHTDESK_PG_").lower(): value for name, value in (self.server or {}).items()}
        return {"type": "postgres", "dbname": self.database, "schema": self.schema, **named, "port": int(named["port"])}

    def make_warehouse(self) -> None:
        self.drop()
        self._execute("postgres", f"CREATE DATABASE {self.database}")

    def drop(self) -> None:
        self._execute("postgres", f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with closing(self._connect(self.database)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def do(self, *statements: str) -> None:
        self._execute(self.database, *statements)

    def rows(self, name: str, *rows: tuple[Any, ...], columns: str) -> None:
        values = ", ".join("(" + ", ".join(map(_literal, row)) + ")" for row in rows)
        self.do(f'DROP TABLE IF EXISTS "{name}"', f'CREATE TABLE "{name}" ({columns})')
        if values:
            self.do(f'INSERT INTO "{name}" VALUES {values}')
        self.models.setdefault(name, {})
        self.write_manifest()

    def _execute(self, database: str, *statements: str) -> None:
        with closing(self._connect(database, autocommit=True)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def _connect(self, database: str, *, autocommit: bool = False) -> dbapi.Connection:
        profile = self.profile
        settings = " ".join(f"{name}='{profile[name]}'" for name in ("host", "port", "user", "password"))
        return dbapi.connect(f"{settings} dbname={database}", autocommit=autocommit)


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def log_in(kind: str, root: Any, stripe: Any, postgres: dict[str, str] | None) -> DuckDBBusiness:
    """A business that is logged; two syncs with five rows, none written yet."""
    made = (
        DuckDBBusiness(root=root, stripe=stripe)
        if kind == "duckdb"
        else PostgresBusiness(root=root, stripe=stripe, server=postgres)
    )
    made.set(account_per_second=100_000, endpoint_per_second=100_000, log="warehouse")
    people(made, (1, "a@example.com"), (2, "b@example.com"), (3, "c@example.com"))
    made.sync(
        "customers",
        resource="customer",
        key="id",
        fields={"email": "email"},
        on_removed="delete",
        limits={"max_removed": 9},
    )
    made.rows("plans", ("pro", "m", "Pro"), ("pro", "y", "Pro a year"), columns="plan text, term text, name text")
    made.sync("plans", resource="product", key=["plan", "term"], fields={"name": "name"}, on_removed="archive")
    return made


def people(business: Business, *rows: tuple[Any, ...]) -> None:
    business.rows("customers", *rows, columns="id int, email text")


def drop(business: DuckDBBusiness) -> None:
    if isinstance(business, PostgresBusiness):
        with suppress(dbapi.Error):
            business.drop()
