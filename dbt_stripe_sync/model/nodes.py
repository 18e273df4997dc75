"""Parts of dbt's manifest: models, columns, and where their rows are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Mapping


# The Arrow metadata of a text column that contains exact numbers, such as those of a PostgreSQL `numeric`.
NUMBER_FIELD: Mapping[bytes, bytes] = {b"dbt_stripe_sync:type": b"number"}


class ColumnNode(Struct, frozen=True, kw_only=True):
    """A column that the YAML describes. `meta` is its own; entries that dbt 2 copies from the model are removed."""

    name: str
    meta: Mapping[str, Any] = field(default_factory=dict)


class ModelNode(Struct, frozen=True, kw_only=True):
    """A model, seed or snapshot of the manifest.

    - `file` has its meta (the YAML's path from the project's root, or the SQL file's).
    - `relation` is the quoted name of its table or view (dbt's `relation_name`), None for an ephemeral model, whose
      compiled SQL is `sql`.
    - `raw_meta` is the meta before dbt rendered it (`unrendered_config.meta`), None if the manifest has none.
    - `current_rows` is the SQL condition that excludes a snapshot's history, None if every row is current.
    """

    unique_id: str
    name: str
    package: str
    resource_type: str
    materialized: str
    file: str
    path: str
    fqn: tuple[str, ...]
    depends_on: tuple[str, ...]
    relation: str | None
    sql: str | None
    meta: Mapping[str, Any]
    raw_meta: Mapping[str, Any] | None
    columns: Mapping[str, ColumnNode]
    version: str | None = None
    latest_version: str | None = None
    access: str | None = None
    current_rows: str | None = None

    @property
    def label(self) -> str:
        """Its name for messages, with its version if it has one."""
        return self.name if self.version is None else f"{self.name} (v={self.version})"

    @property
    def stores_rows(self) -> bool:
        """Whether the warehouse stores its rows. The query of a view runs each time that it is read."""
        return self.relation is not None and self.materialized not in {"view", "ephemeral"}

    @property
    def is_latest(self) -> bool:
        """Whether `ref()` without a version means this one."""
        return self.version == self.latest_version

    def source(self, columns: tuple[str, ...] = ()) -> RowSource:
        """Return the source from which a warehouse reads some of the model's columns."""
        return RowSource(name=self.name, relation=self.relation, sql=self.sql, columns=columns, where=self.current_rows)

    def with_history(self) -> ModelNode:
        """Return the same snapshot, including rows that dbt has closed."""
        return replace(self, current_rows=None)


class RowSource(Struct, frozen=True, kw_only=True):
    """What to read from a warehouse: some columns of a relation or of a query.

    `name` is the model's, for messages. `where` is a condition in the warehouse's own SQL that every row has to meet.
    """

    name: str
    relation: str | None
    sql: str | None
    columns: tuple[str, ...]
    where: str | None = None
