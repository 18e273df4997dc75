"""The kinds of field mapping: from what stands in YAML to where a parameter's value comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateSyntaxError, meta

from dbt_stripe_sync.config.suggest import counted, did_you_mean, listed
from dbt_stripe_sync.engine.codec import canonical
from dbt_stripe_sync.engine.templates import environment_of
from dbt_stripe_sync.engine.types import (
    ChildRows,
    Column,
    Constant,
    Conversion,
    FieldMapping,
    ListOf,
    Lookup,
    Nulls,
    SyncRef,
    Template,
    Value,
)
from dbt_stripe_sync.engine.values import BadValueError, convert
from dbt_stripe_sync.stripe_api.catalog import ParamKind
from dbt_stripe_sync.stripe_api.money import is_currency

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.config.problems import Problems
    from dbt_stripe_sync.engine.types import ModelNode
    from dbt_stripe_sync.errors import Location
    from dbt_stripe_sync.stripe_api.catalog import Catalog, Param

# What a mapping written as names and values may hold, by the name that tells its kind.
SHAPES: Mapping[str, frozenset[str]] = {
    "column": frozenset({"column", "as", "currency", "currency_column", "nulls"}),
    "template": frozenset({"template", "nulls"}),
    "value": frozenset({"value"}),
    "sync": frozenset({"sync", "key", "nulls"}),
    "lookup": frozenset({"lookup", "by", "column", "nulls"}),
    "model": frozenset({"model", "on", "fields", "order_by", "nulls"}),
}
# YAML 1.1, which dbt 1.x speaks, reads an unquoted `on` as true; JSON writes that as text.
_YAML_ON = (True, "true")
CONVERSIONS = {conversion.value: conversion for conversion in Conversion}
NULLS = {nulls.value: nulls for nulls in Nulls}


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a mapping is read against: the catalogue, the project's models by name, and the sync's key columns."""

    catalog: Catalog
    models: Mapping[str, ModelNode]
    key: tuple[str, ...]
    problems: Problems
    is_child: bool = False


def parse_fields(
    raw: Any, params: Mapping[str, Param], around: Around, where: Location, prefix: tuple[str, ...] = ()
) -> tuple[FieldMapping, ...]:
    """Every field of a `fields:` block, in its order. What is wrong goes to `around.problems`."""
    if not isinstance(raw, dict):
        around.problems.add("not-a-mapping", where, "`fields` holds no names and values", "write `parameter: column`")
        return ()
    found: list[FieldMapping] = []
    for name, value in raw.items():
        path = (*prefix, *str(name).split("."))
        at = where.at_field(str(name))
        param = _find_param(params, path, around.problems, at)
        if param is None:
            continue
        if _is_nested(value, param):
            found += parse_fields(value, params, around, at, path)
        elif (parsed := parse_value(value, param, around, at)) is not None:
            found.append(FieldMapping(path=path, value=parsed, nulls=_nulls(value, around, at), where=at))
    if not prefix:
        check_twice(found, around.problems)
    return tuple(found)


def check_twice(found: Sequence[FieldMapping], problems: Problems) -> None:
    """A parameter has one source, and none of its parts has another."""
    by_path: dict[tuple[str, ...], FieldMapping] = {}
    for field in found:
        by_path.setdefault(field.path, field)
    for field in found:
        for length in range(1, len(field.path) + 1):
            other = by_path.get(field.path[:length])
            if other is not None and other is not field:
                problems.add(
                    "mapped-twice",
                    field.where,
                    f"`{'.'.join(field.path)}` is mapped {_beside(field, other)}",
                    "keep one of the two",
                )


def _beside(field: FieldMapping, other: FieldMapping) -> str:
    return "twice" if field.path == other.path else f"beside the whole of `{'.'.join(other.path)}`"


