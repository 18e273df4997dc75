"""The nodes of dbt's `manifest.json` as dbt writes them, with only the fields that are needed.

A manifest can have a hundred megabytes, most of it SQL and documentation. msgspec skips unneeded fields, and keeps what
only some nodes need (`Raw`) as bytes until it is used.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Optional, TypeVar

from msgspec import Raw, Struct, field, json

NOTHING = Raw(b"null")


class ModelConfig(Struct, gc=False):
    """The needed parts of a model's `config`."""

    materialized: str | None = None
    meta: dict[str, Any] | None = None
    hard_deletes: str | None = None
    dbt_valid_to_current: str | None = None
    snapshot_meta_column_names: dict[str, str | None] | None = None


class UnrenderedConfig(Struct, gc=False):
    """The relevant part of a config before dbt rendered it."""

    meta: Any = None


class ColumnConfig(Struct, gc=False):
    """The needed parts of a column's `config`."""

    meta: dict[str, Any] | None = None


class Column(Struct, gc=False):
    """A column that the YAML describes."""

    name: str
    meta: dict[str, Any] | None = None
    config: ColumnConfig | None = None
    constraints: Any = None


class TestConfig(Struct, gc=False):
    """The needed parts of a test's `config`."""

    __test__ = False

    severity: str | None = None


class DependsOn(Struct, gc=False):
    """The parents of a node."""

    nodes: list[str] | None = None


class GraphNode(Struct, gc=False):
    """Anything in dbt's graph: a model, a test, a source, an exposure."""

    name: str
    resource_type: str
    package_name: str = ""
    original_file_path: str | None = None
    short_path: str | None = field(default=None, name="path")
    patch_path: str | None = None
    fqn: list[str] | None = None
    tags: list[str] | None = None
    depends_on: DependsOn | None = None
    config: Raw = NOTHING
    meta: Raw = NOTHING
    unrendered_config: Raw = NOTHING
    columns: Raw = NOTHING
    constraints: Raw = NOTHING
    database: str | None = None
    schema: str | None = None
    relation_name: str | None = None
    compiled_code: Raw = NOTHING
    attached_node: str | None = None
    test_metadata: Raw = NOTHING
    source_name: str | None = None
    access: str | None = None
    version: int | float | str | None = None
    latest_version: int | float | str | None = None

    @property
    def parents(self) -> list[str]:
        """The unique ids of its parents."""
        return (self.depends_on.nodes if self.depends_on else None) or []

    @property
    def path(self) -> str:
        """Its file, from the root of its package."""
        return (self.original_file_path or "").replace("\\", "/")

    @property
    def file_name(self) -> str:
        """The name of the file that dbt writes its SQL to."""
        return (self.short_path or self.path).replace("\\", "/").rpartition("/")[2]

    @property
    def described_in(self) -> str:
        """The YAML file that describes it: a path from the root of its package, or `package://path`."""
        return (self.patch_path or "").replace("\\", "/")

    def settings(self) -> dict[str, Any]:
        """Its whole `config`."""
        return read_part(self.config, dict) or {}

    def own_meta(self) -> dict[str, Any]:
        """Its `meta` next to `config`."""
        return read_part(self.meta, dict) or {}


class NamesOnly(Struct, gc=False):
    """A part that only has to exist."""


class RawManifest(Struct, gc=False):
    """The parts of the file."""

    metadata: dict[str, Any]
    nodes: dict[str, GraphNode]
    sources: dict[str, GraphNode] | None = None
    exposures: dict[str, GraphNode] | None = None
    metrics: dict[str, GraphNode] | None = None
    semantic_models: dict[str, GraphNode] | None = None
    saved_queries: dict[str, GraphNode] | None = None
    unit_tests: dict[str, GraphNode] | None = None
    functions: dict[str, GraphNode] | None = None
    macros: dict[str, NamesOnly] | None = None
    disabled: dict[str, list[GraphNode]] | None = None

    def graph(self) -> dict[str, GraphNode]:
        """Everything that a selector can name, by its unique id."""
        others = (
            self.sources,
            self.exposures,
            self.metrics,
            self.semantic_models,
            self.saved_queries,
            self.unit_tests,
            self.functions,
        )
        whole = dict(self.nodes)
        for part in others:
            whole.update(part or {})
        return whole


Part = TypeVar("Part")


def read_part(raw: Raw, kind: type[Part]) -> Part | None:
    """Parse a part that was kept as bytes. Raises `msgspec.ValidationError` if it has another form."""
    return None if raw is NOTHING else _decoder(kind).decode(raw)  # type: ignore[arg-type]


@cache
def _decoder(kind: Any) -> json.Decoder[Any]:
    return json.Decoder(Optional[kind])  # noqa: UP045 - built at run time
