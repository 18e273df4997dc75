"""Changes of a sync that do the same to many rows, as one entry: what is different is then never behind a cut."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.report.call_text import render_calls
from dbt_stripe_sync.report.plan_words import BY_RISK, detail_of
from dbt_stripe_sync.report.value_text import render_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.plan import Changes, SyncCounts

# So many equal changes are shown one by one.
MOST_ALONE = 5
# Past this many changes a sync's are not compared with each other: memory stays flat.
MOST_COMPARED = 5_000
# An object's own id, such as that of the item which an update names, is another one in each change.
_ID = re.compile(r"\b([a-z]{2,8})_(?:test_|live_)?[A-Za-z0-9]{8,}\b")


@dataclass(slots=True, kw_only=True)
class Alike:
    """Changes that do the same. `changes` has the first of them."""

    changes: list[Change] = field(default_factory=list)
    rows: int = 0

    @property
    def first(self) -> Change:
        """The one that stands for all."""
        return self.changes[0]


def pick_alike(changes: Changes, counts: SyncCounts, most: int, *, with_values: bool) -> tuple[list[Alike], int]:
    """At most `most` entries of a sync in the order of their keys, some of each kind; and how many rows are left."""
    total = sum(counts.by_action.values())
    if total > MOST_COMPARED:
        picked = [Alike(changes=[change], rows=1) for change in pick_changes(changes, counts, most)]
        return picked, total - len(picked)
    entries = list(_entries(changes, counts, with_values=with_values))
    room = shares(Counter(entry.first.action.value for entry in entries), most)
    picked = []
    for entry in entries:
        if room.get(entry.first.action, 0) > 0:
            room[entry.first.action] -= 1
            picked.append(entry)
    return picked, total - sum(entry.rows for entry in picked)


def pick_changes(changes: Changes, counts: SyncCounts, most: int) -> list[Change]:
    """At most `most` changes of a sync in the order of their keys, with some of each kind: first what can't be undone.

    Reading ends as soon as they are found.
    """
    room = shares(counts.by_action, most)
    picked: list[Change] = []
    for change in changes.of(counts.sync):
        if room.get(change.action, 0) > 0:
            room[change.action] -= 1
            picked.append(change)
            if not any(room.values()):
                break
    return picked


def shares(by_action: Mapping[str, int], most: int) -> dict[Action, int]:
    """How many changes of each kind are shown: the same share for each, and what one leaves goes to the next."""
    left = {action: by_action.get(action.value, 0) for action in BY_RISK}
    kinds = [action for action in BY_RISK if left[action]]
    given_out = dict.fromkeys(kinds, 0)
    while kinds and most > 0:
        share = max(1, most // len(kinds))
        for action in kinds:
            given = min(share, left[action], most)
            given_out[action] += given
            left[action] -= given
            most -= given
        kinds = [action for action in kinds if left[action]]
    return given_out


def mask_ids(text: str) -> str:
    """A text with the kind of each object's id in place of the id."""
    return _ID.sub(r"\1_…", text)


def _entries(changes: Changes, counts: SyncCounts, *, with_values: bool) -> Iterator[Alike]:
    groups: dict[object, Alike] = {}
    for change in changes.of(counts.sync):
        entry = groups.setdefault(_meaning(change, with_values=with_values), Alike())
        entry.rows += 1
        if len(entry.changes) < MOST_ALONE:
            entry.changes.append(change)
    for entry in groups.values():
        if entry.rows > MOST_ALONE:
            yield entry
        else:
            yield from (Alike(changes=[change], rows=1) for change in entry.changes)


def _meaning(change: Change, *, with_values: bool) -> object:
    """The same for two changes exactly where a plan shows the same of them, beside keys and ids."""
    if change.action is Action.CREATE:
        return change.id
    detail = (change.action, mask_ids(detail_of(change)))
    if not with_values:
        return detail
    parts = [(part.path, part.before, part.after) for part in render_parts(change)]
    return (*detail, *parts, *map(mask_ids, render_calls(change, [(path, after) for path, _, after in parts])))
