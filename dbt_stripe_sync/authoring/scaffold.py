"""Writes a first sync for a model: matches its columns to parameters, checks it, and adds it to the model's YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.authoring.files import read_file, replace_file
from dbt_stripe_sync.authoring.matching import KnownModel, match_columns
from dbt_stripe_sync.authoring.referring import find_referable
from dbt_stripe_sync.authoring.snippet import build_snippet, read_snippet
from dbt_stripe_sync.authoring.yaml_file import TAG, has_model, insert_sync, new_file
from dbt_stripe_sync.config.suggest import did_you_mean
from dbt_stripe_sync.config.sync import parse_syncs
from dbt_stripe_sync.config.versions import models_by_name
from dbt_stripe_sync.dbt.keys import find_keys, find_relationships
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from dbt_stripe_sync.authoring.matching import Matched
    from dbt_stripe_sync.dbt.manifest import Manifest
    from dbt_stripe_sync.model.nodes import ModelNode
    from dbt_stripe_sync.stripe_api.catalog import Catalog, Resource


class FirstSync(Struct, frozen=True, kw_only=True):
    """The options of `init`.

    `fields` are parameters with their columns, for names that don't match. `ask` asks which of the model's columns is
    the key, if it can't be determined.
    """

    model: str
    resource: str
    key: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    ask: Callable[[Sequence[str]], tuple[str, ...]] | None = None


class Written(Struct, frozen=True, kw_only=True):
    """What was written: the file, the sync's lines, and how many of the model's columns it maps."""

    file: Path
    lines: tuple[str, ...]
    mapped: int
    left: int


def find_model(manifest: Manifest, name: str) -> ModelNode:
    """The model with that name. Raises `ConfigError` if there is none, or if it already has a sync."""
    node = models_by_name(manifest.nodes.values(), manifest.project_name).get(name)
    if node is None:
        names = [node.name for node in manifest.nodes.values()]
        hint = f"{did_you_mean(name, names)}models are named as in `ref()`"
        raise ConfigError(Problem(code="unknown-model", summary=f"the project has no model `{name}`", hint=hint))
    if TAG in node.meta:
        where = Location(file=node.file, model=name)
        hint = "change it there; `dbt-stripe-sync init` only adds what is missing"
        raise ConfigError(Problem(code="already-synced", summary=f"`{name}` has a sync", where=where, hint=hint))
    return node


def write_first_sync(
    asked: FirstSync, node: ModelNode, columns: Mapping[str, str], manifest: Manifest, catalog: Catalog, root: Path
) -> Written:
    """Write the sync, after checking that it is valid.

    `columns` are the model's, with their types. Raises `ConfigError` with every problem, and then writes nothing.
    """
    resource = _find_resource(asked.resource, catalog)
    syncs = parse_syncs(manifest.nodes, catalog, project="").syncs
    known = KnownModel(
        name=node.name,
        columns=columns,
        keys=find_keys(manifest, node.unique_id),
        syncs=find_referable(syncs, find_relationships(manifest, node.unique_id)),
    )
    matched = match_columns(resource, known, key=asked.key, chosen=dict(asked.fields), ask=asked.ask)
    _check(node, resource, matched, manifest, catalog)
    lines = build_snippet(resource, matched)
    file, text = _place(node, lines, manifest, root)
    replace_file(file, text)
    left = len(matched.left) + len(matched.unsure)
    return Written(file=file, lines=tuple(lines), mapped=len(columns) - left, left=left)


def _find_resource(name: str, catalog: Catalog) -> Resource:
    resource = catalog.resource(name)
    if resource is None:
        close = catalog.suggest(name)
        hint = f"did you mean `{close}`?" if close else "`dbt-stripe-sync fields` lists them all"
        raise ConfigError(Problem(code="unknown-resource", summary=f"unknown Stripe resource `{name}`", hint=hint))
    refused = resource.lifecycle.refused
    if refused is not None:
        raise ConfigError(
            Problem(
                code="refused-resource",
                summary=f"`{resource.name}` can't be synced: {refused}",
                hint="`dbt-stripe-sync fields` lists what can be synced",
            )
        )
    return resource


def _check(node: ModelNode, resource: Resource, matched: Matched, manifest: Manifest, catalog: Catalog) -> None:
    tagged = replace(node, meta={**node.meta, TAG: read_snippet(resource, matched)}, raw_meta=None)
    parsed = parse_syncs({**manifest.nodes, node.unique_id: tagged}, catalog, project="")
    # Parts that only the user can add, such as the items of a subscription, are left as a comment.
    to_add = {"missing-one-of", "missing-parameter"}
    problems = [p for p in parsed.problems if p.where.model == node.name and p.code not in to_add]
    if problems:
        raise ConfigError(problems)


def _place(node: ModelNode, lines: list[str], manifest: Manifest, root: Path) -> tuple[Path, str]:
    """The file for the sync, and its complete new text."""
    if node.package != manifest.project_name and manifest.project_name:
        raise ConfigError(
            Problem(
                code="foreign-model",
                summary=f"`{node.name}` belongs to the package `{node.package}`, whose files you can't change",
                where=Location(file=node.file, model=node.name),
                hint="select from it in a model of your own, and sync that one",
            )
        )
    if node.file.endswith((".yml", ".yaml")):
        file = root / node.file
        text = read_file(file, node.file)
        return file, insert_sync(text, node.resource_type, node.name, lines, file=node.file)
    beside = (root / node.path).with_suffix(".yml")
    if beside.exists():
        # dbt hasn't parsed the file yet, so the manifest doesn't name it.
        name = str(beside.relative_to(root))
        text = read_file(beside, name)
        if has_model(text, node.resource_type, node.name, file=name):
            return beside, insert_sync(text, node.resource_type, node.name, lines, file=name)
    file = beside if not beside.exists() else beside.with_name(f"{node.name}_stripe_sync.yml")
    if file.exists():
        where = Location(file=str(file), model=node.name)
        hint = "run `dbt parse`, so that the manifest has it, and try again"
        raise ConfigError(Problem(code="file-exists", summary="the file already exists", where=where, hint=hint))
    return file, new_file(node.resource_type, node.name, lines)
