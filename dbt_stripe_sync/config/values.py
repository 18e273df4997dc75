"""Parses the kinds of mapping that give one value: a column, a template, a constant, or the id of another object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import TemplateSyntaxError, meta
from msgspec import Struct

from dbt_stripe_sync.config.suggest import did_you_mean, listed
from dbt_stripe_sync.engine.payload.templates import environment_of
from dbt_stripe_sync.engine.payload.values import BadValueError, convert
from dbt_stripe_sync.model.codec import canonical
from dbt_stripe_sync.model.money import is_currency
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.sync import (
    Column,
    Constant,
    Conversion,
    Lookup,
    Nulls,
    SyncRef,
    Template,
    Value,
    WhenReplaced,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.config.problems import Problems
    from dbt_stripe_sync.model.errors import Location
    from dbt_stripe_sync.model.nodes import ModelNode
    from dbt_stripe_sync.model.params import Param
    from dbt_stripe_sync.stripe_api.catalog import Catalog


class MappingContext(Struct, frozen=True, kw_only=True):
    """The context of a mapping: the catalog, the project's models by name, and the sync's key columns."""

    catalog: Catalog
    models: Mapping[str, ModelNode]
    key: tuple[str, ...]
    problems: Problems
    is_child: bool = False


CONVERSIONS = {conversion.value: conversion for conversion in Conversion}


NULLS = {nulls.value: nulls for nulls in Nulls}
WHEN_REPLACED = {choice.value: choice for choice in WhenReplaced}


def parse_column(raw: dict[str, Any], param: Param, context: MappingContext, where: Location) -> Value | None:
    """A column, with an optional conversion."""
    convert_to = None
    if "as" in raw:
        convert_to = CONVERSIONS.get(str(raw["as"]))
        if convert_to is None:
            context.problems.add(
                "unknown-conversion",
                where.at_field("as"),
                f"`{raw['as']}` is not a conversion",
                f"{did_you_mean(str(raw['as']), CONVERSIONS)}choose from {listed(CONVERSIONS)}",
            )
    currency, currency_column = raw.get("currency"), raw.get("currency_column")
    if convert_to is not Conversion.MINOR_UNITS and (currency or currency_column) and "as" not in raw:
        context.problems.add(
            "no-conversion",
            where,
            "a currency is given, but the value isn't converted",
            "add `as: minor_units`, or remove the currency if the column holds minor units already",
        )
    if convert_to is Conversion.MINOR_UNITS and param.kind not in {ParamKind.INTEGER, ParamKind.NUMBER}:
        context.problems.add(
            "no-conversion",
            where.at_field("as"),
            f"`{param.name}` is not an amount of money",
            "remove `as: minor_units`",
        )
    if convert_to is Conversion.MINOR_UNITS and not (currency or currency_column):
        context.problems.add(
            "no-currency",
            where,
            "`minor_units` needs a currency",
            "add `currency: usd`, or `currency_column:` with the column that holds it",
        )
    if currency is not None and not is_currency(str(currency).lower()):
        context.problems.add(
            "unknown-currency",
            where.at_field("currency"),
            f"`{currency}` is not a currency that Stripe supports",
            "use a three-letter ISO code, such as `usd`; a column goes into `currency_column`",
        )
    return Column(
        name=str(raw["column"]),
        convert=convert_to,
        currency=str(currency).lower() if currency is not None else None,
        currency_column=str(currency_column) if currency_column is not None else None,
    )


def looks_like_template(text: str) -> bool:
    """Whether a bare text is meant as a template, not as a column's name."""
    return any(mark in text for mark in ("[[", "[%", "{{", "{%"))


def parse_template(raw: Any, context: MappingContext, where: Location) -> Value | None:
    """A template with `[[ ]]`, or with `{{ }}` that dbt didn't render."""
    source = str(raw)
    if not looks_like_template(source):
        # dbt 1.x renders `{{ a }} {{ b }}` to the text around the expressions, and doesn't keep the original.
        context.problems.add(
            "template-without-column",
            where,
            "the template has no `[[ ]]`, so it is the same for every row",
            "write `[[ column ]]` (dbt itself renders `{{ column }}`, to nothing), or `{value: …}` for a fixed text",
        )
        return None
    environment = environment_of(source)
    try:
        environment.from_string(source)  # finds unknown filters and tests
        columns = meta.find_undeclared_variables(environment.parse(source)) - environment.globals.keys()
    except (TemplateSyntaxError, RecursionError, SyntaxError, ValueError) as error:
        said = error.message if isinstance(error, TemplateSyntaxError) else "it is nested too deeply or too long"
        context.problems.add(
            "template-syntax",
            where,
            f"the template can't be read: {said}",
            "columns go in `[[ ]]`, statements in `[% %]`, as in Jinja2",
        )
        return None
    # The order of a set differs between processes, and the order of columns is part of a row's hash.
    return Template(source=source, columns=tuple(sorted(columns)))


