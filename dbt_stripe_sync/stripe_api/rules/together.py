"""Checks combinations of parameters: what one requires, what it can be combined with, and what it excludes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.stripe_api.rules.rule import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dbt_stripe_sync.stripe_api.rules.rule import Spot


class Excludes(Struct, frozen=True):
    """A parameter and another one of the same hash aren't given together."""

    other: str

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"not together with `{self.other}`"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if both are given."""
        if is_given(value) and is_given(spot.hash.get(self.other)):
            name = spot.path[-1]
            yield Fault(
                reason=f"can't be set together with `{self.other}`",
                message=f"You may only specify one of these parameters: {self.other}, {name}.",
                code="parameters_exclusive",
                hint="map one of the two",
            )


class OnlyWith(Struct, frozen=True):
    """A parameter requires one value of a sibling. `default` is that sibling's value if it is missing."""

    sibling: str
    value: str
    default: str | None = None

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"only with `{self.sibling}: {self.value}`"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if the sibling has another value, unless its value is unknown."""
        other = spot.value_of(self.sibling)
        if not is_given(other):
            if not spot.is_whole:
                return
            other = self.default
        if is_given(value) and other != self.value:
            yield Fault(
                reason=f"is allowed only with `{self.sibling}: {self.value}`",
                message=f"You can only set `{spot.path[-1]}` when `{self.sibling}` is `{self.value}`.",
                hint=f"set `{self.sibling}` to `{self.value}`, or leave it out",
            )


class NotWith(Struct, frozen=True):
    """A parameter excludes a value of a sibling."""

    sibling: str
    value: str

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"not with `{self.sibling}: {self.value}`"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if the sibling has that value."""
        if is_given(value) and spot.value_of(self.sibling) == self.value:
            yield Fault(
                reason=f"is not allowed with `{self.sibling}: {self.value}`",
                message=f"You may not specify `{spot.path[-1]}` when `{self.sibling}={self.value}`.",
            )


class NeedsOneOf(Struct, frozen=True):
    """A hash has at least one of some parameters, or one of `instead`. The path is that of the hash.

    `message` is Stripe's, if it has a special one.
    """

    names: tuple[str, ...]
    instead: tuple[str, ...] = ()
    message: str | None = None

    @property
    def says(self) -> str:
        """The rule in words."""
        unless = f", unless it has {_either(self.instead)}" if self.instead else ""
        return f"needs {_either(self.names)}{unless}"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it has none, unless the object may already have one."""
        if not isinstance(value, dict) or not spot.has_all_inside:
            return
        if not any(is_given(value.get(name)) for name in (*self.names, *self.instead)):
            missing = needs(self.names)
            yield missing if self.message is None else replace(missing, message=self.message, code=None)


class Alone(Struct, frozen=True):
    """A parameter excludes all others in the request, except those in `but`."""

    but: tuple[str, ...]

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"with no other parameter{f' but {_either(self.but)}' if self.but else ''}"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if there is another one."""
        own = spot.path[-1]
        others = [name for name in spot.hash if name not in {own, *self.but} and is_given(spot.hash[name])]
        if is_given(value) and others:
            yield Fault(
                reason=f"can't be set together with `{others[0]}`",
                message=f"When using `{own}`, you cannot specify any other parameters{self._but()}.",
                code="parameters_exclusive",
                hint="map only one of them",
            )

    def _but(self) -> str:
        return f" except for {_either(self.but)}" if self.but else ""


class GoesWithOnly(Struct, frozen=True):
    """One value of a parameter excludes all others in the request, except those in `names`."""

    value: str
    names: tuple[str, ...]

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"`{self.value}` only together with {_listed(self.names)}"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if the request has another one."""
        own = spot.path[-1]
        others = sorted(name for name in spot.hash if name != own and name not in self.names)
        if value == self.value and others:
            yield Fault(
                reason=f"can't be `{self.value}` in a request that also sends {_listed(others)}",
                message=f"When `{own}` is `{self.value}`, you can only pass {_listed(self.names)}.",
                hint=f"leave {_listed(others)} out of the sync, or map another `{own}`",
            )


class DiffersFrom(Struct, frozen=True):
    """A parameter differs from a sibling."""

    sibling: str

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"not the same as `{self.sibling}`"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if they are equal."""
        if is_given(value) and value == spot.hash.get(self.sibling):
            yield Fault(
                reason=f"must differ from `{self.sibling}`",
                message=f"Invalid {spot.path[-1]}: must be different than `{self.sibling}`.",
            )


class NotBeside(Struct, frozen=True):
    """A parameter excludes another one of the same hash, even if only the object has that one."""

    other: str

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"not if the request or the object has `{self.other}`"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if the request, or the object as far as it is known, has the other parameter."""
        if is_given(value) and is_given(spot.value_of(self.other)):
            yield Fault(
                reason=f"is not allowed with `{self.other}`",
                message=f"You may not specify `{spot.path[-1]}` where there is `{self.other}`.",
                code="parameters_exclusive",
                hint="map one of the two",
            )


class OneOfItems(Struct, frozen=True):
    """A parameter's value is the `name` of one of the hashes in a sibling list."""

    sibling: str
    name: str

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"the `{self.name}` of one of `{self.sibling}`"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it isn't."""
        items = spot.hash.get(self.sibling)
        if not is_given(value) or not isinstance(items, list):
            return
        if value not in [item.get(self.name) for item in items if isinstance(item, dict)]:
            yield Fault(
                reason=f"is not the `{self.name}` of any of `{self.sibling}`",
                message=f"Invalid {spot.path[-1]}: must match a `{self.name}` in the `{self.sibling}` array.",
            )


