"""Where the targets of a profile build: server, database and schema, under the names that each adapter uses."""

from __future__ import annotations

from pathlib import PurePath
from posixpath import normpath
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# What adapters call the database and the schema in a profile.
_DATABASES = ("database", "dbname", "catalog", "project")
_SCHEMAS = ("schema", "dataset")
# What distinguishes two servers with databases of the same name; for DuckDB it is the file.
_SERVERS = ("host", "server", "account", "endpoint", "port", "path")
PLACE_KEYS = ("type", *_DATABASES, *_SCHEMAS, *_SERVERS)


class Place(Struct, frozen=True, kw_only=True):
    """Where a target builds; None for settings that its profile lacks, or that can't be rendered here."""

    target: str
    database: str | None
    schema: str | None
    server: str = ""

    @property
    def identity(self) -> str:
        """Equal for two targets that build the same tables."""
        return f"{self.server}|{self.database}|{self.schema}".casefold()

    def is_named_like(self, other: Place) -> bool:
        """Whether both have the same database and schema by name, on the same server or on another one."""
        return self.schema is not None and (self.database, self.schema) == (other.database, other.schema)

    def __str__(self) -> str:
        parts = (part for part in (self.database, self.schema) if part)
        return f"target `{self.target}` ({'.'.join(parts) or 'of an unknown schema'})"


def place_of(target: str, output: Mapping[str, Any], *, hidden: Collection[str] = ()) -> Place:
    """Where an output of a profile builds; `hidden` are its settings that can't be rendered here."""
    database = next((str(output[key]) for key in _DATABASES if output.get(key)), None)
    schema = next((str(output[key]) for key in _SCHEMAS if output.get(key)), None)
    if output.get("type") == "duckdb":
        # github.com/duckdb/dbt-duckdb: the file's name without its ending; `main` without a schema.
        path = str(output.get("path") or ":memory:")
        database = database or ("memory" if path.startswith(":") else PurePath(path.partition(":")[2] or path).stem)
        schema = schema or "main"
    server = ":".join(normpath(str(output[key])) for key in _SERVERS if output.get(key))
    if not set(_SERVERS).isdisjoint(hidden):
        server = f"the unknown server of target {target}"
    return Place(target=target, database=database, schema=schema, server=server)