def parse_value(raw: Any, param: Param, around: Around, where: Location) -> Value | None:
    """One value; None where it is wrong, which `around.problems` then says."""
    if isinstance(raw, dict):
        raw = {"on" if name in _YAML_ON else str(name): part for name, part in raw.items()}
    if isinstance(raw, str):
        if not raw.strip():
            around.problems.add("no-column", where, "no column is named", "write the column's name, or `{value: …}`")
            return None
        return _template(raw, around, where) if _looks_like_template(raw) else Column(name=raw)
    if isinstance(raw, list):
        return _list(raw, param, around, where)
    if isinstance(raw, dict):
        return _shaped(raw, param, around, where)
    around.problems.add(
        "not-a-mapping",
        where,
        "a constant stands where a column's name belongs",
        "write `{value: …}` for the same value on every row"
        if raw is not None
        else "name a column, or remove the field",
    )
    return None


def _shaped(raw: dict[str, Any], param: Param, around: Around, where: Location) -> Value | None:
    kind = next((name for name in ("model", "sync", "lookup", "template", "value", "column") if name in raw), None)
    if kind is None:
        around.problems.add(
            "unknown-mapping",
            where,
            f"{listed(map(str, raw))} is no kind of mapping",
            f"a mapping has one of {listed(SHAPES)}{did_you_mean(str(next(iter(raw), '')), SHAPES)}",
        )
        return None
    for name in raw.keys() - SHAPES[kind]:
        around.problems.add(
            "unknown-key",
            where.at_field(str(name)),
            f"`{name}` means nothing beside `{kind}`",
            f"it takes {listed(sorted(SHAPES[kind]))}{did_you_mean(str(name), SHAPES[kind])}",
        )
    return _PARSERS[kind](raw, param, around, where)


def _column(raw: dict[str, Any], param: Param, around: Around, where: Location) -> Value | None:
    convert_to = None
    if "as" in raw:
        convert_to = CONVERSIONS.get(str(raw["as"]))
        if convert_to is None:
            around.problems.add(
                "unknown-conversion",
                where.at_field("as"),
                f"`{raw['as']}` is no conversion",
                f"there are {listed(CONVERSIONS)}{did_you_mean(str(raw['as']), CONVERSIONS)}",
            )
    currency, currency_column = raw.get("currency"), raw.get("currency_column")
    if convert_to is not Conversion.MINOR_UNITS and (currency or currency_column) and "as" not in raw:
        around.problems.add(
            "no-conversion",
            where,
            "a currency is named, and nothing is converted",
            "add `as: minor_units`, or remove the currency if the column holds minor units already",
        )
    if convert_to is Conversion.MINOR_UNITS and param.kind not in {ParamKind.INTEGER, ParamKind.NUMBER}:
        around.problems.add(
            "no-conversion",
            where.at_field("as"),
            f"`{param.name}` takes no amount of money",
            "remove `as: minor_units`",
        )
    if convert_to is Conversion.MINOR_UNITS and not (currency or currency_column):
        around.problems.add(
            "no-currency",
            where,
            "`minor_units` has no currency to count in",
            "add `currency: usd`, or `currency_column:` with the column that holds it",
        )
    if currency is not None and not is_currency(str(currency).lower()):
        around.problems.add(
            "unknown-currency",
            where.at_field("currency"),
            f"`{currency}` is no currency that Stripe supports",
            "use a three-letter ISO code, such as `usd`; a column goes into `currency_column`",
        )
    return Column(
        name=str(raw["column"]),
        convert=convert_to,
        currency=str(currency).lower() if currency is not None else None,
        currency_column=str(currency_column) if currency_column is not None else None,
    )


def _looks_like_template(text: str) -> bool:
    return any(mark in text for mark in ("[[", "[%", "{{", "{%"))


