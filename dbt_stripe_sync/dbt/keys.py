"""Finds the columns that identify a model's rows and refer to other models, from constraints and data tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.dbt.nodes import Column, read_part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.dbt.manifest import Manifest
    from dbt_stripe_sync.dbt.nodes import GraphNode

# A test of dbt_utils, and the same test in projects that have copied it.
COMBINATION = "unique_combination_of_columns"


def find_keys(manifest: Manifest, unique_id: str) -> list[tuple[str, ...]]:
    """Every key of a model, the most certain first: primary keys, then unique and never null, then unique."""
    node = manifest.graph[unique_id]
    facts = [*_constraints(node), *_tests(manifest, unique_id)]
    not_null = {columns for kind, columns in facts if kind == "not_null"}
    primary = [columns for kind, columns in facts if kind == "primary_key"]
    unique = [columns for kind, columns in facts if kind == "unique"]
    sure = [columns for columns in unique if all((column,) in not_null for column in columns)]
    return list(dict.fromkeys((*primary, *sure, *unique)))


def _constraints(node: GraphNode) -> Iterator[tuple[str, tuple[str, ...]]]:
    for constraint in _hashes(read_part(node.constraints, list[Any])):
        yield str(constraint.get("type")), tuple(map(str, constraint.get("columns") or ()))
    for column in (read_part(node.columns, dict[str, Column]) or {}).values():
        for constraint in _hashes(column.constraints):
            yield str(constraint.get("type")), (column.name,)


def _hashes(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _data_tests(manifest: Manifest, unique_id: str) -> Iterator[tuple[GraphNode, str, dict[str, Any]]]:
    """The generic tests of a model: each with its name and its arguments."""
    for child in manifest.children.get(unique_id, ()):
        node = manifest.graph[child]
        if node.resource_type != "test" or (node.attached_node or unique_id) != unique_id:
            continue
        metadata = read_part(node.test_metadata, dict[str, Any]) or {}
        arguments = metadata.get("kwargs") or {}
        # dbt 1.10 and later keep a test's arguments under a separate key.
        yield node, str(metadata.get("name")), {**arguments, **(arguments.get("arguments") or {})}


def _tests(manifest: Manifest, unique_id: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for _, name, arguments in _data_tests(manifest, unique_id):
        if name == COMBINATION:
            yield "unique", tuple(map(str, arguments.get("combination_of_columns") or ()))
        elif name in {"unique", "not_null"} and arguments.get("column_name"):
            yield name, (str(arguments["column_name"]),)


class Relationship(Struct, frozen=True, kw_only=True):
    """dbt's `relationships` test: a column contains the values of another model's field."""

    column: str
    model: str
    field: str


def find_relationships(manifest: Manifest, unique_id: str) -> list[Relationship]:
    """The models to which a model's columns refer, by its data tests."""
    found = []
    for node, name, arguments in _data_tests(manifest, unique_id):
        others = [other for other in (node.depends_on.nodes if node.depends_on else None) or () if other != unique_id]
        column, target = arguments.get("column_name"), arguments.get("field")
        if name == "relationships" and column and target and len(others) == 1:
            found.append(Relationship(column=str(column), model=others[0], field=str(target)))
    return found
