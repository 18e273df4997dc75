"""Reads values from objects that Stripe returned."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.nested import leaves
from dbt_stripe_sync.model.tag import TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# Where an object has the `dbt_stripe_sync` tag.
TAG_FIELD = f"metadata.{TAG}"


EMAIL = "email"
# The email address without its case and surrounding spaces, under a name like those of fields.
NEAR_EMAIL = "email~"


def near_text(text: str) -> str:
    """Return a text without differences that people don't mean: case, surrounding spaces, and composed accents.

    Nothing is folded further: `straße` and `strasse` are two people's addresses.
    """
    return unicodedata.normalize("NFC", text.strip().lower())


def indexed_value(body: Mapping[str, Any], by: str) -> Any:
    """Return the value that an object is found by: its value at a path, or its normalized email address."""
    value = object_value(body, EMAIL if by == NEAR_EMAIL else by)
    return near_text(value) if by == NEAR_EMAIL and isinstance(value, str) else value


def object_value(body: Mapping[str, Any], path: str) -> Any:
    """Return an object's value at a dotted path, or None."""
    return value_at(body, path.split("."))


def value_at(value: Any, steps: Iterable[str]) -> Any:
    """Return the value inside nested hashes at the end of some names, or None."""
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def created_at(body: Mapping[str, Any]) -> int:
    """Return when an object was created, in Unix seconds; an invoice item calls it `date`."""
    return int(body.get("created") or body.get("date") or 0)


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a nested JSON value, except the names in hashes."""
    return (leaf for leaf in leaves(value) if isinstance(leaf, str))
