"""What dbt says: models, columns, and where their rows are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


# The Arrow metadata of a text column whose texts are exact numbers, such as those of a PostgreSQL `numeric`.
NUMBER_FIELD: Mapping[bytes, bytes] = {b"dbt_stripe_sync:type": b"number"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """Where a model lives in the warehouse. `rendered` is dbt's own quoted name (`relation_name`)."""

    database: str | None
    schema: str | None
    identifier: str
    rendered: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnNode:
    """A column that the YAML describes. `meta` is its own: what dbt 2 copies from the model is taken out."""

    name: str
    data_type: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNode:
    """A model, seed or snapshot of the manifest.

    `file` is where its meta stands (the YAML's path from the project's root, else the SQL file's). `relation` is None
    for an ephemeral model, whose compiled SQL is `sql`. `raw_meta` is the meta before dbt rendered it
    (`unrendered_config.meta`), None where the manifest has none.
    """

    unique_id: str
    name: str
    package: str
    resource_type: str
    materialized: str
    file: str
    path: str
    fqn: tuple[str, ...]
    tags: tuple[str, ...]
    depends_on: tuple[str, ...]
    relation: Relation | None
    sql: str | None
    meta: Mapping[str, Any]
    raw_meta: Mapping[str, Any] | None
    columns: Mapping[str, ColumnNode]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """What a warehouse is asked for: some columns of a relation or of a query. `name` is the model's, for messages."""

    name: str
    relation: Relation | None
    sql: str | None
    columns: tuple[str, ...]
