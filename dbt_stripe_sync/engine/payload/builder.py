"""Builds the Stripe parameters of a changed row, or the reasons why it can't be sent."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.engine.payload.foresee import foresee_payload
from dbt_stripe_sync.engine.payload.layout import own_reference
from dbt_stripe_sync.engine.payload.reading import build_fields, object_named, put
from dbt_stripe_sync.engine.payload.templates import render_template
from dbt_stripe_sync.engine.payload.values import (
    BadValueError,
    as_text,
    check_metadata,
    is_empty,
    is_null,
)
from dbt_stripe_sync.model.change import Ref
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.nested import leaves, map_leaves
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.sql import (
    FAILED_MARK,
    ID_SEPARATOR,
    NEAR_MARK,
    PENDING_MARK,
    PENDING_SEPARATOR,
    SEVERAL_MARK,
)
from dbt_stripe_sync.model.sync import (
    Column,
    Constant,
    Nulls,
    Template,
    Value,
)
from dbt_stripe_sync.model.tag import build_identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dbt_stripe_sync.engine.payload.layout import Layout
    from dbt_stripe_sync.model.params import Param, Resource
    from dbt_stripe_sync.model.sync import FieldMapping, Sync


# The prefix of a resolved reference that isn't an id yet.
UNRESOLVED = (SEVERAL_MARK, NEAR_MARK, FAILED_MARK)


class Payload(Struct, frozen=True, kw_only=True):
    """The parameters of one row. `params` contains no nulls; `absent` has the mapped paths whose value is null."""

    params: dict[str, Any]
    absent: Mapping[tuple[str, ...], Nulls]
    problems: tuple[Problem, ...]


def pending_id(sync: str, key: str) -> str:
    """The placeholder in a staged row for the id of an object that the plan creates."""
    return f"{PENDING_MARK}{sync}{PENDING_SEPARATOR}{key}"


def resolve_refs_text(refs: str | None, ids: Mapping[Ref, str]) -> str | None:
    """A row's `$refs`, with the ids of the objects that its plan has created so far."""
    if refs is None or PENDING_MARK not in refs:
        return refs
    named = (object_named(part) for part in refs.split(ID_SEPARATOR))
    return ID_SEPARATOR.join(ids[part] if isinstance(part, Ref) else part for part in named)


def refs_in(value: Any) -> Sequence[Ref]:
    """Every `Ref` in some parameters, in order."""
    return [leaf for leaf in leaves(value) if isinstance(leaf, Ref)]


def resolve_refs(value: Any, ids: Mapping[Ref, str]) -> Any:
    """The same parameters with every `Ref` replaced by its id. Raises `KeyError` if an id is unknown."""
    return map_leaves(value, lambda leaf: ids[leaf] if isinstance(leaf, Ref) else leaf)


class PayloadBuilder:
    """Builds the payloads of one sync's rows."""

    def __init__(self, sync: Sync, layout: Layout, resource: Resource) -> None:
        self._sync = sync
        self._resource = resource
        self.mapped = frozenset(mapping.path for mapping in sync.fields)
        self._fields = build_fields(sync.fields, resource.params, layout)
        # Few parameters need a check of their complete value.
        names = dict.fromkeys(path[0] for path in self.mapped if path[0] in resource.params)
        self._checks = {name: check for name in names if (check := _check_of(resource.params[name])) is not None}

    def build(self, key: str, row: Mapping[str, Any]) -> Payload:
        """Build the parameters of one row, together with every problem that it has."""
        problems: list[Problem] = []
        absent: dict[tuple[str, ...], Nulls] = {}
        params = self._checked(self._build_params(row, problems, absent, key), key, problems)
        problems += foresee_payload(self._resource, params, self._sync.where, key)
        name = self._resource.lifecycle.key_as
        if name is not None and name not in params:
            params[name] = build_identifier(self._sync.project, self._sync.name, key)
        return Payload(params=params, absent=absent, problems=tuple(problems))

    @staticmethod
    def text(value: Value, row: Mapping[str, Any]) -> str | None:
        """A value of a row as the text that an object is found by. None if it is null or can't be converted to text."""
        try:
            if isinstance(value, Column):
                return None if is_null(row[value.name]) else as_text(row[value.name])
            if isinstance(value, Template):
                return render_template(value.source, {name: row[name] for name in value.columns}) or None
            return as_text(value.value) if isinstance(value, Constant) else None
        except Exception:  # noqa: BLE001 - a template raises whatever its expressions do; its field says so
            return None

    def _build_params(
        self, row: Mapping[str, Any], problems: list[Problem], absent: dict[tuple[str, ...], Nulls], key: str
    ) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for field in self._fields:
            try:
                value = field.read(row)
            except BadValueError as bad:
                problems.append(_problem(field.mapping, key, bad))
                continue
            if value is None or is_empty(value):
                absent[field.mapping.path] = field.mapping.nulls
            elif field.outer or isinstance(value, dict):
                put(made, field, value)
            else:
                made[field.name] = value
        return made

    def _checked(self, params: dict[str, Any], key: str, problems: list[Problem]) -> dict[str, Any]:
        """Check what depends on the complete payload: metadata's limits and required parts of hashes."""
        for name, check in self._checks.items():
            if name not in params:
                continue
            try:
                check(params[name])
            except BadValueError as bad:
                where = self._sync.where.at_field("fields", name, *bad.path).at_key(key)
                problems.append(_problem_at(where, (name, *bad.path), bad))
                del params[name]
        return params


def _check_of(param: Param) -> Callable[[Any], None] | None:
    """The check of a parameter's complete value, after all of its mappings are applied."""
    if param.name == "metadata":
        return check_metadata
    return partial(_check_required, param) if _has_required(param) else None


def _has_required(param: Param) -> bool:
    if param.kind is ParamKind.LIST:
        return param.item is not None and _has_required(param.item)
    fields = (param.fields or {}).values() if param.kind is ParamKind.HASH else ()
    return any(field.required or _has_required(field) for field in fields)


def object_of(sync: Sync, layout: Layout, row: Mapping[str, Any]) -> str | Ref | None:
    """The object on which a part of a sync sets its parameters: its id, or the change that creates it."""
    found: str | None = row[layout.row.references[own_reference(sync)]]
    if found is None or found.startswith(UNRESOLVED):
        return None
    return object_named(found)


def _check_required(param: Param, value: Any) -> None:
    if param.kind is ParamKind.LIST and param.item and isinstance(value, list):
        for index, entry in enumerate(value):
            _check_part(param.item, entry, str(index))
    elif param.kind is ParamKind.HASH and isinstance(value, dict):
        for name, field in (param.fields or {}).items():
            if name in value:
                _check_part(field, value[name], name)
            elif field.required:
                raise BadValueError(
                    "missing-parameter",
                    "is missing, and Stripe requires it",
                    "map it, or make it not null",
                    (name,),
                )


def _check_part(param: Param, value: Any, name: str) -> None:
    try:
        _check_required(param, value)
    except BadValueError as bad:
        raise BadValueError(bad.code, bad.reason, bad.hint, (name, *bad.path)) from None


def _problem(mapping: FieldMapping, key: str, bad: BadValueError) -> Problem:
    return _problem_at(mapping.where.at_key(key), (*mapping.path, *bad.path), bad)


def _problem_at(where: Any, path: tuple[str, ...], bad: BadValueError) -> Problem:
    return Problem(code=bad.code, summary=f"`{'.'.join(path)}` {bad.reason}", where=where, hint=bad.hint)
