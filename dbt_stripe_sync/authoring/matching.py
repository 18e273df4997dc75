"""Matches the columns of a model to parameters of a Stripe resource, by name and by type."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct, field

from dbt_stripe_sync.authoring.naming import (
    ALIASES,
    FAMILY_NAMES,
    GIVEN_NAMES,
    fits,
    guess_key,
    is_country_name,
    is_decimal,
    known_key,
    names_for,
)
from dbt_stripe_sync.authoring.referring import find_reference
from dbt_stripe_sync.config.suggest import did_you_mean, listed
from dbt_stripe_sync.model.counting import with_article
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem
from dbt_stripe_sync.model.params import ParamKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.authoring.referring import Referable
    from dbt_stripe_sync.model.params import Param, Resource

# Hashes whose parts are often columns without the hash's name as a prefix.
_PLAIN_HASHES = frozenset({"address", "recurring"})
_MONEY = re.compile(r"(^|_)(amount|balance|price)(_|$)")


class KnownModel(Struct, frozen=True, kw_only=True):
    """What is known of a model: its columns with their types, its keys in dbt, and the syncs that it may refer to."""

    name: str
    columns: Mapping[str, str]
    keys: Sequence[tuple[str, ...]] = ()
    syncs: Mapping[str, Sequence[Referable]] = field(default_factory=dict)


class Unsure(Struct, frozen=True, kw_only=True):
    """A proposed mapping, and why a person has to confirm it."""

    value: str | Mapping[str, str]
    reason: str


class Matched(Struct, frozen=True, kw_only=True):
    """The mappings of a first sync.

    `fields` are pairs of parameter and YAML value, and `left` the columns that match no parameter. `unsure` has
    mappings that are not certain, `missing` the hashes and lists that Stripe requires.
    """

    key: tuple[str, ...]
    fields: Mapping[str, str | Mapping[str, str]]
    left: Sequence[str]
    unsure: Mapping[str, Unsure] = field(default_factory=dict)
    missing: Sequence[str] = ()


def match_columns(
    resource: Resource,
    known: KnownModel,
    *,
    key: tuple[str, ...] = (),
    chosen: Mapping[str, str],
    ask: Callable[[Sequence[str]], tuple[str, ...]] | None = None,
) -> Matched:
    """Match the columns of a model to the fields of a sync.

    `chosen` is what the user maps by name, and `ask` asks for the key. Raises `ConfigError` if a column doesn't exist,
    if the key can't be determined, or if no column matches a parameter that Stripe requires.
    """
    columns = known.columns
    _check_names((*key, *chosen.values()), columns, known.name)
    key = key or known_key(known.keys, columns) or guess_key(columns, known.name, resource.name)
    if not key and ask is not None:
        key = ask(list(columns))
        _check_names(key, columns, known.name)
    if not key:
        raise ConfigError(_no_key(known))
    fields, unsure = _fields(resource, known, chosen)
    _drop_halves(fields, resource)
    missing = [
        param for name, param in resource.params.items() if param.required and not any(_is_at(f, name) for f in fields)
    ]
    scalars = [param.name for param in missing if param.kind not in {ParamKind.HASH, ParamKind.LIST}]
    if scalars:
        raise ConfigError(_missing(scalars, columns, known.name, resource.name))
    used = {column for value in fields.values() for column in _columns(value)}
    if "metadata" in resource.params:
        fields |= {f"metadata.{column.lower()}": column for column in key if column not in fields.values()}
    used |= {column for entry in unsure.values() for column in _columns(entry.value)}
    return Matched(
        key=key,
        fields=fields,
        left=[column for column in columns if column not in used and column not in key],
        unsure=unsure,
        missing=[param.name for param in missing],
    )


def _fields(
    resource: Resource, known: KnownModel, chosen: Mapping[str, str]
) -> tuple[dict[str, str | Mapping[str, str]], dict[str, Unsure]]:
    """The certain mappings, and the uncertain ones."""
    fields: dict[str, str | Mapping[str, str]] = dict(chosen)
    unsure: dict[str, Unsure] = {}
    used = set(chosen.values())
    for path, param in _paths(resource):
        if path in fields:
            continue
        found = _proposed(path, param, known, used)
        if found is None:
            continue
        if isinstance(found, Unsure):
            unsure[path] = found
        else:
            fields[path] = found
            # The column of the currency is also the column of the parameter `currency`.
            used |= {*_columns(found)} - {_currency_column(found)}
    return fields, unsure


def _proposed(path: str, param: Param, known: KnownModel, used: set[str]) -> str | Mapping[str, str] | Unsure | None:
    """The source of a parameter's value, from the names and types of the columns."""
    others = known.syncs.get(path, ())
    referred = find_reference(others, known.columns, used)
    if referred is not None:
        sync, referring = referred
        value = {"sync": sync.sync, "key": referring}
        rivals = [other.sync for other in others if other is not sync]
        if rivals and sync.column is None:
            return Unsure(value=value, reason=f"or the sync {' or '.join(f'`{rival}`' for rival in rivals)}")
        return value
    column = _find(path, param, known.columns, used)
    if column is not None:
        return _value(path, param, column, known)
    if path == "name":
        return _full_name(known.columns, used)
    return None


