"""Checks Stripe's limits on metadata (docs.stripe.com/api/metadata)."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

METADATA_KEYS = 50
# The limits for a row: one key is the `dbt_stripe_sync` tag.
METADATA_KEYS_OF_ROW = METADATA_KEYS - 1
METADATA_NAME_CHARACTERS = 40
METADATA_VALUE_CHARACTERS = 500
_BRACKET = re.compile(r"[\[\]]")


class MetadataLimit(Enum):
    """The limits that metadata can exceed."""

    KEYS = auto()
    NAME = auto()
    BRACKET = auto()
    VALUE = auto()


class Excess(Struct, frozen=True):
    """One limit that metadata exceeds: how many keys or characters there are, and under which key.

    `start` is the start of a value that is too long, for Stripe's own message.
    """

    limit: MetadataLimit
    count: int
    name: str = ""
    start: str = ""


def find_excess(metadata: Mapping[str, Any], *, most_keys: int = METADATA_KEYS) -> Iterator[Excess]:
    """Yield every limit that metadata exceeds. An empty value removes its key, so it isn't counted."""
    if _keeps_limits(metadata, most_keys):
        return
    kept = sum(text not in ("", None) for text in metadata.values())
    if kept > most_keys:
        yield Excess(MetadataLimit.KEYS, kept)
    for name, text in metadata.items():
        if len(name) > METADATA_NAME_CHARACTERS:
            yield Excess(MetadataLimit.NAME, len(name), name)
        if _BRACKET.search(name):
            yield Excess(MetadataLimit.BRACKET, len(name), name)
        if isinstance(text, str) and len(text) > METADATA_VALUE_CHARACTERS:
            yield Excess(MetadataLimit.VALUE, len(text), name, text[:20])


def _keeps_limits(metadata: Mapping[str, Any], most_keys: int) -> bool:
    """Return whether metadata is well within the limits, as it is in nearly every row."""
    try:
        longest = max(map(len, metadata.values()), default=0)
    except TypeError:
        return False  # something other than text
    return (
        longest <= METADATA_VALUE_CHARACTERS
        and len(metadata) <= most_keys
        and max(map(len, metadata), default=0) <= METADATA_NAME_CHARACTERS
        and not _BRACKET.search("".join(metadata))
    )
