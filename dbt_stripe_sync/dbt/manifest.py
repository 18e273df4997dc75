"""dbt's artifacts, `manifest.json` and `run_results.json`, as typed nodes: of dbt 1.x and of dbt 2.

Only what syncs need is turned into objects, so that a project of thousands of nodes is read in a moment.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from dbt_stripe_sync.engine.types import ColumnNode, ModelNode, Relation
from dbt_stripe_sync.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# schemas.getdbt.com: v9 is dbt 1.5's, v12 that of dbt 1.8 and later and of dbt 2.
OLDEST_SCHEMA = 9
READABLE = frozenset({"model", "seed", "snapshot"})
FAILED = frozenset({"error", "fail", "runtime error"})
SKIPPED = frozenset({"skipped"})
_SCHEMA = re.compile(r"/manifest/v(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TestNode:
    """A data test: `guards` are the models that it speaks of; only one of severity `error` stops them."""

    __test__ = False

    unique_id: str
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResults:
    """What dbt's last run did: the status of each node by its unique id."""

    statuses: Mapping[str, str] = field(default_factory=dict)
    generated_at: str = ""
    invocation_id: str = ""


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`. Raises `ConfigError`: `no-manifest`, `broken-manifest`, `old-manifest`."""
    raw = _read_json(path, "manifest")
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    if not isinstance(metadata, dict) or not isinstance(raw.get("nodes"), dict):
        raise ConfigError(_broken(path, "it is not a manifest of dbt"))
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
        raise ConfigError(_broken(path, f"a part of it is not as dbt writes it ({error})")) from None


def read_run_results(path: Path) -> RunResults:
    """The results of dbt's last run; empty where there are none. Raises `ConfigError` where they can't be read."""
    if not path.exists():
        return RunResults()
    raw = _read_json(path, "run results")
    try:
        metadata = raw["metadata"]
        return RunResults(
            statuses={result["unique_id"]: str(result["status"]).lower() for result in raw["results"]},
            generated_at=str(metadata.get("generated_at", "")),
            invocation_id=str(metadata.get("invocation_id", "")),
        )
    except (KeyError, TypeError):
        raise ConfigError(_broken(path, "it is not what dbt writes")) from None


def held_models(manifest: Manifest, results: RunResults) -> Mapping[str, str]:
    """Models that must not be synced, with the reason: dbt could not build or test them, or what they come from."""
    held: dict[str, str] = {}
    for unique_id, status in results.statuses.items():
        test = manifest.tests.get(unique_id)
        if unique_id in manifest.nodes and status in FAILED | SKIPPED:
            what = "failed" if status in FAILED else "was skipped"
            held[unique_id] = f"`{manifest.nodes[unique_id].name}` {what} in dbt's last run"
        elif test is not None and test.is_error and status in FAILED:
            name = unique_id.split(".")[2] if unique_id.count(".") > 1 else unique_id
            for guarded in test.guards:
                held[guarded] = f"the test `{name}` failed in dbt's last run"
    for unique_id in list(held):
        for child in _descendants(manifest, unique_id):
            held.setdefault(child, f"it comes from a model that is held: {held[unique_id]}")
    return held


def _descendants(manifest: Manifest, unique_id: str) -> Iterator[str]:
    seen = {unique_id}
    ahead = [unique_id]
    while ahead:
        for child in manifest.children.get(ahead.pop(), ()):
            if child not in seen:
                seen.add(child)
                ahead.append(child)
                yield child


def _parse_manifest(raw: Mapping[str, Any], metadata: Mapping[str, Any], version: int, target_path: Path) -> Manifest:
    nodes: dict[str, ModelNode] = {}
    tests: dict[str, TestNode] = {}
    children: dict[str, list[str]] = {}
    for unique_id, node in raw["nodes"].items():
        kind = node["resource_type"]
        if kind in READABLE:
            nodes[unique_id] = _parse_model(unique_id, node, target_path)
            for parent in nodes[unique_id].depends_on:
                children.setdefault(parent, []).append(unique_id)
        elif kind == "test":
            tests[unique_id] = _parse_test(unique_id, node)
    return Manifest(
        nodes=nodes,
        tests=tests,
        children={parent: tuple(ids) for parent, ids in children.items()},
        project_name=str(metadata.get("project_name") or ""),
        dbt_version=str(metadata.get("dbt_version") or ""),
        adapter_type=str(metadata.get("adapter_type") or ""),
        schema_version=version,
        generated_at=str(metadata.get("generated_at") or ""),
        invocation_id=str(metadata.get("invocation_id") or ""),
        digest=_digest(nodes),
    )


def _parse_model(unique_id: str, node: Mapping[str, Any], target_path: Path) -> ModelNode:
    config = node.get("config") or {}
    meta = {**(node.get("meta") or {}), **(config.get("meta") or {})}
    raw_meta = (node.get("unrendered_config") or {}).get("meta")
    materialized = str(config.get("materialized") or node["resource_type"])
    is_ephemeral = materialized == "ephemeral"
    patch = str(node.get("patch_path") or "").partition("://")[2]
    original = str(node.get("original_file_path") or "")
    return ModelNode(
        unique_id=unique_id,
        name=node["name"],
        package=node["package_name"],
        resource_type=node["resource_type"],
        materialized=materialized,
        file=patch or original,
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


def _parse_test(unique_id: str, node: Mapping[str, Any]) -> TestNode:
    attached = node.get("attached_node")
    guards = (attached,) if attached else tuple((node.get("depends_on") or {}).get("nodes") or ())
    severity = str((node.get("config") or {}).get("severity") or "error").lower()
    return TestNode(unique_id=unique_id, guards=guards, is_error=severity == "error")


def _digest(nodes: Mapping[str, ModelNode]) -> str:
    digest = hashlib.sha256()
    for unique_id in sorted(nodes):
        node = nodes[unique_id]
        columns = {name: column.meta for name, column in node.columns.items()}
        relation = node.relation.rendered if node.relation else node.sql
        facts = [unique_id, node.materialized, relation, node.meta, columns]
        digest.update(orjson.dumps(facts, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS))
    return digest.hexdigest()


def _read_json(path: Path, what: str) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            Problem(
                code="no-manifest",
                summary=f"there is no {what} of dbt here",
                where=Location(file=str(path)),
                hint="run `dbt build` first, or name the project with `--project-dir`",
            )
        ) from None
    except (orjson.JSONDecodeError, OSError, UnicodeDecodeError):
        raise ConfigError(_broken(path, "it is not JSON, or was cut short")) from None


def _broken(path: Path, why: str) -> Problem:
    return Problem(
        code="broken-manifest",
        summary=f"dbt's artifact can't be read: {why}",
        where=Location(file=str(path)),
        hint="remove it and run `dbt build` again",
    )
