"""The types of Stripe's documented rules: where each one applies, what it checks, and its source."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CREATE, UPDATE, LIST = "create", "update", "list"
WRITES = frozenset({CREATE, UPDATE})

SDK = "the SDK's description"
OPENAPI = "Stripe's OpenAPI specification"


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Spot(Struct, frozen=True):
    """The location of a value in a request: the hashes around it, innermost last, and the path to it.

    `now` is in Unix seconds; if it is None, times aren't checked. `known` is the object's current values. `whole` says
    that the request is complete, so that a missing parameter has its default.
    """

    around: tuple[Mapping[str, Any], ...]
    path: tuple[str, ...]
    now: int | None = None
    known: Mapping[str, Any] = _NOTHING
    whole: bool = True

    def inside(self, name: str, *around: Mapping[str, Any]) -> Spot:
        """Return the location of the value with this name; `around` is the value here, if that is a hash."""
        return Spot((*self.around, *around), (*self.path, name), self.now, self.known, self.whole)

    @property
    def hash(self) -> Mapping[str, Any]:
        """The hash around the value, as in the request."""
        return self.around[-1] if self.around else {}

    @property
    def is_whole(self) -> bool:
        """Whether the hash, together with `known`, is complete. Hashes inside a request are always sent completely."""
        return self.whole or len(self.around) > 1

    @property
    def has_all_inside(self) -> bool:
        """Whether the value itself is complete, if it is a hash."""
        return self.whole or len(self.around) > 0

    def value_of(self, name: str) -> Any:
        """Return a parameter's value in the hash, or else its current value in the object."""
        value = self.hash.get(name)
        if value is not None:
            return value
        known: Any = self.known
        for step in self.path[: len(self.around) - 1]:
            known = known.get(step) if isinstance(known, dict) else None
        return known.get(name) if isinstance(known, dict) else None


class Fault(Struct, frozen=True, kw_only=True):
    """What is wrong with a value.

    `reason` is read after the parameter's name, and contains no row value. `within` is the path from the value to the
    part that is wrong. `code` and `message` are those of Stripe's answer.
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
        """Yield what is wrong with a value; nothing if the value isn't of the type that the check expects."""


class Rule(Struct, frozen=True, kw_only=True):
    """A check of one parameter.

    `path` has dots, `[]` for the items of a list and `*` for the values of a map. An empty `path` means the whole
    request. A rule without a `source` is a guess: the sandbox enforces it, but plans don't check it.
    """

    path: str
    check: Check
    source: str | None
    operations: frozenset[str] = WRITES


def steps_of(path: str) -> tuple[str, ...]:
    """Return a rule's path as steps: `phases[].items` becomes `phases`, `[]`, `items`."""
    return tuple(path.replace("[]", ".[]").split(".")) if path else ()