def parse_constant(raw: dict[str, Any], param: Param, context: MappingContext, where: Location) -> Value | None:
    """The same value for every row, checked against the parameter."""
    value = raw["value"]
    if value is None:
        context.problems.add("null-constant", where, "the constant is null", "remove the field, or give it a value")
        return None
    try:
        canonical(value)
    except TypeError:
        hint = "a number can have at most 64 bits"
        context.problems.add("bad-constant", where.at_field("value"), "the constant can't be sent as JSON", hint)
        return None
    try:
        convert(value, param)
    except BadValueError as bad:
        fields_hint = "`dbt-stripe-sync fields` shows what each parameter accepts"
        context.problems.add(
            "bad-constant", where.at_field("value"), f"the constant {bad.reason}", bad.hint or fields_hint
        )
        return None
    return Constant(value=value)


def parse_sync_ref(raw: dict[str, Any], _param: Param, context: MappingContext, where: Location) -> Value | None:
    """A reference to the object that another sync creates."""
    columns = column_names(raw.get("key")) if are_names(raw.get("key")) else ()
    if not are_names(raw.get("key")):
        context.problems.add(
            "no-key",
            where.at_field("key"),
            "the reference's key is not a column, nor a list of columns",
            "name the column that holds the other row's key; for a constant, add a column with it to the model",
        )
    elif not columns:
        context.problems.add(
            "no-key",
            where,
            "the reference has no column",
            "add `key:` with the column that holds the other row's key",
        )
    named = str(raw.get("when_replaced", WhenReplaced.FOLLOW.value))
    if named not in WHEN_REPLACED:
        context.problems.add(
            "unknown-when-replaced",
            where.at_field("when_replaced"),
            f"`when_replaced` can't be `{named}`",
            f"{did_you_mean(named, WHEN_REPLACED)}it is one of {listed(WHEN_REPLACED)}",
        )
    return SyncRef(sync=str(raw["sync"]), columns=columns, when_replaced=WHEN_REPLACED.get(named, WhenReplaced.FOLLOW))


def parse_lookup(raw: dict[str, Any], _param: Param, context: MappingContext, where: Location) -> Value | None:
    """A look-up of an object in Stripe."""
    name = str(raw["lookup"])
    resource = context.catalog.resource(name)
    if resource is None:
        suggestion = context.catalog.suggest(name)
        context.problems.add(
            "unknown-resource",
            where.at_field("lookup"),
            f"unknown Stripe resource `{name}`",
            f"did you mean `{suggestion}`?" if suggestion else "`dbt-stripe-sync fields` lists them all",
        )
    missing = [part for part in ("by", "column") if not raw.get(part)]
    if missing:
        context.problems.add(
            "incomplete-lookup",
            where,
            f"the look-up needs {listed(missing)}",
            "write `{lookup: customer, by: email, column: billing_email}`",
        )
    if resource is None or missing:
        return Column(name=str(raw["column"])) if raw.get("column") else None
    return Lookup(resource=resource.name, by=str(raw["by"]), column=str(raw["column"]))


def parse_nulls(named: Any, where: Location, problems: Problems) -> Nulls:
    """`clear` or `ignore`."""
    if str(named) not in NULLS:
        problems.add(
            "unknown-nulls",
            where,
            f"`nulls` can't be `{named}`",
            f"{did_you_mean(str(named), NULLS)}it is one of {listed(NULLS)}",
        )
    return NULLS.get(str(named), Nulls.DEFAULT)


def are_names(raw: Any) -> bool:
    """Check that the value is a column name, a list of column names, or empty."""
    return not any(isinstance(name, dict | list) for name in (raw if isinstance(raw, list) else [raw]))


def column_names(raw: Any) -> tuple[str, ...]:
    """One column or a list of them, as a tuple."""
    if isinstance(raw, list):
        return tuple(str(name) for name in raw)
    return (str(raw),) if raw else ()
