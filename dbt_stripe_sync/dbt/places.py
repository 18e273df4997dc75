"""Where the targets of a profile build: the database and the schema, by the names that each adapter gives them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# What adapters call the database and the schema in a profile.
_DATABASES = ("database", "dbname", "catalog", "project")
_SCHEMAS = ("schema", "dataset")
PLACE_KEYS = ("type", *_DATABASES, *_SCHEMAS, "path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a target builds; None for what its profile does not say, or what can't be rendered here."""

    target: str
    database: str | None
    schema: str | None

    def __str__(self) -> str:
        parts = (part for part in (self.database, self.schema) if part)
        return f"target `{self.target}` ({'.'.join(parts) or 'of an unknown schema'})"


def place_of(target: str, output: Mapping[str, Any]) -> Place:
    """Where an output of a profile builds."""
    database = next((str(output[key]) for key in _DATABASES if output.get(key)), None)
    schema = next((str(output[key]) for key in _SCHEMAS if output.get(key)), None)
    if output.get("type") == "duckdb":
        # github.com/duckdb/dbt-duckdb: the file's name without its ending; `main` without a schema.
        path = str(output.get("path") or ":memory:")
        database = database or ("memory" if path.startswith(":") else PurePath(path.partition(":")[2] or path).stem)
        schema = schema or "main"
    return Place(target=target, database=database, schema=schema)
