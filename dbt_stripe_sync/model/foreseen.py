"""What Stripe refuses of an object for what it or others are already, as the types of that data.

The data is under `stripe_api/rules`, and a resource's lifecycle has what is known of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta


class Fixed(Struct, frozen=True, kw_only=True):
    """What an update can no longer change once the object's status is one of `statuses`, for `reason`.

    `names` are parameters; None means all but those in `but`. `until` is what ends a temporary status. `status_field`
    and `expand` are those of `ByStatus`.
    """

    statuses: frozenset[str]
    reason: str
    names: frozenset[str] | None = None
    but: frozenset[str] = frozenset()
    until: str | None = None
    status_field: str = "status"
    expand: tuple[str, ...] = ()

    def holds(self, name: str) -> bool:
        """Whether a parameter is among them."""
        return name not in self.but if self.names is None else name in self.names


class AtMost(Struct, frozen=True, kw_only=True):
    """How many objects of a resource may name the same `parent`.

    `with_earlier` says that those of earlier runs count as well, since they don't end by themselves.
    """

    parent: str
    most: int
    source: str
    with_earlier: bool = True


class OneCurrency(Struct, frozen=True, kw_only=True):
    """The objects of a customer are all in one currency: their own, or that of the first of their `prices`.

    One that names its `unless` follows that instead.
    """

    source: str
    prices: str | None = None
    unless: str | None = None


class PricesNamed(Struct, frozen=True, kw_only=True):
    """Where an object names prices, as `items[].price`: active ones, and of one kind where `is_recurring` says which.

    `currency_source` cites the rule that all of them share one currency; None if they needn't. `no_quantity` cites the
    rule that a metered price has no `quantity`. `recurring_only` are the object's parameters that ask for a recurring
    price, `one_time_only` those that go with none, by `modes_source`.
    """

    path: str
    source: str
    is_recurring: bool | None = None
    currency_source: str | None = None
    no_quantity: str | None = None
    recurring_only: tuple[str, ...] = ()
    one_time_only: tuple[str, ...] = ()
    modes_source: str | None = None


class FirstBill(Struct, frozen=True, kw_only=True):
    """A new object can't set its `parameter`, a time, after its first period, which its first price of `items` has.

    `latest` says the last moment of it by the object's parameters, the price's `recurring` and the time of now.
    """

    parameter: str
    items: str
    latest: Callable[[Mapping[str, Any], Mapping[str, Any], int], int]
    source: str


class Window(Struct, frozen=True, kw_only=True):
    """How far a time may be in the past or future when its object is created."""

    past: timedelta
    ahead: timedelta