def _full_name(columns: Mapping[str, str], used: set[str]) -> Mapping[str, str] | None:
    """A template that joins two columns with the parts of a person's name."""
    by_name = {column.lower(): column for column in columns if column not in used}
    parts = [next((by_name[name] for name in names if name in by_name), None) for names in (GIVEN_NAMES, FAMILY_NAMES)]
    return {"template": " ".join(f"[[ {part} ]]" for part in parts)} if all(parts) else None


def _columns(value: str | Mapping[str, str]) -> Iterator[str]:
    """The columns that a mapping reads."""
    if isinstance(value, str):
        yield value
    elif "template" in value:
        yield from re.findall(r"\[\[ (.+?) \]\]", value["template"])
    else:
        yield from (part for name, part in value.items() if name in {"column", "key", "currency_column"})


def _currency_column(value: str | Mapping[str, str]) -> str | None:
    return None if isinstance(value, str) else value.get("currency_column")


def _paths(resource: Resource) -> Iterator[tuple[str, Param]]:
    for name, param in resource.params.items():
        if param.creatable:
            yield name, param
    for name, param in resource.params.items():
        if param.kind is ParamKind.HASH and param.creatable and name in _PLAIN_HASHES:
            yield from ((f"{name}.{part}", inner) for part, inner in (param.fields or {}).items())


def _find(path: str, param: Param, columns: Mapping[str, str], used: set[str]) -> str | None:
    by_name = {column.lower(): column for column in columns}
    for name in names_for(path, param):
        column = by_name.get(name)
        if column is not None and column not in used and fits(param, columns[column]):
            return column
    return None


def _value(path: str, param: Param, column: str, known: KnownModel) -> str | Mapping[str, str] | Unsure:
    """How a column is mapped and, if that isn't certain, the reason."""
    column_type = known.columns[column]
    if param.kind is ParamKind.INTEGER and is_decimal(column_type):
        if not _MONEY.search(param.name):
            return Unsure(value=column, reason=f"the column may hold fractions, and `{path}` accepts whole numbers")
        currency = next((name for name in known.columns if name.lower() in {"currency", *ALIASES["currency"]}), None)
        if currency is not None:
            return {"column": column, "as": "minor_units", "currency_column": currency}
        value = {"column": column, "as": "minor_units", "currency": "usd"}
        return Unsure(value=value, reason="no column has the currency: is it `usd`?")
    is_money = param.kind is ParamKind.INTEGER and _MONEY.search(param.name)
    if is_money and column.lower() in ALIASES.get(param.name, ()):
        # Only Stripe's own name says that whole numbers are cents.
        return Unsure(value=column, reason="is it in cents? Otherwise, convert it with `as: minor_units`")
    if is_country_name(path, column, column_type):
        return Unsure(value=column, reason="may hold names; Stripe expects two-letter codes, such as `DE`")
    if others := known.syncs.get(param.name, ()):
        return {"sync": others[0].sync, "key": column}
    return column


def _drop_halves(fields: dict[str, str | Mapping[str, str]], resource: Resource) -> None:
    """Leave out a hash if a required part of it has no column."""
    for name in {path.partition(".")[0] for path in fields if "." in path}:
        param = resource.params.get(name)
        inner = (param.fields or {}) if param is not None and param.kind is ParamKind.HASH else {}
        if any(part.required and f"{name}.{part.name}" not in fields for part in inner.values()):
            for path in [path for path in fields if path.startswith(f"{name}.")]:
                del fields[path]


def _is_at(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")


def _check_names(named: Sequence[str], columns: Mapping[str, str], model: str) -> None:
    problems = [
        Problem(
            code="unknown-column",
            summary=f"`{model}` has no column `{column}`",
            where=Location(model=model),
            hint=f"{did_you_mean(column, columns)}columns are {listed(columns)}",
        )
        for column in named
        if column not in columns
    ]
    if problems:
        raise ConfigError(problems)


def _missing(missing: Sequence[str], columns: Mapping[str, str], model: str, resource: str) -> Problem:
    options = " ".join(f"--field {name}=COLUMN" for name in missing)
    return Problem(
        code="no-matching-column",
        summary=f"Stripe requires {listed(missing)} to create {with_article(resource)}, and no column matches",
        where=Location(model=model),
        hint=f"name the column: `{options}`; columns are {listed(columns)}",
    )


def _no_key(known: KnownModel) -> Problem:
    return Problem(
        code="no-row-key",
        summary=f"nothing says which column identifies a row of `{known.name}`",
        where=Location(model=known.name),
        hint=f"name it with `--key COLUMN`, or test it as `unique` and `not_null`; columns are {listed(known.columns)}",
    )
