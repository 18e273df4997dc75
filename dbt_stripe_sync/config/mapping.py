"""Parses field mappings: where each parameter's value comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dbt_stripe_sync.config.paths import SHAPES, YAML_ON, find_param, is_nested
from dbt_stripe_sync.config.suggest import closest, did_you_mean, listed
from dbt_stripe_sync.config.unknown_params import item_for, param_for, params_for
from dbt_stripe_sync.config.values import (
    MappingContext,
    column_names,
    looks_like_template,
    parse_column,
    parse_constant,
    parse_lookup,
    parse_nulls,
    parse_sync_ref,
    parse_template,
)
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.sync import ChildRows, Column, FieldMapping, ListOf, Nulls, Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.config.problems import Problems
    from dbt_stripe_sync.model.errors import Location
    from dbt_stripe_sync.model.params import Param


def parse_fields(
    raw: Any, params: Mapping[str, Param], context: MappingContext, where: Location, prefix: tuple[str, ...] = ()
) -> tuple[FieldMapping, ...]:
    """Every field of a `fields:` block, in order. Problems are added to `context.problems`."""
    if not isinstance(raw, dict):
        context.problems.add("not-a-mapping", where, "`fields` is not a YAML mapping", "write `parameter: column`")
        return ()
    found: list[FieldMapping] = []
    for name, value in raw.items():
        path = (*prefix, *str(name).split("."))
        at = where.at_field(str(name))
        # The mapping of an unknown parameter is still parsed, since it may have mistakes, too.
        param = find_param(params, path, context.problems, at) or param_for(str(name), value)
        if is_nested(value, param):
            found += parse_fields(value, params, context, at, path)
        elif (parsed := parse_value(value, param, context, at)) is not None:
            found.append(FieldMapping(path=path, value=parsed, nulls=_nulls(value, context, at), where=at))
    if not prefix:
        check_twice(found, context.problems)
    return tuple(found)


def check_twice(found: Sequence[FieldMapping], problems: Problems) -> None:
    """Check that a parameter has only one source, including its nested parts."""
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
                    f"`{'.'.join(field.path)}` is mapped {_overlap(field, other)}",
                    "keep one of the two",
                )


def _overlap(field: FieldMapping, other: FieldMapping) -> str:
    return "twice" if field.path == other.path else f"together with `{'.'.join(other.path)}` as a whole"


def parse_value(raw: Any, param: Param, context: MappingContext, where: Location) -> Value | None:
    """One value; None if it has a mistake, which is added to `context.problems`."""
    if isinstance(raw, dict):
        raw = {"on" if name in YAML_ON else str(name): part for name, part in raw.items()}
    if isinstance(raw, str):
        if not raw.strip():
            context.problems.add("no-column", where, "no column is named", "write the column's name, or `{value: …}`")
            return None
        return parse_template(raw, context, where) if looks_like_template(raw) else Column(name=raw)
    if isinstance(raw, list):
        return _list(raw, param, context, where)
    if isinstance(raw, dict):
        return _shaped(raw, param, context, where)
    context.problems.add(
        "not-a-mapping",
        where,
        "a constant is given where a column name is expected",
        "write `{value: …}` for the same value on every row"
        if raw is not None
        else "name a column, or remove the field",
    )
    return None


def _shaped(raw: dict[str, Any], param: Param, context: MappingContext, where: Location) -> Value | None:
    kind = next((name for name in ("model", "sync", "lookup", "template", "value", "column") if name in raw), None)
    if kind is None:
        context.problems.add(
            "unknown-mapping",
            where,
            f"{'' if len(raw) == 1 else 'none of '}{listed(map(str, raw))} is {'not ' if len(raw) == 1 else ''}"
            "a kind of mapping",
            f"{did_you_mean(str(next(iter(raw), '')), SHAPES)}a mapping has one of {listed(SHAPES)}",
        )
        return _shaped(meant, param, context, where) if (meant := _meant(raw)) else None
    for name in raw.keys() - SHAPES[kind]:
        context.problems.add(
            "unknown-key",
            where.at_field(str(name)),
            f"`{name}` can't be used with `{kind}`",
            f"{did_you_mean(str(name), SHAPES[kind])}it takes {listed(sorted(SHAPES[kind]))}",
        )
    return _PARSERS[kind](raw, param, context, where)


def _meant(raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """A mapping of an unknown kind, with the kind that was probably meant, so that the rest is parsed, too."""
    for name in raw:
        kind = closest(name, SHAPES)
        if kind is not None:
            return {kind if other == name else other: part for other, part in raw.items()}
    return None


def _child_rows(raw: dict[str, Any], param: Param, context: MappingContext, where: Location) -> Value | None:
    name = str(raw["model"])
    node = context.models.get(name)
    if node is None:
        context.problems.add(
            "unknown-model",
            where.at_field("model"),
            f"the project has no model `{name}`",
            f"{did_you_mean(name, context.models)}child rows come from a model of this project",
        )
        node = context.models.get(closest(name, context.models) or "")
    is_list = param.kind is ParamKind.LIST and param.item is not None and not context.is_child
    if not is_list:
        what = "child rows can't have child rows" if context.is_child else f"`{param.name}` is not a list in Stripe"
        context.problems.add("no-child-rows", where, what, "put the list into a JSON or array column of the model")
    elif param.item is not None and param.item.kind is not ParamKind.HASH:
        context.problems.add("no-child-rows", where, f"the items of `{param.name}` have no fields", None)
    on = column_names(raw.get("on"))
    _check_on(on, context, where)
    params = (param.item.fields or {}) if is_list and param.item is not None else params_for(raw.get("fields"))
    fields = parse_fields(raw.get("fields"), params, replace(context, is_child=True), where.at_field("fields"))
    if node is None:
        return None
    return ChildRows(
        model=node, on=on, parent_on=context.key, fields=fields, order_by=column_names(raw.get("order_by"))
    )


def _check_on(on: Sequence[str], context: MappingContext, where: Location) -> None:
    if not on:
        hint = "add the child's column with this row's key"
        context.problems.add("no-key", where, "the child rows have no `on`", hint)
    elif context.key and len(on) != len(context.key):
        context.problems.add(
            "no-key",
            where.at_field("on"),
            f"`on` has {counted(len(on), 'column')}, and the key of this sync {len(context.key)}",
            f"name one column of the child for each of {listed(context.key)}",
        )


def _list(raw: Sequence[Any], param: Param, context: MappingContext, where: Location) -> Value | None:
    item = param.item if param.kind is ParamKind.LIST else None
    if item is None:
        context.problems.add("not-a-list", where, f"`{param.name}` is not a list in Stripe", "give it one value")
        item = item_for(raw)
    items: list[Value | tuple[FieldMapping, ...]] = []
    for index, entry in enumerate(raw):
        at = where.at_field(str(index))
        if isinstance(entry, dict) and item.kind is ParamKind.HASH and is_nested(entry, item):
            items.append(parse_fields(entry, item.fields or {}, context, at))
        elif (value := parse_value(entry, item, context, at)) is not None:
            items.append(value)
    return ListOf(items=tuple(items))


def _nulls(raw: Any, context: MappingContext, where: Location) -> Nulls:
    named = raw.get("nulls") if isinstance(raw, dict) else None
    if named is None:
        return Nulls.DEFAULT
    return parse_nulls(named, where.at_field("nulls"), context.problems)


_PARSERS = {
    "column": parse_column,
    "template": lambda raw, _param, context, where: parse_template(
        raw["template"], context, where.at_field("template")
    ),
    "value": parse_constant,
    "sync": parse_sync_ref,
    "lookup": parse_lookup,
    "model": _child_rows,
}
