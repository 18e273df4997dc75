"""dbt's `manifest.json` as typed nodes, of dbt 1.x and of dbt 2.

Only what syncs need is turned into objects, so that a project of thousands of nodes is read in a moment.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dbt_stripe_sync.dbt.artifact import broken_artifact, read_artifact
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem
from dbt_stripe_sync.model.nodes import ColumnNode, ModelNode, Relation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# schemas.getdbt.com: v9 is dbt 1.5's, v12 that of dbt 1.8 and later and of dbt 2.
OLDEST_SCHEMA = 9
READABLE = frozenset({"model", "seed", "snapshot"})
TAG = "stripe_sync"
_SCHEMA = re.compile(r"/manifest/v(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TestNode:
    """A data test or unit test: `guards` are what it speaks of; only one of severity `error` stops them."""

    __test__ = False

    name: str
    guards: tuple[str, ...]
    is_error: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A dbt project as dbt last parsed it. `digest` changes where something that syncs depend on does."""

    nodes: Mapping[str, ModelNode]
    tests: Mapping[str, TestNode]
    children: Mapping[str, tuple[str, ...]]
    project_name: str
    dbt_version: str
    adapter_type: str
    schema_version: int
    generated_at: str
    invocation_id: str
    digest: str


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`. Raises `ConfigError`: `no-manifest`, `broken-manifest`, `old-manifest`."""
    raw = read_artifact(path, "manifest")
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    if not isinstance(metadata, dict) or not isinstance(raw.get("nodes"), dict):
        raise ConfigError(broken_artifact(path, "it is not a manifest of dbt"))
    schema = _SCHEMA.search(str(metadata.get("dbt_schema_version", "")))
    version = int(schema.group(1)) if schema else 0
    if version < OLDEST_SCHEMA:
        raise ConfigError(
            Problem(
                code="old-manifest",
                summary=f"the manifest has schema v{version}, and v{OLDEST_SCHEMA} (dbt 1.5) is the oldest read",
                where=Location(file=str(path)),
                hint="upgrade dbt, and run `dbt build` again",
            )
        )
    try:
        return _parse_manifest(raw, metadata, version, path.parent)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(broken_artifact(path, f"a part of it is not as dbt writes it ({error})")) from None


def parse_models(raw: Mapping[str, Mapping[str, Any]], project_name: str) -> Mapping[str, ModelNode]:
    """Models, seeds and snapshots in the shape of the manifest's `nodes`, from a dbt that has just read them."""
    return {unique_id: _parse_model(unique_id, node, Path(), project_name) for unique_id, node in raw.items()}


def _parse_manifest(raw: Mapping[str, Any], metadata: Mapping[str, Any], version: int, target_path: Path) -> Manifest:
    nodes: dict[str, ModelNode] = {}
    tests: dict[str, TestNode] = {}
    children: dict[str, list[str]] = {}
    project_name = str(metadata.get("project_name") or "")
    for unique_id, node in raw["nodes"].items():
        kind = node["resource_type"]
        if kind in READABLE:
            nodes[unique_id] = _parse_model(unique_id, node, target_path, project_name)
            for parent in nodes[unique_id].depends_on:
                children.setdefault(parent, []).append(unique_id)
        elif kind == "test":
            tests[unique_id] = _parse_test(node)
    for unique_id, node in (raw.get("unit_tests") or {}).items():
        tests[unique_id] = _parse_test(node)
    return Manifest(
        nodes=nodes,
        tests=tests,
        children={parent: tuple(sorted(ids)) for parent, ids in children.items()},
        project_name=project_name,
        dbt_version=str(metadata.get("dbt_version") or ""),
        adapter_type=str(metadata.get("adapter_type") or ""),
        schema_version=version,
        generated_at=str(metadata.get("generated_at") or ""),
        invocation_id=str(metadata.get("invocation_id") or ""),
        digest=_digest(nodes),
    )


def _parse_model(unique_id: str, node: Mapping[str, Any], target_path: Path, project_name: str) -> ModelNode:
    config = node.get("config") or {}
    meta = {**(node.get("meta") or {}), **(config.get("meta") or {})}
    raw_meta = (node.get("unrendered_config") or {}).get("meta")
    materialized = str(config.get("materialized") or node["resource_type"])
    is_ephemeral = materialized == "ephemeral"
    original = _as_posix(node.get("original_file_path"))
    return ModelNode(
        unique_id=unique_id,
        name=node["name"],
        package=node["package_name"],
        resource_type=node["resource_type"],
        materialized=materialized,
        file=_file_of(node, project_name),
        path=original,
        fqn=tuple(node.get("fqn") or ()),
        tags=tuple(node.get("tags") or config.get("tags") or ()),
        depends_on=tuple((node.get("depends_on") or {}).get("nodes") or ()),
        relation=None if is_ephemeral else _parse_relation(node),
        sql=_compiled_sql(node, target_path) if is_ephemeral else None,
        meta=meta,
        raw_meta=raw_meta if isinstance(raw_meta, dict) else None,
        columns={name: _parse_column(column, meta) for name, column in (node.get("columns") or {}).items()},
    )


def _file_of(node: Mapping[str, Any], project_name: str) -> str:
    """Where the meta stands: a path from the project's root, or `package://path` where the package is another's."""
    patch = _as_posix(node.get("patch_path"))
    package, _, path = patch.rpartition("://")
    return patch if package and package != project_name else path or _as_posix(node.get("original_file_path"))


