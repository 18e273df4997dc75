"""Columns of a model matched to parameters of a Stripe resource, by name and by type."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dbt_stripe_sync.config.suggest import did_you_mean, listed
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem
from dbt_stripe_sync.model.params import ParamKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.model.params import Param, Resource

# What people call a parameter in their warehouse; the parameter's own name comes first anyway.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "name": ("full_name", "display_name", "company_name", "company", "title", "customer_name", "product_name"),
    "email": ("email_address", "billing_email", "mail"),
    "phone": ("phone_number", "telephone"),
    "description": ("details", "blurb", "summary"),
    "active": ("is_active", "enabled", "is_enabled"),
    "nickname": ("label",),
    "percent_off": ("percent", "percentage", "discount_percent"),
    "amount_off": ("discount_amount",),
    "duration_in_months": ("months",),
    "max_redemptions": ("max_uses",),
    "line1": ("street", "address", "address_1", "address1", "street_address", "address_line1"),
    "line2": ("address_2", "address2", "address_line2"),
    "postal_code": ("zip", "zip_code", "zipcode", "postcode"),
    "state": ("province", "region"),
    "country": ("country_code",),
    "currency": ("currency_code", "ccy"),
    "unit_amount": ("amount", "price", "unit_price"),
    "amount": ("total", "value"),
    "quantity": ("seats", "qty"),
    "interval": ("billing_interval", "billing_period"),
    "preferred_locales": ("language", "locale"),
}
# Hashes whose parts stand as columns of their own without the hash's name before them.
_PLAIN_HASHES = frozenset({"address", "recurring"})
_MONEY = re.compile(r"(^|_)(amount|balance|price)(_|$)")
_INTEGER = re.compile(r"int|serial|number\(\d+,\s*0\)|numeric\(\d+,\s*0\)", re.IGNORECASE)
_DECIMAL = re.compile(r"numeric|decimal|number|double|float|real", re.IGNORECASE)
_TIME = re.compile(r"date|time", re.IGNORECASE)
_BOOLEAN = re.compile(r"bool", re.IGNORECASE)
_NESTED = re.compile(r"json|struct|map|array|list|variant|object|super|\[\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Referable:
    """A sync whose objects others may refer to, by its only key column."""

    sync: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What a first sync maps. `fields` are pairs of parameter and YAML value, `left` the columns that nothing takes."""

    key: tuple[str, ...]
    fields: Mapping[str, str | Mapping[str, str]]
    left: Sequence[str]
    maybe: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def match_columns(  # noqa: PLR0913 - what is known of the model, and what is asked for
    resource: Resource,
    columns: Mapping[str, str],
    *,
    model: str,
    key: tuple[str, ...] = (),
    chosen: Mapping[str, str],
    syncs: Mapping[str, Referable],
    keys: Sequence[tuple[str, ...]] = (),
) -> Matched:
    """Columns (with their types) as the fields of a sync.

    `chosen` is what the user maps by name, `syncs` the project's sync of each resource, `keys` what dbt's constraints
    and tests say to tell the rows apart. Raises `ConfigError` where a column is not there, where nothing says what the
    key is, or where Stripe requires a parameter that no column matches.
    """
    _check_names((*key, *chosen.values()), columns, model)
    key = key or _known_key(keys, columns) or _guess_key(columns, model, resource.name)
    fields: dict[str, str | Mapping[str, str]] = dict(chosen)
    maybe: dict[str, Mapping[str, str]] = {}
    used = set(chosen.values())
    for path, param in _paths(resource):
        if path in fields:
            continue
        column = _find(path, param, columns, used) or _find_reference(path, columns, used, syncs)
        if column is None:
            continue
        value, is_sure = _value(param, column, columns, syncs)
        if is_sure:
            fields[path] = value
            used.add(column)
        elif not isinstance(value, str):
            maybe[path] = value
    missing = [
        name for name, param in resource.params.items() if param.required and not any(_is_at(f, name) for f in fields)
    ]
    if missing:
        raise ConfigError(_missing(missing, columns, model, resource.name))
    if "metadata" in resource.params:
        fields |= {f"metadata.{column.lower()}": column for column in key if column not in fields.values()}
    used |= {column for value in maybe.values() for column in value.values()}
    _drop_halves(fields, resource)
    return Matched(key=key, fields=fields, left=[c for c in columns if c not in used and c not in key], maybe=maybe)


def _paths(resource: Resource) -> Iterator[tuple[str, Param]]:
    for name, param in resource.params.items():
        if param.creatable:
            yield name, param
    for name, param in resource.params.items():
        if param.kind is ParamKind.HASH and param.creatable and name in _PLAIN_HASHES:
            yield from ((f"{name}.{part}", inner) for part, inner in (param.fields or {}).items())


def _find(path: str, param: Param, columns: Mapping[str, str], used: set[str]) -> str | None:
    whole, last = path.replace(".", "_"), path.rpartition(".")[2]
    wanted = [whole, f"stripe_{whole}", last, *ALIASES.get(last, ())]
    if param.kind is ParamKind.STRING:
        wanted.append(f"{last}_id")
    by_name = {column.lower(): column for column in columns}
    for name in wanted:
        column = by_name.get(name)
        if column is not None and column not in used and _fits(param, columns[column]):
            return column
    return None


