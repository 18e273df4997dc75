"""The types of rules about existing objects: what Stripe rejects because of an object's state, or of other objects.

The rules themselves are in `stripe_api/rules`; a resource's lifecycle contains those that plans check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta


class Fixed(Struct, frozen=True, kw_only=True):
    """What an update can't change while an object's status is one of `statuses`, and the `reason`.

    `names` are parameters; None means all of them except those in `but`. `until` is what ends a temporary status.
    `status_field` and `expand` are like those of `ByStatus`.
    """

    statuses: frozenset[str]
    reason: str
    names: frozenset[str] | None = None
    but: frozenset[str] = frozenset()
    until: str | None = None
    status_field: str = "status"
    expand: tuple[str, ...] = ()

    def holds(self, name: str) -> bool:
        """Return whether a parameter can't be changed."""
        return name not in self.but if self.names is None else name in self.names


class AtMost(Struct, frozen=True, kw_only=True):
    """How many objects of a resource may have the same `parent`.

    `with_earlier` says that the objects of earlier runs count as well, since they don't end by themselves.
    """

    parent: str
    most: int
    source: str
    with_earlier: bool = True


class OneCurrency(Struct, frozen=True, kw_only=True):
    """All objects of a customer have one currency: their own, or that of the first of their `prices`.

    If an object has the parameter `unless`, it follows the currency of the object named there instead.
    """

    source: str
    prices: str | None = None
    unless: str | None = None


class PricesNamed(Struct, frozen=True, kw_only=True):
    """Where an object names prices, such as `items[].price`. They must be active, and of the kind in `is_recurring`.

    If `is_recurring` is None, both kinds are accepted. `currency_source` cites the rule that all of the prices share
    one currency; None means that they needn't. `no_quantity` cites the rule that a metered price has no `quantity`.
    `recurring_only` are the object's parameters that require a recurring price, and `one_time_only` those that exclude
    one; `modes_source` cites the rule.
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
    """A time, `parameter`, can't be after a new object's first period, which depends on the first price in `items`.

    `latest` returns the end of that period from the object's parameters, the price's `recurring` and the current time
    (all times in Unix seconds).
    """

    parameter: str
    items: str
    latest: Callable[[Mapping[str, Any], Mapping[str, Any], int], int]
    source: str


class Window(Struct, frozen=True, kw_only=True):
    """How far a time may be in the past or future when its object is created."""

    past: timedelta
    ahead: timedelta