def _as_posix(path: Any) -> str:
    return str(path or "").replace("\\", "/")


def _parse_relation(node: Mapping[str, Any]) -> Relation | None:
    rendered = node.get("relation_name")
    if not rendered:
        return None
    identifier = str(node.get("alias") or node["name"])
    return Relation(
        database=node.get("database"), schema=node.get("schema"), identifier=identifier, rendered=str(rendered)
    )


def _compiled_sql(node: Mapping[str, Any], target_path: Path) -> str | None:
    """Dbt 1.x keeps an ephemeral model's SQL in the manifest, dbt 2 in a file under `target/compiled` alone."""
    if node.get("compiled_code"):
        return str(node["compiled_code"])
    file = target_path / "compiled" / node["package_name"] / str(node.get("original_file_path") or "")
    if not file.is_file():
        file = target_path / "compiled" / str(node.get("original_file_path") or "")
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _parse_column(column: Mapping[str, Any], model_meta: Mapping[str, Any]) -> ColumnNode:
    meta = {**(column.get("meta") or {}), **((column.get("config") or {}).get("meta") or {})}
    # dbt 2 copies the model's meta into each of its columns that has none of its own.
    own = {name: value for name, value in meta.items() if name not in model_meta or model_meta[name] != value}
    return ColumnNode(name=column["name"], data_type=column.get("data_type"), meta=own)


def _parse_test(node: Mapping[str, Any]) -> TestNode:
    attached = node.get("attached_node")
    guards = (attached,) if attached else tuple((node.get("depends_on") or {}).get("nodes") or ())
    severity = str((node.get("config") or {}).get("severity") or "error").lower()
    return TestNode(name=node["name"], guards=guards, is_error=severity == "error")


def _digest(nodes: Mapping[str, ModelNode]) -> str:
    """Of the tagged models and of the models that their meta names, so that no other model makes a plan stale."""
    tagged = [node for node in nodes.values() if TAG in node.meta]
    named = {text for node in tagged for text in _texts(node.meta[TAG])}
    digest = hashlib.sha256()
    for node in sorted(nodes.values(), key=lambda node: node.unique_id):
        if TAG in node.meta or node.name in named:
            columns = {name: column.meta for name, column in node.columns.items()}
            source = node.relation.rendered if node.relation else node.sql
            facts = [node.unique_id, node.materialized, source, node.meta, columns]
            digest.update(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()


def _texts(value: Any) -> Iterator[str]:
    """Every text in a piece of meta."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
