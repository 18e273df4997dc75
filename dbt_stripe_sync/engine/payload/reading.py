"""Compiles how each mapped parameter is read from a row.

This is done once per sync, since a first sync reads every row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from dbt_stripe_sync.engine.payload.template_limits import TemplateLimitError
from dbt_stripe_sync.engine.payload.templates import render_template
from dbt_stripe_sync.engine.payload.values import BadValueError, Unreadable, as_text, convert, is_empty, is_null, plain
from dbt_stripe_sync.model.change import Ref
from dbt_stripe_sync.model.money import MoneyError, to_minor_units
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.sql import FAILED_MARK, NEAR_MARK, PENDING_MARK, PENDING_SEPARATOR, SEVERAL_MARK
from dbt_stripe_sync.model.sync import ChildRows, Column, Constant, Conversion, ListOf, Lookup, SyncRef, Template

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dbt_stripe_sync.engine.payload.layout import Layout, Part
    from dbt_stripe_sync.model.params import Param
    from dbt_stripe_sync.model.sync import FieldMapping, Value

Row: TypeAlias = Mapping[str, Any]
# Returns a row's value, or None if it is null. Raises `BadValueError`.
Reader: TypeAlias = Callable[[Row], Any]


class MappedField(Struct, frozen=True):
    """One mapped parameter: the hashes around it, its name in the innermost one, and how a row's value is read."""

    mapping: FieldMapping
    outer: tuple[str, ...]
    name: str
    read: Reader


def build_fields(
    mappings: Iterable[FieldMapping], params: Mapping[str, Param], layout: Layout, part: Part | None = None
) -> Sequence[MappedField]:
    """Compile the mappings of a part, by default the sync's own part."""
    return tuple(
        MappedField(
            mapping,
            mapping.path[:-1],
            mapping.path[-1],
            _reader(mapping.value, param_at(params, mapping.path), layout, part or layout.row),
        )
        for mapping in mappings
    )


def object_named(found: str) -> str | Ref:
    """The object that a staged reference points to: its id, or the change that creates it."""
    if not found.startswith(PENDING_MARK):
        return found
    sync, _, key = found[1:].partition(PENDING_SEPARATOR)
    return Ref(sync=sync, key=key)


def put(params: dict[str, Any], field: MappedField, value: Any) -> None:
    """Set a parameter. Two mappings of the same hash are merged into one hash."""
    for step in field.outer:
        inner = params.setdefault(step, {})
        if not isinstance(inner, dict):
            return
        params = inner
    if isinstance(value, dict) and isinstance(existing := params.get(field.name), dict):
        value = {**existing, **value}
    params[field.name] = value


def _reader(value: Value, param: Param | None, layout: Layout, part: Part) -> Reader:
    if param is None:
        return _unknown
    if isinstance(value, Column):
        return _column(value, param, part)
    if isinstance(value, Constant):
        return lambda _row: convert(value.value, param)
    if isinstance(value, Template):
        return _template(value, param, part)
    if isinstance(value, SyncRef | Lookup):
        return lambda row: _reference(value, part, row)
    if param.item is None:
        return _not_a_list
    if isinstance(value, ChildRows):
        return _child_rows(value, param.item, layout)
    return _list(value, param.item, layout, part)


def _unknown(_row: Row) -> Any:
    raise BadValueError("unknown-parameter", "is not a parameter of this resource")


def _not_a_list(_row: Row) -> Any:
    raise BadValueError("not-a-list", "is not a list in Stripe")


def _column(value: Column, param: Param, part: Part) -> Reader:
    name, conversion = value.name, value.convert
    if param.kind is ParamKind.STRING and conversion is None and param.name != "currency":
        return _text_column(name, param, part)

    def read(row: Row) -> Any:
        cell = part.cell(row, name)
        if cell is None or cell == "":
            return None
        if conversion is Conversion.MINOR_UNITS:
            return _minor_units(cell, value, param, row)
        return convert(cell, param, conversion)

    return read


def _text_column(name: str, param: Param, part: Part) -> Reader:
    """Most columns by far."""

    def read(row: Row) -> Any:
        cell = row[name]
        if cell is None or cell == "":
            return None
        if name in part.numbers:
            cell = part.cell(row, name)
        elif type(cell) is str:
            return cell
        return as_text(cell) if not isinstance(cell, Unreadable) else convert(cell, param)

    return read


