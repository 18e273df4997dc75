"""Checks of lists and hashes: their size, their items, and the limits of metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.metadata import (
    METADATA_KEYS,
    METADATA_NAME_CHARACTERS,
    METADATA_VALUE_CHARACTERS,
    MetadataLimit,
    find_excess,
)
from dbt_stripe_sync.stripe_api.rules.counts import SUBSCRIPTION_ITEMS
from dbt_stripe_sync.stripe_api.rules.rule import Fault
from dbt_stripe_sync.stripe_api.rules.together import is_given

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.model.metadata import Excess
    from dbt_stripe_sync.stripe_api.rules.rule import Spot


class MaxItems(Struct, frozen=True):
    """A list has at most this many items."""

    most: int

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"at most {counted(self.most, 'item')}"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it has more."""
        if isinstance(value, list) and len(value) > self.most:
            yield too_many(len(value), self.most)


class MaxSubscriptionItems(Struct, frozen=True):
    """A subscription has at most as many items as its billing mode allows."""

    says: str = "at most 100 items; 20 with `billing_mode.type: classic`"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if there are more."""
        mode = spot.value_of("billing_mode") or {}
        name = mode.get("type") if isinstance(mode, dict) else None
        most = SUBSCRIPTION_ITEMS.get(name or "flexible", SUBSCRIPTION_ITEMS["flexible"])
        items = [item for item in value if not (isinstance(item, dict) and item.get("deleted"))] if value else []
        if isinstance(value, list) and len(items) > most:
            yield too_many(len(items), most)


class Includes(Struct, frozen=True):
    """A list that isn't empty contains a given word."""

    word: str

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"includes `{self.word}`"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if the word is missing."""
        if isinstance(value, list) and value and self.word not in value:
            yield Fault(
                reason=f"must include `{self.word}`",
                message=f"The `{self.word}` permission must be included.",
                hint=f"add `{self.word}` to the list",
            )


class FirstHas(Struct, frozen=True):
    """The first item of a list has a parameter that the others can lack."""

    name: str
    message: str

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"the first item has `{self.name}`"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if the first item lacks it."""
        if isinstance(value, list) and value and isinstance(value[0], dict) and not is_given(value[0].get(self.name)):
            yield Fault(
                reason=f"requires `{self.name}` in its first item",
                message=self.message,
                hint=f"map `{self.name}` of the first item",
            )


class WithoutOwnCurrency(Struct, frozen=True):
    """A map of currencies doesn't contain the object's own currency, which is the value of the parameter `own`."""

    own: str = "currency"

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"not the object's own `{self.own}`"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault for the own currency."""
        own = spot.value_of(self.own)
        if isinstance(value, dict) and isinstance(own, str):
            for name in value:
                if name.lower() == own.lower():
                    yield own_currency(name)


class Metadata(Struct, frozen=True):
    """Stripe's limits on metadata."""

    says: str = "at most 50 keys of 40 characters without `[` and `]`, values of 500 characters"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault for each limit that is exceeded."""
        if isinstance(value, dict):
            yield from map(_excess_fault, find_excess(value))


def _excess_fault(excess: Excess) -> Fault:
    count = excess.count
    if excess.limit is MetadataLimit.KEYS:
        return Fault(
            reason=f"has {count} keys, Stripe accepts {METADATA_KEYS}",
            message=f"You can only specify up to {METADATA_KEYS} metadata keys, but you specified {count}.",
            hint="map fewer keys, or put several into one",
        )
    if excess.limit is MetadataLimit.NAME:
        return Fault(
            reason=f"has a key of {count} characters, Stripe accepts {METADATA_NAME_CHARACTERS}",
            message=f"Metadata keys must be under {METADATA_NAME_CHARACTERS} characters in length. Try making the key "
            "shorter.",
            hint="use a shorter key",
        )
    if excess.limit is MetadataLimit.BRACKET:
        return Fault(
            reason="has a key with a square bracket, which Stripe rejects",
            message="Metadata keys can't contain square brackets.",
            hint="use a key without `[` and `]`",
        )
    return Fault(
        reason=f"has {count:,} characters, Stripe accepts {METADATA_VALUE_CHARACTERS}",
        message=f"Metadata values can have up to {METADATA_VALUE_CHARACTERS} characters, but you passed in "
        f"a value that is {count} characters. Invalid value: {excess.start}...",
        hint=f"shorten it in the model, for example with left(…, {METADATA_VALUE_CHARACTERS})",
        within=(excess.name,),
    )


def own_currency(name: str) -> Fault:
    """Return the fault for a price's own currency among its `currency_options`."""
    return Fault(
        reason="names the object's own currency, which Stripe accepts only at the top level",
        message="You are specifying an update to a currency option that matches the top-level currency for this price. "
        "Please remove this currency option and update the top-level params instead.",
        hint="leave the object's own currency out of the map",
        within=(name,),
    )


def too_many(count: int, most: int) -> Fault:
    """Return the fault for a list that is too long."""
    return Fault(
        reason=f"has {count:,} items, Stripe accepts {most:,}",
        message=f"Array must have at most {most} elements. You provided {count}.",
    )
