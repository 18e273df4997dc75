"""A changed row as the Stripe parameters that it asks for, or as the reasons why it can't be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.payload.foresee import foresee_payload
from dbt_stripe_sync.engine.payload.layout import own_reference
from dbt_stripe_sync.engine.payload.template_limits import TemplateLimitError
from dbt_stripe_sync.engine.payload.templates import render_template
from dbt_stripe_sync.engine.payload.values import (
    BadValueError,
    as_text,
    check_metadata,
    convert,
    is_empty,
    is_null,
    plain,
)
from dbt_stripe_sync.model.change import Ref
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.money import MoneyError, to_minor_units
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
    ChildRows,
    Column,
    Constant,
    Conversion,
    ListOf,
    Lookup,
    Nulls,
    SyncRef,
    Template,
    Value,
)
from dbt_stripe_sync.model.tag import build_identifier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.engine.payload.layout import Layout, Part
    from dbt_stripe_sync.model.params import Param, Resource
    from dbt_stripe_sync.model.sync import FieldMapping, Sync


# How what a reference found begins where that is no id.
UNRESOLVED = (SEVERAL_MARK, NEAR_MARK, FAILED_MARK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What one row asks for. `params` holds no nulls; `absent` has the mapped paths whose value is null."""

    params: dict[str, Any]
    absent: Mapping[tuple[str, ...], Nulls]
    problems: tuple[Problem, ...]


def pending_id(sync: str, key: str) -> str:
    """What stands in a staged row for the id of an object that the plan makes."""
    return f"{PENDING_MARK}{sync}{PENDING_SEPARATOR}{key}"


def resolve_refs_text(refs: str | None, ids: Mapping[Ref, str]) -> str | None:
    """A row's `$refs` with the ids that its plan has made by now."""
    if refs is None or PENDING_MARK not in refs:
        return refs
    return ID_SEPARATOR.join(ids[_pending(part)] if _is_pending(part) else part for part in refs.split(ID_SEPARATOR))


def refs_in(value: Any) -> Sequence[Ref]:
    """Every `Ref` in some parameters, in their order."""
    if isinstance(value, Ref):
        return (value,)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return ()
    found: list[Ref] = []
    for part in value:
        if isinstance(part, dict | list | Ref):
            found += refs_in(part)
    return found


