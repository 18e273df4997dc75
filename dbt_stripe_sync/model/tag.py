"""The tag in an object's metadata that says which sync and row created it, so that it can be found again."""

from __future__ import annotations

from hashlib import sha256

TAG = "dbt_stripe_sync"
# The tag of an object that was replaced: references to it may stay with it.
FORMER_TAG = "dbt_stripe_sync_former"
# docs.stripe.com/api/metadata: values have at most 500 characters.
TAG_CHARACTERS = 500
# The specification of docs.stripe.com/api/billing/meter-event/create: `identifier` has a `maxLength` of 100.
IDENTIFIER_CHARACTERS = 100


def build_tag(project: str, sync: str, key: str) -> str:
    """Return the value of `TAG` for one row: `<project>/<sync>/<key>`, with a digest in place of a long key."""
    tag = f"{project}/{sync}/{key}"
    return tag if len(tag) <= TAG_CHARACTERS else f"{project}/{sync}/sha256:{sha256(key.encode()).hexdigest()}"


def build_identifier(project: str, sync: str, key: str) -> str:
    """Return the identifier of a row's object, for resources with one: the tag, or a digest if the tag is too long."""
    tag = f"{project}/{sync}/{key}"
    return tag if len(tag) <= IDENTIFIER_CHARACTERS else f"sha256:{sha256(tag.encode()).hexdigest()}"