def _template(raw: Any, around: Around, where: Location) -> Value | None:
    source = str(raw)
    environment = environment_of(source)
    try:
        environment.from_string(source)  # finds filters and tests that there are not
        columns = meta.find_undeclared_variables(environment.parse(source)) - environment.globals.keys()
    except TemplateSyntaxError as error:
        around.problems.add(
            "template-syntax",
            where,
            f"the template can't be read: {error.message}",
            "columns go in `[[ ]]`, statements in `[% %]`, as in Jinja2",
        )
        return None
    # The order of a set changes from process to process, and the order of columns is part of a row's hash.
    return Template(source=source, columns=tuple(sorted(columns)))


def _constant(raw: dict[str, Any], param: Param, around: Around, where: Location) -> Value | None:
    value = raw["value"]
    if value is None:
        around.problems.add("null-constant", where, "the constant is null", "remove the field, or give it a value")
        return None
    try:
        canonical(value)
    except TypeError:
        hint = "a number has 64 bits at most"
        around.problems.add("bad-constant", where.at_field("value"), "the constant can't be sent as JSON", hint)
        return None
    try:
        convert(value, param)
    except BadValueError as bad:
        fields_hint = "`dbt-stripe-sync fields` says what each parameter takes"
        around.problems.add(
            "bad-constant", where.at_field("value"), f"the constant {bad.reason}", bad.hint or fields_hint
        )
        return None
    return Constant(value=value)


def _sync_ref(raw: dict[str, Any], _param: Param, around: Around, where: Location) -> Value | None:
    columns = _names(raw.get("key"))
    if not columns:
        around.problems.add(
            "no-key",
            where,
            "the reference names no column",
            "add `key:` with the column that holds the other row's key",
        )
        return None
    return SyncRef(sync=str(raw["sync"]), columns=columns)


def _lookup(raw: dict[str, Any], _param: Param, around: Around, where: Location) -> Value | None:
    name = str(raw["lookup"])
    resource = around.catalog.resource(name)
    if resource is None:
        suggestion = around.catalog.suggest(name)
        around.problems.add(
            "unknown-resource",
            where.at_field("lookup"),
            f"Stripe has no resource `{name}`",
            f"did you mean `{suggestion}`?" if suggestion else "`dbt-stripe-sync fields` lists them all",
        )
        return None
    missing = [part for part in ("by", "column") if not raw.get(part)]
    if missing:
        around.problems.add(
            "incomplete-lookup",
            where,
            f"the look-up lacks {listed(missing)}",
            "write `{lookup: customer, by: email, column: billing_email}`",
        )
        return None
    return Lookup(resource=resource.name, by=str(raw["by"]), column=str(raw["column"]))


def _child_rows(raw: dict[str, Any], param: Param, around: Around, where: Location) -> Value | None:
    name = str(raw["model"])
    node = around.models.get(name)
    if node is None:
        around.problems.add(
            "unknown-model",
            where.at_field("model"),
            f"the project has no model `{name}`",
            f"child rows come from a model of this project{did_you_mean(name, around.models)}",
        )
        return None
    if around.is_child or param.kind is not ParamKind.LIST or param.item is None:
        what = "child rows can't have child rows" if around.is_child else f"`{param.name}` takes no list"
        around.problems.add("no-child-rows", where, what, "put the list into a JSON or array column of the model")
        return None
    on = _names(raw.get("on"))
    if not on:
        around.problems.add(
            "no-key", where, "the child rows have no `on`", "add the child's column with this row's key"
        )
        return None
    if len(on) != len(around.key):
        around.problems.add(
            "no-key",
            where.at_field("on"),
            f"`on` has {counted(len(on), 'column')}, and the key of this sync {len(around.key)}",
            f"name one column of the child for each of {listed(around.key)}",
        )
        return None
    inner = Around(
        catalog=around.catalog, models=around.models, key=around.key, problems=around.problems, is_child=True
    )
    item = param.item
    if item.kind is not ParamKind.HASH:
        around.problems.add("no-child-rows", where, f"the items of `{param.name}` have no fields", None)
        return None
    fields = parse_fields(raw.get("fields"), item.fields or {}, inner, where.at_field("fields"))
    return ChildRows(model=node, on=on, parent_on=around.key, fields=fields, order_by=_names(raw.get("order_by")))


