"""Reads dbt's `manifest.json` into typed nodes, for dbt 1.x and dbt 2.

What syncs can read (models, seeds, snapshots) becomes a `ModelNode`. Everything else keeps dbt's format, for selectors,
for the gate, and to find misplaced syncs.
"""

from __future__ import annotations

import gc
import hashlib
import re
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from msgspec import field

from dbt_stripe_sync.dbt.artifact import broken_artifact, read_bytes
from dbt_stripe_sync.dbt.nodes import (
    Column,
    GraphNode,
    ModelConfig,
    RawManifest,
    TestConfig,
    UnrenderedConfig,
    read_part,
)
from dbt_stripe_sync.dbt.snapshots import current_rows
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem
from dbt_stripe_sync.model.nodes import ColumnNode, ModelNode
from dbt_stripe_sync.model.objects import texts_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# schemas.getdbt.com: v9 is dbt 1.5's, v12 that of dbt 1.8 and later and of dbt 2.
OLDEST_SCHEMA = 9
READABLE = frozenset({"model", "seed", "snapshot"})
TAG = "stripe_sync"
_SCHEMA = re.compile(r"/manifest/v(\d+)")


class TestNode(msgspec.Struct, frozen=True, kw_only=True):
    """A data test or unit test.

    `guards` are the models that it tests; only a test of severity `error` holds them back.
    """

    __test__ = False

    name: str
    guards: tuple[str, ...]
    is_error: bool


