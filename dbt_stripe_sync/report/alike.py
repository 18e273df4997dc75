"""Groups a sync's changes that do the same to many rows into one entry, so that every kind of change is shown."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct, field

from dbt_stripe_sync.model.change import Action, kind_of, other_kind
from dbt_stripe_sync.report.call_text import render_calls
from dbt_stripe_sync.report.plan_words import BY_RISK, detail_of
from dbt_stripe_sync.report.value_text import render_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.plan import Changes, SyncCounts

# Up to this many equal changes are shown one by one.
MOST_ALONE = 5
# Of a kind that can be undone, up to this many are all shown, and otherwise some examples.
FEW = 10
EXAMPLES = 5
MANY = frozenset({Action.CREATE.value, Action.UPDATE.value, Action.ADOPT.value})
# Past this many changes, those of a sync are not compared with each other, to limit memory.
MOST_COMPARED = 5_000
# An object's own id, such as that of an updated item, differs in each change.
_ID = re.compile(r"\b([a-z]{2,8})_(?:test_|live_)?[A-Za-z0-9]{8,}\b")


class Alike(Struct, kw_only=True):
    """Changes that do the same. `changes` has the first ones."""

    changes: list[Change] = field(default_factory=list)
    rows: int = 0

    @property
    def first(self) -> Change:
        """The change that represents all of them."""
        return self.changes[0]


def pick_alike(changes: Changes, counts: SyncCounts, most: int, *, with_values: bool) -> tuple[list[Alike], int]:
    """At most `most` entries of a sync in the order of their keys, and how many rows are left.

    It includes each action, and at least one change of each kind, even if there are more kinds than `most`.
    """
    total = sum(counts.by_action.values())
    if total > MOST_COMPARED:
        picked = [Alike(changes=[change], rows=1) for change in pick_changes(changes, counts, most)]
        return picked, total - len(picked)
    entries = list(_entries(changes, counts, with_values=with_values))
    room = _room(Counter(kind_of(entry.first) for entry in entries), most)
    picked = []
    for entry in entries:
        if room[kind_of(entry.first)] > 0:
            room[kind_of(entry.first)] -= 1
            picked.append(entry)
    return picked, total - sum(entry.rows for entry in picked)


def pick_changes(changes: Changes, counts: SyncCounts, most: int) -> list[Change]:
    """At most `most` changes of a sync in the order of their keys, and at least one of each kind.

    Reading stops as soon as they are found.
    """
    room = _room(counts.kinds or counts.by_action, most)
    picked: list[Change] = []
    for change in changes.of(counts.sync):
        names = (kind_of(change), other_kind(change), change.action.value)
        kind = next((name for name in names if name in room), None)
        if kind is not None and room[kind] > 0:
            room[kind] -= 1
            picked.append(change)
            if not any(room.values()):
                break
    return picked


def _room(kinds: Mapping[str, int], most: int) -> dict[str, int]:
    """How many changes of each kind a terminal shows as examples."""
    return {
        kind: min(share, EXAMPLES) if kinds[kind] > FEW and kind.partition(" ")[0] in MANY else share
        for kind, share in shares(kinds, most).items()
    }


def shares(kinds: Mapping[str, int], most: int) -> dict[str, int]:
    """How many changes of each kind are shown: one of each, then equal shares, starting with what can't be undone.

    If a kind needs less than its share, the rest goes to the next.
    """
    order = {action.value: place for place, action in enumerate(BY_RISK)}
    left = {kind: kinds[kind] for kind in sorted(kinds, key=lambda kind: order[kind.partition(" ")[0]]) if kinds[kind]}
    given_out = dict.fromkeys(left, 1)
    most -= len(left)
    open_kinds = [kind for kind in left if left[kind] > 1]
    while open_kinds and most > 0:
        share = max(1, most // len(open_kinds))
        for kind in open_kinds:
            given = min(share, left[kind] - given_out[kind], most)
            given_out[kind] += given
            most -= given
        open_kinds = [kind for kind in open_kinds if given_out[kind] < left[kind]]
    return given_out


def mask_ids(text: str) -> str:
    """A text with each object's id replaced by the id's kind."""
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
    """A value that is equal for two changes exactly if a plan shows the same for both, apart from keys and ids."""
    if change.action is Action.CREATE:
        return change.id
    detail = (change.action, mask_ids(detail_of(change)))
    if not with_values:
        return detail
    parts = [(part.path, part.before, part.after) for part in render_parts(change)]
    return (*detail, *parts, *map(mask_ids, render_calls(change, [(path, after) for path, _, after in parts])))