def _list(raw: Sequence[Any], param: Param, around: Around, where: Location) -> Value | None:
    if param.kind is not ParamKind.LIST or param.item is None:
        around.problems.add("not-a-list", where, f"`{param.name}` takes no list", "give it one value")
        return None
    items: list[Value | tuple[FieldMapping, ...]] = []
    for index, entry in enumerate(raw):
        at = where.at_field(str(index))
        if isinstance(entry, dict) and param.item.kind is ParamKind.HASH and _is_nested(entry, param.item):
            items.append(parse_fields(entry, param.item.fields or {}, around, at))
        elif (value := parse_value(entry, param.item, around, at)) is not None:
            items.append(value)
    return ListOf(items=tuple(items))


def _is_nested(value: Any, param: Param) -> bool:
    """Whether names and values are a hash's own fields written one below the other, not a kind of mapping.

    A name that is both (a hash with a field called `value`) is a field where all the names are fields.
    """
    if not isinstance(value, dict) or param.kind not in {ParamKind.HASH, ParamKind.MAP}:
        return False
    if param.kind is ParamKind.MAP:
        return not _is_shaped(value) or ("value" in value and not _is_constant_map(value["value"]))
    names = {str(name).split(".")[0] for name in value}
    fields = set(param.fields or {})
    return bool(names) and (names <= fields or not names & set(SHAPES))


def _is_shaped(value: Mapping[Any, Any]) -> bool:
    """Whether names and values are a kind of mapping, with nothing beside what belongs to that kind."""
    return any(kind in value and value.keys() <= allowed for kind, allowed in SHAPES.items())


def _is_constant_map(value: Any) -> bool:
    """Whether `{value: …}` is a map itself; else `value` is a name in it, as in a meter event's payload."""
    return isinstance(value, dict) and not _is_shaped(value)


def _find_param(
    params: Mapping[str, Param], path: tuple[str, ...], problems: Problems, where: Location
) -> Param | None:
    known: Mapping[str, Param] | None = params
    param: Param | None = None
    for index, step in enumerate(path):
        if param is not None and param.kind is ParamKind.MAP and step:
            param = param.values
            known = param.fields if param is not None else None
            continue
        param = known.get(step) if known is not None and step else None
        if param is None:
            inside = f" in `{'.'.join(path[:index])}`" if index else ""
            problems.add(
                "unknown-parameter",
                where,
                f"Stripe knows no parameter `{step}`{inside}",
                f"it takes {listed(sorted(known))}{did_you_mean(step, known)}" if known else "it has no parts",
            )
            return None
        known = param.fields
    return param


def _nulls(raw: Any, around: Around, where: Location) -> Nulls:
    named = raw.get("nulls") if isinstance(raw, dict) else None
    if named is None:
        return Nulls.DEFAULT
    return parse_nulls(named, where.at_field("nulls"), around.problems)


def parse_nulls(named: Any, where: Location, problems: Problems) -> Nulls:
    """`clear` or `ignore`."""
    if str(named) not in NULLS:
        problems.add(
            "unknown-nulls",
            where,
            f"`nulls` can't be `{named}`",
            f"it is one of {listed(NULLS)}{did_you_mean(str(named), NULLS)}",
        )
    return NULLS.get(str(named), Nulls.DEFAULT)


def _names(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, list):
        return tuple(str(name) for name in raw)
    return (str(raw),) if raw else ()


_PARSERS = {
    "column": _column,
    "template": lambda raw, _param, around, where: _template(raw["template"], around, where.at_field("template")),
    "value": _constant,
    "sync": _sync_ref,
    "lookup": _lookup,
    "model": _child_rows,
}