class Manifest(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A dbt project as dbt last parsed it.

    `digest` changes with everything that syncs depend on. `nodes` are what a sync can read, `graph` is all that a
    selector can name, and `disabled` is what dbt leaves out.
    """

    nodes: Mapping[str, ModelNode]
    graph: Mapping[str, GraphNode]
    project_name: str
    dbt_version: str
    generated_at: str
    invocation_id: str
    digest: str
    disabled: Mapping[str, tuple[GraphNode, ...]] = field(default_factory=dict)
    macros: frozenset[str] = frozenset()

    @classmethod
    def of_unparsed(cls, project_name: str) -> Manifest:
        """The manifest of a project that dbt has not parsed yet: nothing is known of it."""
        return cls(
            nodes={},
            graph={},
            project_name=project_name,
            dbt_version="",
            generated_at="",
            invocation_id="",
            digest="",
        )

    @property
    def is_of_dbt_2(self) -> bool:
        """Whether dbt 2 wrote it."""
        return self.dbt_version.startswith("2.")

    @cached_property
    def tests(self) -> Mapping[str, TestNode]:
        """Data tests and unit tests. Raises `ValueError` if one doesn't have dbt's format."""
        kinds = {"test", "unit_test"}
        return {unique_id: _parse_test(node) for unique_id, node in self.graph.items() if node.resource_type in kinds}

    @cached_property
    def children(self) -> Mapping[str, tuple[str, ...]]:
        """The children of each node, including tests and exposures."""
        children: dict[str, list[str]] = {}
        for unique_id, node in self.graph.items():
            for parent in node.parents:
                children.setdefault(parent, []).append(unique_id)
        return {parent: tuple(sorted(ids)) for parent, ids in children.items()}


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`. Raises `ConfigError`: `no-manifest`, `broken-manifest`, `old-manifest`."""
    content = read_bytes(path, "manifest")
    try:
        with _without_collector():
            raw = msgspec.json.decode(content, type=RawManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(_why_not(content, path, error)) from None
    version = _schema_version(raw.metadata)
    if version < OLDEST_SCHEMA:
        raise ConfigError(_too_old(version, path))
    try:
        with _without_collector():
            return _parse_manifest(raw, path.parent)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(broken_artifact(path, f"a part of it doesn't have dbt's format ({error})")) from None


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause garbage collection: a hundred thousand objects that stay would be searched for cycles again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Head(msgspec.Struct):
    metadata: dict[str, Any]
    nodes: msgspec.Raw


def _why_not(content: bytes, path: Path, error: Exception) -> Problem:
    """What is wrong with a file that isn't a manifest."""
    try:
        head = msgspec.json.decode(content, type=_Head)
    except msgspec.ValidationError:
        return broken_artifact(path, "it is not a manifest of dbt")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return broken_artifact(path, "it is not valid JSON, or it is truncated")
    version = _schema_version(head.metadata)
    if version < OLDEST_SCHEMA:
        return _too_old(version, path)
    return broken_artifact(path, f"a part of it doesn't have dbt's format ({error})")


def _schema_version(metadata: Mapping[str, Any]) -> int:
    schema = _SCHEMA.search(str(metadata.get("dbt_schema_version", "")))
    return int(schema.group(1)) if schema else 0


def _too_old(version: int, path: Path) -> Problem:
    return Problem(
        code="old-manifest",
        summary=f"the manifest has schema v{version}, but the oldest supported one is v{OLDEST_SCHEMA} (dbt 1.5)",
        where=Location(file=str(path)),
        hint="upgrade dbt, and run `dbt build` again",
    )


def parse_models(raw: Mapping[str, Mapping[str, Any]], project_name: str) -> Mapping[str, ModelNode]:
    """Models, seeds and snapshots in the format of the manifest's `nodes`, from a dbt that has just parsed them."""
    nodes = msgspec.json.decode(
        orjson.dumps(raw, default=str, option=orjson.OPT_NON_STR_KEYS), type=dict[str, GraphNode]
    )
    return {unique_id: _parse_model(unique_id, node, Path(), project_name) for unique_id, node in nodes.items()}


def _parse_manifest(raw: RawManifest, target_path: Path) -> Manifest:
    project_name = str(raw.metadata.get("project_name") or "")
    graph = raw.graph()
    nodes = {
        unique_id: _parse_model(unique_id, node, target_path, project_name)
        for unique_id, node in raw.nodes.items()
        if node.resource_type in READABLE
    }
    return Manifest(
        nodes=nodes,
        graph=graph,
        project_name=project_name,
        dbt_version=str(raw.metadata.get("dbt_version") or ""),
        generated_at=str(raw.metadata.get("generated_at") or ""),
        invocation_id=str(raw.metadata.get("invocation_id") or ""),
        digest=_digest(nodes),
        disabled={unique_id: tuple(copies) for unique_id, copies in (raw.disabled or {}).items()},
        macros=frozenset(raw.macros or ()),
    )


def _parse_model(unique_id: str, node: GraphNode, target_path: Path, project_name: str) -> ModelNode:
    config = read_part(node.config, ModelConfig) or ModelConfig()
    meta = {**(read_part(node.meta, dict) or {}), **(config.meta or {})}
    unrendered = read_part(node.unrendered_config, UnrenderedConfig)
    materialized = config.materialized or node.resource_type
    is_ephemeral = materialized == "ephemeral"
    return ModelNode(
        unique_id=unique_id,
        name=node.name,
        package=node.package_name,
        resource_type=node.resource_type,
        materialized=materialized,
        file=_file_of(node, project_name),
        path=node.path,
        fqn=tuple(node.fqn or ()),
        depends_on=tuple(node.parents),
        relation=None if is_ephemeral else node.relation_name or None,
        sql=_compiled_sql(node, target_path) if is_ephemeral else None,
        meta=meta,
        raw_meta=unrendered.meta if unrendered and isinstance(unrendered.meta, dict) else None,
        columns=_parse_columns(node, meta),
        version=None if node.version is None else str(node.version),
        latest_version=None if node.latest_version is None else str(node.latest_version),
        access=node.access,
        current_rows=current_rows(config) if node.resource_type == "snapshot" else None,
    )


def _file_of(node: GraphNode, project_name: str) -> str:
    """The file with the meta: a path from the project's root, or `package://path` in another package."""
    package, _, path = node.described_in.rpartition("://")
    return node.described_in if package and package != project_name else path or node.path


def _compiled_sql(node: GraphNode, target_path: Path) -> str | None:
    """Dbt 1.x keeps an ephemeral model's SQL in the manifest, dbt 2 only in a file under `target/compiled`."""
    in_manifest = read_part(node.compiled_code, str)
    if in_manifest:
        return in_manifest
    file = target_path / "compiled" / node.package_name / node.path
    if not file.is_file():
        file = target_path / "compiled" / node.path
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _parse_columns(node: GraphNode, model_meta: Mapping[str, Any]) -> Mapping[str, ColumnNode]:
    """The columns with their own meta."""
    columns = {}
    for name, column in (read_part(node.columns, dict[str, Column]) or {}).items():
        in_config = column.config.meta if column.config else None
        if not column.meta and not in_config:
            continue
        meta = {**(column.meta or {}), **(in_config or {})}
        # dbt 2 copies the model's meta into each column without its own.
        own = {key: value for key, value in meta.items() if key not in model_meta or model_meta[key] != value}
        if own:
            columns[name] = ColumnNode(name=column.name, meta=own)
    return columns


def _parse_test(node: GraphNode) -> TestNode:
    guards = (node.attached_node,) if node.attached_node else tuple(node.parents)
    config = read_part(node.config, TestConfig)
    severity = ((config.severity if config else None) or "error").lower()
    return TestNode(name=node.name, guards=guards, is_error=severity == "error")


def _digest(nodes: Mapping[str, ModelNode]) -> str:
    """A digest of the tagged models and of those that their meta names.

    So no other model makes a plan stale.
    """
    tagged = [node for node in nodes.values() if TAG in node.meta]
    named = {text for node in tagged for text in texts_in(node.meta[TAG])}
    digest = hashlib.sha256()
    for node in sorted(nodes.values(), key=lambda node: node.unique_id):
        if TAG in node.meta or node.name in named:
            columns = {name: column.meta for name, column in node.columns.items()}
            source = node.relation or node.sql
            facts = [node.unique_id, node.materialized, source, node.meta, columns]
            digest.update(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()
