"""The types of Stripe's documented rules: where each applies, what it checks, and its source."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CREATE, UPDATE, LIST = "create", "update", "list"
WRITES = frozenset({CREATE, UPDATE})

SDK = "SDK's description"
OPENAPI = "OpenAPI specification"


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Spot(Struct, frozen=True):
    """The location of a value in a request: the hashes around it, innermost last, and the names that lead to it.

    `now` is Unix seconds, None to ignore times. `known` is what the object has besides the request; `whole` says that
    the request is complete, so that a missing parameter has its default.
    """

    around: tuple[Mapping[str, Any], ...]
    path: tuple[str, ...]
    now: int | None = None
    known: Mapping[str, Any] = _NOTHING
    whole: bool = True

    def inside(self, name: str, *around: Mapping[str, Any]) -> Spot:
        """The location of the value with this name inside this one; `around` is this one if it is a hash."""
        return Spot((*self.around, *around), (*self.path, name), self.now, self.known, self.whole)

    @property
    def hash(self) -> Mapping[str, Any]:
        """The hash around the value, as in the request."""
        return self.around[-1] if self.around else {}

    @property
    def is_whole(self) -> bool:
        """Whether the hash, with what is known, is complete. Hashes inside a request are always sent completely."""
        return self.whole or len(self.around) > 1

    @property
    def has_all_inside(self) -> bool:
        """The same for the value itself, if it is a hash."""
        return self.whole or len(self.around) > 0

    def value_of(self, name: str) -> Any:
        """The hash's value for a parameter, or else the object's current value."""
        value = self.hash.get(name)
        if value is not None:
            return value
        known: Any = self.known
        for step in self.path[: len(self.around) - 1]:
            known = known.get(step) if isinstance(known, dict) else None
        return known.get(name) if isinstance(known, dict) else None


class Fault(Struct, frozen=True, kw_only=True):
    """What is wrong with a value.

    `reason` reads after the parameter's name and contains no row value. `within` leads from the value to the part that
    is wrong. `code` and `message` are those of Stripe's answer.
    """

    reason: str
    message: str
    code: str | None = None
    hint: str | None = None
    within: tuple[str, ...] = ()


class Check(Protocol):
    """One kind of rule, with its parameters."""

    @property
    def says(self) -> str:
        """The rule in words, for a table."""

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """What is wrong with a value; nothing if it has another type than the check expects."""


class Rule(Struct, frozen=True, kw_only=True):
    """A check of one parameter.

    `path` has dots, `[]` for the items of a list, `*` for the values of a map. An empty `path` means the whole request.
    Without a `source` the rule is a guess: the sandbox enforces it, but plans don't check it.
    """

    path: str
    check: Check
    source: str | None
    operations: frozenset[str] = WRITES


def steps_of(path: str) -> tuple[str, ...]:
    """A rule's path as the steps of a walk: `phases[].items` is `phases`, `[]`, `items`."""
    return tuple(path.replace("[]", ".[]").split(".")) if path else ()
