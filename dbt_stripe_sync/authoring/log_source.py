"""Describes the log in the warehouse as a dbt source, so that models can join Stripe's ids to rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dbt_stripe_sync.authoring.generated import write_generated
from dbt_stripe_sync.model.log import SCHEMA_SUFFIX, SOURCE, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "stripe_sync_source.yml"
HEADER = "# Written by `dbt-stripe-sync log source`; run it again after an upgrade of dbt-stripe-sync."


def render_source(schema: str | None) -> str:
    """The YAML. `schema` is the one in the settings; without it, each target has its own."""
    return "\n".join(_lines(schema or f"{{{{ target.schema }}}}{SCHEMA_SUFFIX}")) + "\n"


def write_source(schema: str | None, file: Path) -> bool:
    """Write the file, and return whether it has changed.

    Raises `ConfigError` if the existing file is not a generated one.
    """
    return write_generated(render_source(schema), file, header=HEADER, command="log source")


def _lines(schema: str) -> Iterator[str]:
    yield from (HEADER, "version: 2", "", "sources:", f"  - name: {SOURCE}")
    yield "    description: What dbt-stripe-sync did, and the Stripe object of each row."
    yield f"    schema: {json.dumps(schema)}"
    yield "    tables:"
    for table in TABLES:
        yield f"      - name: {table.name}"
        yield f"        description: {json.dumps(table.description, ensure_ascii=False)}"
        yield "        columns:"
        for column in table.columns:
            yield f"          - name: {column.name}"
            yield f"            description: {json.dumps(column.description, ensure_ascii=False)}"