def _find_reference(
    path: str, columns: Mapping[str, str], used: set[str], syncs: Mapping[str, Referable]
) -> str | None:
    """The column that is called like the key of the sync to which a parameter refers: `member_no` for `customer`."""
    other = syncs.get(path)
    by_name = {column.lower(): column for column in columns}
    column = by_name.get(other.key.lower()) if other is not None else None
    return column if column not in used else None


def _fits(param: Param, column_type: str) -> bool:
    nested = bool(_NESTED.search(column_type))
    if param.kind in {ParamKind.LIST, ParamKind.MAP, ParamKind.HASH}:
        return nested
    if nested:
        return False
    if param.kind is ParamKind.BOOLEAN:
        return bool(_BOOLEAN.search(column_type))
    if _BOOLEAN.search(column_type):
        return False
    is_number = bool(_INTEGER.search(column_type) or _DECIMAL.search(column_type))
    if param.kind in {ParamKind.INTEGER, ParamKind.NUMBER}:
        return is_number or bool(_TIME.search(column_type))
    return param.kind is ParamKind.ANY or not _TIME.search(column_type)


def _value(
    param: Param, column: str, columns: Mapping[str, str], syncs: Mapping[str, Referable]
) -> tuple[str | Mapping[str, str], bool]:
    """How a column is mapped, and whether that is sure enough to be written."""
    column_type = columns[column]
    is_decimal = bool(_DECIMAL.search(column_type)) and not _INTEGER.search(column_type)
    if param.kind is ParamKind.INTEGER and is_decimal and _MONEY.search(param.name):
        currency = next((name for name in columns if name.lower() in {"currency", *ALIASES["currency"]}), None)
        if currency is not None:
            return {"column": column, "as": "minor_units", "currency_column": currency}, True
        return {"column": column, "as": "minor_units", "currency": "usd"}, False
    if param.kind is ParamKind.INTEGER and is_decimal:
        return column, False
    if param.name in syncs:
        return {"sync": syncs[param.name].sync, "key": column}, True
    return column, True


def _drop_halves(fields: dict[str, str | Mapping[str, str]], resource: Resource) -> None:
    """A hash of which a required part has no column is left out."""
    for name in {path.partition(".")[0] for path in fields if "." in path}:
        param = resource.params.get(name)
        inner = (param.fields or {}) if param is not None and param.kind is ParamKind.HASH else {}
        if any(part.required and f"{name}.{part.name}" not in fields for part in inner.values()):
            for path in [path for path in fields if path.startswith(f"{name}.")]:
                del fields[path]


def _known_key(keys: Sequence[tuple[str, ...]], columns: Mapping[str, str]) -> tuple[str, ...]:
    """The surest key of which the warehouse has all columns, in its own spelling."""
    by_name = {column.lower(): column for column in columns}
    fitting = (key for key in keys if key and all(column.lower() in by_name for column in key))
    return tuple(by_name[column.lower()] for column in next(fitting, ()))


def _guess_key(columns: Mapping[str, str], model: str, resource: str) -> tuple[str, ...]:
    """The column whose name says that it is the model's own id, or the only one that is called an id.

    A code, such as a country's, tells nothing apart by its name alone. Raises `ConfigError`.
    """
    short = resource.rpartition(".")[2]
    by_name = {column.lower(): column for column in columns}
    stem = model.rpartition("stripe_")[2].rstrip("s")
    own = [f"{name}_{ending}" for name in dict.fromkeys((model, stem, short)) for ending in ("id", "key", "no", "uuid")]
    found = next((by_name[name] for name in ("id", *own) if name in by_name), None)
    ids = [column for name, column in by_name.items() if name.endswith(("_id", "_uuid", "_key", "_ref"))]
    if found is None and len(ids) != 1:
        raise ConfigError(
            Problem(
                code="key-not-known",
                summary=f"nothing says which column identifies a row of `{model}`",
                where=Location(model=model),
                hint="name it with `--key COLUMN`, or test it as `unique` and `not_null`; columns are "
                f"{listed(columns)}",
            )
        )
    return (found if found is not None else ids[0],)


def _is_at(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")


def _check_names(named: Sequence[str], columns: Mapping[str, str], model: str) -> None:
    problems = [
        Problem(
            code="unknown-column",
            summary=f"`{model}` has no column `{column}`",
            where=Location(model=model),
            hint=f"columns are {listed(columns)}{did_you_mean(column, columns)}",
        )
        for column in named
        if column not in columns
    ]
    if problems:
        raise ConfigError(problems)


def _missing(missing: Sequence[str], columns: Mapping[str, str], model: str, resource: str) -> Problem:
    options = " ".join(f"--field {name}=COLUMN" for name in missing)
    return Problem(
        code="no-column-for",
        summary=f"Stripe requires {listed(missing)} to create a {resource}, and no column matches",
        where=Location(model=model),
        hint=f"name the column: `{options}`; columns are {listed(columns)}",
    )