def resolve_refs(value: Any, ids: Mapping[Ref, str]) -> Any:
    """The same parameters with every `Ref` replaced by its id. Raises `KeyError` where one is unknown."""
    if isinstance(value, Ref):
        return ids[value]
    if isinstance(value, dict):
        return {name: resolve_refs(part, ids) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [resolve_refs(part, ids) for part in value]
    return value


class PayloadBuilder:
    """Builds the payloads of one sync's rows."""

    def __init__(self, sync: Sync, layout: Layout, resource: Resource) -> None:
        self._sync = sync
        self._layout = layout
        self._resource = resource
        self.mapped = frozenset(mapping.path for mapping in sync.fields)
        self._fields = [(mapping, param_at(resource.params, mapping.path)) for mapping in sync.fields]

    def build(self, key: str, row: Mapping[str, Any]) -> Payload:
        """The parameters of one row, with every problem that it has."""
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
        """One value of a row as the text that an object is found by, None where it is null or has no text."""
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
        part = self._layout.row
        for mapping, param in self._fields:
            try:
                value = self._evaluate(mapping.value, param, part, row)
            except BadValueError as bad:
                problems.append(_problem(mapping, key, bad))
                continue
            if value is None or is_empty(value):
                absent[mapping.path] = mapping.nulls
            else:
                _put(made, mapping.path, value)
        return made

    def _evaluate(self, value: Value, param: Param | None, part: Part, row: Mapping[str, Any]) -> Any:
        if param is None:
            raise BadValueError("unknown-parameter", "is not a parameter of this resource")
        if isinstance(value, Column):
            return self._column(value, param, part, row)
        if isinstance(value, Constant):
            return convert(value.value, param)
        if isinstance(value, Template):
            return self._template(value, param, part, row)
        if isinstance(value, SyncRef | Lookup):
            return _reference(value, part, row)
        return self._list(value, param, part, row)

    @staticmethod
    def _column(value: Column, param: Param, part: Part, row: Mapping[str, Any]) -> Any:
        cell = part.cell(row, value.name)
        if cell is None or cell == "":
            return None
        if value.convert is Conversion.MINOR_UNITS:
            return _minor_units(cell, value, param, row)
        return convert(cell, param, value.convert)

    @staticmethod
    def _template(value: Template, param: Param, part: Part, row: Mapping[str, Any]) -> Any:
        if value.columns and all(is_null(row[column]) for column in value.columns):
            return None
        try:
            text = render_template(value.source, {column: part.cell(row, column) for column in value.columns})
        except TemplateLimitError as error:
            raise BadValueError("template-too-large", f"has a template that exceeds a limit: {error}") from None
        except BadValueError:
            raise
        except Exception as error:  # noqa: BLE001 - a template raises whatever its expressions do
            raise BadValueError(
                "template-failed", f"has a template that failed with {type(error).__name__}", "try it with `show`"
            ) from None
        return convert(text, param) if text else None

    def _list(self, value: ListOf | ChildRows, param: Param, part: Part, row: Mapping[str, Any]) -> list[Any]:
        item = param.item
        if item is None:
            raise BadValueError("not-a-list", "is not a list in Stripe")
        if isinstance(value, ChildRows):
            child = self._layout.child(value)
            rows = row[child.name] or []
            return [self._item(value.fields, item, child, child_row, index) for index, child_row in enumerate(rows)]
        made: list[Any] = []
        for index, entry in enumerate(value.items):
            if isinstance(entry, tuple):
                hash_ = self._item(entry, item, part, row, index)
                made += [hash_] if hash_ else []
            else:
                scalar = self._evaluate(entry, item, part, row)
                made += [] if scalar is None else [scalar]
        return made

    def _item(
        self, fields: tuple[FieldMapping, ...], item: Param, part: Part, row: Mapping[str, Any], index: int
    ) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for mapping in fields:
            try:
                value = self._evaluate(mapping.value, param_at(item.fields or {}, mapping.path), part, row)
            except BadValueError as bad:
                raise BadValueError(bad.code, bad.reason, bad.hint, (str(index), *mapping.path, *bad.path)) from None
            if value is not None and not is_empty(value):
                _put(made, mapping.path, value)
        return made

    def _checked(self, params: dict[str, Any], key: str, problems: list[Problem]) -> dict[str, Any]:
        """What only the whole payload shows: metadata's limits and required parts of hashes."""
        for name, value in list(params.items()):
            param = self._resource.params[name]
            try:
                if name == "metadata":
                    check_metadata(value)
                elif param.kind is ParamKind.HASH or param.kind is ParamKind.LIST:
                    _check_required(param, value)
            except BadValueError as bad:
                where = self._sync.where.at_field("fields", name, *bad.path).at_key(key)
                problems.append(_problem_at(where, (name, *bad.path), bad))
                del params[name]
        return params


def param_at(params: Mapping[str, Param], path: tuple[str, ...]) -> Param | None:
    """The parameter at a dotted path below some parameters."""
    param = params.get(path[0])
    for step in path[1:]:
        if param is None:
            return None
        param = param.values if param.kind is ParamKind.MAP else (param.fields or {}).get(step)
    return param


def _reference(value: SyncRef | Lookup, part: Part, row: Mapping[str, Any]) -> str | Ref | None:
    names = value.columns if isinstance(value, SyncRef) else (value.column,)
    found: str | None = row[part.references[value]]
    if any(is_null(row[name]) for name in names):
        return None
    columns = " and ".join(f"`{name}`" for name in names)
    if found is None:
        whom = f"sync `{value.sync}` has no object" if isinstance(value, SyncRef) else f"no {value.resource} is found"
        hint = "add the row to that sync's model, or remove the reference" if isinstance(value, SyncRef) else None
        raise BadValueError("reference-not-found", f"{whom} for the value of column {columns}", hint)
    if found.startswith(SEVERAL_MARK):
        raise BadValueError(
            "reference-ambiguous",
            f"several objects match the value of column {columns}: {found[1:]}",
            "refer by something unique, or by the id",
        )
    if found.startswith(NEAR_MARK):
        raise BadValueError(
            "reference-ambiguous",
            f"nothing has exactly the address of column {columns}; except for case or blanks, this one matches: "
            f"{found[1:]}",
            "set `match_email: ignore_case` on the sync to refer to it, or write the address as Stripe has it",
        )
    if found.startswith(FAILED_MARK):
        raise BadValueError(
            "reference-not-looked-up", f"Stripe could not be asked for the value of column {columns}", "run it again"
        )
    return _pending(found) if _is_pending(found) else found


def object_of(sync: Sync, layout: Layout, row: Mapping[str, Any]) -> str | Ref | None:
    """The object on which a part of a sync sets its parameters: its id, or the change that makes it."""
    found: str | None = row[layout.row.references[own_reference(sync)]]
    if found is None or found.startswith(UNRESOLVED):
        return None
    return _pending(found) if _is_pending(found) else found


def _is_pending(text: str) -> bool:
    return text.startswith(PENDING_MARK)


def _pending(text: str) -> Ref:
    sync, _, key = text[1:].partition(PENDING_SEPARATOR)
    return Ref(sync=sync, key=key)


def _minor_units(cell: Any, value: Column, param: Param, row: Mapping[str, Any]) -> int | str:
    currency = row[value.currency_column] if value.currency_column else value.currency
    if is_null(currency):
        raise BadValueError("unknown-currency", f"has no currency: column `{value.currency_column}` is null")
    try:
        amount = to_minor_units(cell, str(currency).strip().lower(), whole=param.kind is not ParamKind.NUMBER)
    except MoneyError as error:
        raise BadValueError(error.code, str(error), error.hint) from None
    return int(amount) if param.kind is ParamKind.INTEGER else plain(amount)


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
                    f"lacks `{name}`, which Stripe requires",
                    "map it, or make it not null",
                    (name,),
                )


def _check_part(param: Param, value: Any, name: str) -> None:
    try:
        _check_required(param, value)
    except BadValueError as bad:
        raise BadValueError(bad.code, bad.reason, bad.hint, (name, *bad.path)) from None


def _put(params: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *outer, name = path
    for step in outer:
        inner = params.setdefault(step, {})
        if not isinstance(inner, dict):
            return
        params = inner
    if isinstance(value, dict) and isinstance(existing := params.get(name), dict):
        value = {**existing, **value}
    params[name] = value


def _problem(mapping: FieldMapping, key: str, bad: BadValueError) -> Problem:
    return _problem_at(mapping.where.at_key(key), (*mapping.path, *bad.path), bad)


def _problem_at(where: Any, path: tuple[str, ...], bad: BadValueError) -> Problem:
    return Problem(code=bad.code, summary=f"`{'.'.join(path)}` {bad.reason}", where=where, hint=bad.hint)
