"""The tag in an object's metadata that says which sync and row created it, so that it can be found again."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TAG = "dbt_stripe_sync"
# The tag of an object that was replaced: references to it may stay with it.
FORMER_TAG = "dbt_stripe_sync_former"
# docs.stripe.com/api/metadata: values have at most 500 characters.
TAG_CHARACTERS = 500
# The specification of docs.stripe.com/api/billing/meter-event/create: `identifier` has a `maxLength` of 100.
IDENTIFIER_CHARACTERS = 100
# The most ids in one sentence.
MOST_IDS = 10


def build_tag(project: str, sync: str, key: str) -> str:
    """Return the value of `TAG` for one row: `<project>/<sync>/<key>`, with a digest in place of a long key."""
    tag = f"{project}/{sync}/{key}"
    return tag if len(tag) <= TAG_CHARACTERS else f"{project}/{sync}/sha256:{sha256(key.encode()).hexdigest()}"


def further_objects(ids: Sequence[str]) -> str:
    """Return what to say about objects in use whose row has a newer one."""
    shown = ", ".join(ids[:MOST_IDS]) + (f" and {len(ids) - MOST_IDS:,} more" if len(ids) > MOST_IDS else "")
    if len(ids) == 1:
        return (
            f"{shown} is in use, too, and has the tag of a row with a newer object: end it in Stripe unless you need it"
        )
    return f"{shown} are in use, too, and have tags of rows with newer objects: end them in Stripe unless you need them"


def build_identifier(project: str, sync: str, key: str) -> str:
    """Return the identifier of a row's object, for resources with one: the tag, or a digest if the tag is too long."""
    tag = f"{project}/{sync}/{key}"
    return tag if len(tag) <= IDENTIFIER_CHARACTERS else f"sha256:{sha256(tag.encode()).hexdigest()}"