def _template(value: Template, param: Param, part: Part) -> Reader:
    def read(row: Row) -> Any:
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

    return read


def _child_rows(value: ChildRows, item: Param, layout: Layout) -> Reader:
    child = layout.child(value)
    fields = build_fields(value.fields, item.fields or {}, layout, child)
    return lambda row: [_hash(fields, child_row, index) for index, child_row in enumerate(row[child.name] or ())]


def _list(value: ListOf, item: Param, layout: Layout, part: Part) -> Reader:
    entries: list[Reader | Sequence[MappedField]] = [
        build_fields(entry, item.fields or {}, layout, part)
        if isinstance(entry, tuple)
        else _reader(entry, item, layout, part)
        for entry in value.items
    ]

    def read(row: Row) -> list[Any]:
        made: list[Any] = []
        for index, entry in enumerate(entries):
            if callable(entry):
                scalar = entry(row)
                made += [] if scalar is None else [scalar]
            else:
                hash_ = _hash(entry, row, index)
                made += [hash_] if hash_ else []
        return made

    return read


def _hash(fields: Sequence[MappedField], row: Row, index: int) -> dict[str, Any]:
    """One hash in a list. `index` is its position in the list."""
    made: dict[str, Any] = {}
    for field in fields:
        try:
            value = field.read(row)
        except BadValueError as bad:
            raise BadValueError(bad.code, bad.reason, bad.hint, (str(index), *field.mapping.path, *bad.path)) from None
        if value is not None and not is_empty(value):
            put(made, field, value)
    return made


def _reference(value: SyncRef | Lookup, part: Part, row: Mapping[str, Any]) -> str | Ref | None:
    names = value.columns if isinstance(value, SyncRef) else (value.column,)
    found: str | None = row[part.references[value]]
    if any(is_null(row[name]) for name in names):
        return None
    columns = " and ".join(f"`{name}`" for name in names)
    if found is None:
        whom, hint = _nobody(value)
        raise BadValueError("reference-not-found", f"{whom} for the value of column {columns}", hint)
    if found.startswith(SEVERAL_MARK):
        raise BadValueError(
            "reference-ambiguous",
            f"matches several objects by the value of column {columns}: {found[1:]}",
            "refer by something unique, or by the id",
        )
    if found.startswith(NEAR_MARK):
        raise BadValueError(
            "reference-ambiguous",
            f"matches no object with exactly the address in column {columns}; except for case or blanks, this one "
            f"matches: {found[1:]}",
            "set `match_email: ignore_case` on the sync to refer to it, or write the address as it is in Stripe",
        )
    if found.startswith(FAILED_MARK):
        raise BadValueError(
            "reference-not-looked-up", f"was not found: Stripe didn't answer for column {columns}", "run it again"
        )
    return object_named(found)


def _nobody(value: SyncRef | Lookup) -> tuple[str, str | None]:
    if isinstance(value, Lookup):
        return f"finds no {value.resource}", None
    hint = "add the row to that sync's model, or remove the reference"
    return f"refers to `{value.sync}`, which has no object", hint


def _minor_units(cell: Any, value: Column, param: Param, row: Mapping[str, Any]) -> int | str:
    currency = row[value.currency_column] if value.currency_column else value.currency
    if is_null(currency):
        raise BadValueError("unknown-currency", f"has no currency: column `{value.currency_column}` is null")
    try:
        amount = to_minor_units(cell, str(currency).strip().lower(), whole=param.kind is not ParamKind.NUMBER)
    except MoneyError as error:
        raise BadValueError(error.code, str(error), error.hint) from None
    return int(amount) if param.kind is ParamKind.INTEGER else plain(amount)


def param_at(params: Mapping[str, Param], path: tuple[str, ...]) -> Param | None:
    """The parameter at a dotted path below some parameters."""
    param = params.get(path[0])
    for step in path[1:]:
        if param is None:
            return None
        param = param.values if param.kind is ParamKind.MAP else (param.fields or {}).get(step)
    return param
