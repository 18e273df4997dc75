"""The order among a plan's changes, known once every sync is planned."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.replace import end_first
from dbt_stripe_sync.model.change import ENDS_FIRST, Change

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dbt_stripe_sync.model.errors import Problem


class Order(Struct, kw_only=True):
    """The dependencies among a plan's changes.

    `after` has the changes before each one, `end_first` the replacements whose old object must end before the new one
    is created, and `withheld` why a change can't be part of the plan. `at_once` are such ends that don't wait for what
    the new object needs.
    """

    after: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    end_first: set[str] = field(default_factory=set)
    at_once: set[str] = field(default_factory=set)
    withheld: dict[str, Problem] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.after or self.withheld)

    @property
    def first(self) -> frozenset[str]:
        """The changes that others wait for. They come first in their lane, so that none waits for one behind it."""
        return frozenset(other for others in self.after.values() for other in others)

    def apply_to(self, change: Change) -> Iterator[Change]:
        """A change as it is in the plan: with its dependencies, as two changes, or None if it is withheld."""
        if self.is_withheld(change):
            return
        for part in end_first(change) if change.id in self.end_first else (change,):
            others = self.after.get(part.id, ())
            known = () if part.id in self.at_once else part.depends_on
            is_same = not others and known is part.depends_on
            yield part if is_same else replace(part, depends_on=tuple(dict.fromkeys((*known, *others))))

    def end_at_once(self, replacement: str, before: str, *, is_split: bool) -> None:
        """End the old object of a replacement before another change, without waiting for the new one."""
        end = f"{replacement}{ENDS_FIRST}"
        if not is_split:
            self.end_first.add(replacement)
        self.at_once.add(end)
        self.after[before].append(end)

    def is_withheld(self, change: Change) -> bool:
        """Whether a change can't be part of the plan."""
        return change.id.removesuffix(ENDS_FIRST) in self.withheld

    def waits_for(self, change: Change) -> Sequence[str]:
        """The changes before a change, or before either part of one that is split in two."""
        whole = change.id.removesuffix(ENDS_FIRST)
        after = (*self.after.get(change.id, ()), *self.after.get(f"{whole}{ENDS_FIRST}", ()))
        return tuple(other.removesuffix(ENDS_FIRST) for other in (*change.depends_on, *after))