class ValueNeeds(Struct, frozen=True):
    """One value of a parameter requires one value of a sibling, unless the sibling is missing."""

    own: str
    sibling: str
    value: str

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"`{self.own}` only with `{self.sibling}: {self.value}`"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if the sibling has another value."""
        other = spot.value_of(self.sibling)
        if value == self.own and is_given(other) and other != self.value:
            yield Fault(
                reason=f"can be `{self.own}` only with `{self.sibling}: {self.value}`",
                message=f"`{self.own}` is only compatible with `{self.sibling}={self.value}`.",
            )


class NeedsWhen(Struct, frozen=True):
    """A hash whose `trigger` is set, or set to `value`, has one of some other parameters.

    The path is that of the hash. `default` is the trigger's value if it is missing.
    """

    trigger: str
    value: str | None
    names: tuple[str, ...]
    default: str | None = None

    @property
    def says(self) -> str:
        """The rule in words."""
        when = f"`{self.trigger}: {self.value}`" if self.value is not None else f"`{self.trigger}`"
        return f"needs {_either(self.names)} with {when}"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it has none, unless the object may already have one."""
        if not isinstance(value, dict) or not spot.has_all_inside:
            return
        inside = value if spot.around else {**spot.known, **value}
        given = inside.get(self.trigger)
        given = given if is_given(given) else self.default
        is_triggered = given == self.value if self.value is not None else is_given(given)
        if is_triggered and not any(is_given(inside.get(name)) for name in self.names):
            yield needs(self.names, f"`{self.trigger}{f'={self.value}' if self.value is not None else ''}`")


class Ascending(Struct, frozen=True):
    """Tiers are in ascending order of `up_to`, and the last one has no upper bound."""

    says: str = "in ascending order of `up_to`, with `inf` last"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if they aren't."""
        if not isinstance(value, list) or not all(isinstance(tier, dict) for tier in value):
            return
        ends = [tier.get("up_to") for tier in value]
        numbers = [int(end) for end in ends[:-1] if str(end).isdigit()]
        in_order = all(one < other for one, other in pairwise(numbers))
        if value and not (ends[-1] == "inf" and len(numbers) == len(ends) - 1 and in_order and 0 not in numbers):
            yield Fault(
                reason="must be in ascending order of `up_to`, and the last one must be `inf`",
                message="Tiers must be in ascending order of `up_to`, and the last one must be `inf`.",
            )


class InOrder(Struct, frozen=True):
    """Of two times or amounts in a hash, the later one isn't below the earlier one. The path is that of the hash.

    `earlier` and `later` are dotted paths below the hash.
    """

    earlier: str
    later: str
    are_amounts: bool = False

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"`{self.later}` {'at least' if self.are_amounts else 'not before'} `{self.earlier}`"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if they aren't in order, unless one of them isn't a whole number."""
        one, other = (_inside(value, path) for path in (self.earlier, self.later))
        if not all(isinstance(number, int) and not isinstance(number, bool) for number in (one, other)):
            return
        if other < one:
            what, order = ("amount", "at least") if self.are_amounts else ("period", "after")
            yield Fault(
                reason=f"must be {'at least' if self.are_amounts else 'at or after'} `{self.earlier}`",
                message=f"Invalid {what}: `{self.later}` must be {order} `{self.earlier}`.",
                within=tuple(self.later.split(".")),
            )


class MostTogether(Struct, frozen=True):
    """A list and another one of the same hash have at most this many items together."""

    most: int
    other: str

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"at most {counted(self.most, 'item')}, together with `{self.other}`"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if they have more."""
        beside = spot.value_of(self.other)
        count = sum(len(items) for items in (value, beside) if isinstance(items, list))
        if isinstance(value, list) and isinstance(beside, list) and count > self.most:
            yield Fault(
                reason=f"and `{self.other}` have {count} items together, Stripe accepts {self.most}",
                message=f"There is a maximum of {self.most} combined items. You provided {count}.",
            )


def needs(names: tuple[str, ...], when: str | None = None) -> Fault:
    """Return the fault for missing parameters of which one is required."""
    with_ = f" when {when}" if when is not None else ""
    if len(names) == 1 and when is None:
        message = f"Missing required param: {names[0]}."
    else:
        message = f"You must specify {'either ' if len(names) > 1 else ''}{_either(names)}{with_}."
    return Fault(
        reason=f"is missing: Stripe requires {_either(names)}{with_}",
        message=message,
        code="parameter_missing",
        hint=f"map {_either(names)}",
        within=(names[0],),
    )


def is_given(value: Any) -> bool:
    """Return whether a parameter has a value."""
    return value is not None and value is not False and value != ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _either(names: tuple[str, ...]) -> str:
    *others, last = (f"`{name}`" for name in names)
    return f"{', '.join(others)} or {last}" if others else last


def _inside(value: Any, path: str) -> Any:
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value
