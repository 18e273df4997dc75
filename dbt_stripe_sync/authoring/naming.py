"""Guesses which warehouse columns can provide a Stripe parameter, from their names and types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.params import ParamKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.model.params import Param

# The parameter's own name comes first anyway.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "name": ("full_name", "display_name", "company_name", "company", "title", "customer_name", "product_name"),
    "display_name": ("label", "title", "name"),
    "email": ("email_address", "billing_email", "contact_email", "e_mail", "mail", "contact_mail"),
    "phone": ("phone_number", "telephone", "mobile"),
    "description": ("details", "blurb", "summary", "about"),
    "active": ("is_active", "enabled", "is_enabled", "live", "is_live", "sellable", "available"),
    "nickname": ("label",),
    "percent_off": ("percent", "percentage", "discount_percent"),
    "percentage": ("rate", "percent", "tax_rate"),
    "amount_off": ("discount_amount",),
    "duration_in_months": ("months",),
    "max_redemptions": ("max_uses",),
    "line1": ("street", "address", "line_1", "address_1", "address1", "street_address", "address_line1"),
    "line2": ("line_2", "address_2", "address2", "address_line2"),
    "city": ("town",),
    "postal_code": ("zip", "zip_code", "zipcode", "postcode"),
    "state": ("province", "region"),
    "currency": ("currency_code", "ccy"),
    "unit_amount": ("amount", "price", "unit_price", "fee"),
    "amount": ("total", "value"),
    "quantity": ("seats", "qty"),
    "interval": ("billing_interval", "billing_period", "every"),
    "preferred_locales": ("language", "locale"),
}
# Stripe accepts a two-letter country code, but a column that is called `country` may contain the country's name.
COUNTRY_CODES = ("country_code", "country_iso", "country_iso2", "iso_country", "iso_country_code", "country_alpha2")
GIVEN_NAMES = ("first_name", "given_name", "forename", "firstname")
FAMILY_NAMES = ("last_name", "family_name", "surname", "lastname")
_TWO_LETTERS = re.compile(r"char\w*( varying)?\(2\)", re.IGNORECASE)
_LAYERS = re.compile(r"^(stg|int|dim|fct|fact|mart|stripe)_+")
_INTEGER = re.compile(r"int|serial|number\(\d+,\s*0\)|numeric\(\d+,\s*0\)", re.IGNORECASE)
_DECIMAL = re.compile(r"numeric|decimal|number|double|float|real", re.IGNORECASE)
_TIME = re.compile(r"date|time", re.IGNORECASE)
_BOOLEAN = re.compile(r"bool", re.IGNORECASE)
_NESTED = re.compile(r"json|struct|map|array|list|variant|object|super|\[\]", re.IGNORECASE)


def names_for(path: str, param: Param) -> list[str]:
    """The names that a column with a parameter's value may have, the most certain name first."""
    whole, last = path.replace(".", "_"), path.rpartition(".")[2]
    names = [whole, f"stripe_{whole}", last, *ALIASES.get(last, ())]
    if last == "country":
        return [*COUNTRY_CODES, *names]
    return [*names, f"{last}_id"] if param.kind is ParamKind.STRING else names


def is_country_name(path: str, column: str, column_type: str) -> bool:
    """Whether a column may contain names of countries, although Stripe expects a code."""
    is_country = path.rpartition(".")[2] == "country"
    return is_country and column.lower() not in COUNTRY_CODES and not _TWO_LETTERS.search(column_type)


def is_decimal(column_type: str) -> bool:
    """Whether a column's numbers have a fraction."""
    return bool(_DECIMAL.search(column_type)) and not _INTEGER.search(column_type)


def fits(param: Param, column_type: str) -> bool:
    """Whether a parameter can accept the values of a column of this type."""
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


def singulars(model: str) -> tuple[str, ...]:
    """A model's name in the singular: `dim_customers` contains `customer` rows, `stg_companies` `company` rows."""
    whole = _LAYERS.sub("", model)
    endings = {"ies": "y", "es": "", "s": ""}
    return tuple(dict.fromkeys((model, whole, *(whole.removesuffix(e) + end for e, end in endings.items()))))


def known_key(keys: Sequence[tuple[str, ...]], columns: Mapping[str, str]) -> tuple[str, ...]:
    """The most certain key whose columns all exist in the warehouse, as the warehouse spells them."""
    by_name = {column.lower(): column for column in columns}
    fitting = (key for key in keys if key and all(column.lower() in by_name for column in key))
    return tuple(by_name[column.lower()] for column in next(fitting, ()))


def guess_key(columns: Mapping[str, str], model: str, resource: str) -> tuple[str, ...]:
    """The column whose name says that it is the model's own id, if there is one.

    Another model's id, or a code such as a country's, doesn't identify a row by its name alone.
    """
    short = resource.rpartition(".")[2]
    by_name = {column.lower(): column for column in columns}
    stems = dict.fromkeys((*singulars(model), short))
    own = [f"{stem}_{ending}" for stem in stems for ending in ("id", "key", "no", "uuid")]
    return tuple(by_name[name] for name in ("id", *own) if name in by_name)[:1]
