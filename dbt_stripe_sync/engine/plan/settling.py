"""Plans owed steps: the ends of objects that this plan replaces, and the steps that earlier runs still owe.

They come after every sync, in a lane for each sync. An object ends once the new one exists and all rows that referred
to the old one have moved. If one of those changes can't be sent, the end is held back and stays owed.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from typing import TYPE_CHECKING

import pyarrow as pa
from msgspec import Struct, field
from msgspec.structs import replace

from dbt_stripe_sync.engine.payload.builder import pending_id
from dbt_stripe_sync.model.change import OWED_EARLIER, OWED_NOW, Action, Change, PlannedCall, change_id
from dbt_stripe_sync.model.plan import Note, SyncCounts
from dbt_stripe_sync.model.sql import ID_SEPARATOR
from dbt_stripe_sync.model.tables import build_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.plan.order import Order
    from dbt_stripe_sync.engine.plan.plan_file import PlanWriter
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.change import Owed, Params
    from dbt_stripe_sync.model.sync import Sync

_ENDS = pa.schema([("target", pa.string())])


class Referrer(Struct, frozen=True, kw_only=True):
    """A row whose record refers to an object that will end.

    `change_id` is None if it isn't sent. `is_planned` says whether the plan has a change for the row, `ends` whether
    that permanently ends its own object, a `resource`. `ends_first` is None unless the change replaces that object; it
    says whether the object ends before the new one is created.
    """

    sync: str
    key: str
    change_id: str | None
    is_planned: bool
    resource: str
    ends: bool
    ends_first: bool | None = None


class Settling(Struct, kw_only=True):
    """Plans owed steps, with what it needs to know about the changes of the plan.

    - `of_changes` collects what the changes of this plan will owe, by sync.
    - `replaced` are the replacements, and `removed` the removals, whose objects rows of other syncs refer to.
    - `cutting_short` are removals that immediately affect another object, `in_use` those whose objects others may still
      need.
    - `ends` says of each change that does owed steps whether it is in the plan, once they are planned.
    - `freed` are the objects of owed steps, by resource and id, whose id a change of this plan takes, so that they end
      before it.
    - `users` are the resources that may need them, and `users_ending` the removals of such objects, by their row.
    """

    workspace: Workspace
    writer: PlanWriter
    earlier: Sequence[Owed]
    of_changes: defaultdict[str, list[Change]] = field(default_factory=lambda: defaultdict(list))
    moves: defaultdict[str, list[PlannedCall]] = field(default_factory=lambda: defaultdict(list))
    replaced: list[Change] = field(default_factory=list)
    removed: list[Change] = field(default_factory=list)
    cutting_short: list[Change] = field(default_factory=list)
    in_use: list[Change] = field(default_factory=list)
    ends: dict[str, bool] = field(default_factory=dict)
    freed: set[tuple[str, str]] = field(default_factory=set)
    users: frozenset[str] = frozenset()
    users_ending: dict[tuple[str, str], Change] = field(default_factory=dict)

    @property
    def syncs(self) -> frozenset[str]:
        """The syncs that owe steps, so far."""
        return frozenset({*self.of_changes, *(step.sync for step in self.earlier)})

    @property
    def ending(self) -> frozenset[str]:
        """The syncs with objects that this plan ends."""
        return self.syncs | {change.sync for change in (*self.replaced, *self.removed)}

    def move_first(self, step: Owed, resource: str, holder: str, params: Params) -> None:
        """Before a step ends an object, make its holder refer to another object."""
        self.moves[step.id].append(PlannedCall(operation="update", target=holder, params=params, resource=resource))

    def note(self, change: Change) -> None:
        """Note a change that will owe a step once its object exists."""
        if change.owes:
            self.of_changes[change.sync].append(change)

    def note_end(self, change: Change) -> None:
        """Note a change that ends an object to which rows of other syncs may refer."""
        if change.action is Action.REPLACE:
            self.replaced.append(change)
        elif change.removed:
            self.removed.append(change)

    def note_user(self, change: Change) -> None:
        """Note the end of an object that may need another one until then."""
        if change.removed and change.resource in self.users:
            self.users_ending[change.sync, change.key] = change

    def forget(self, sync: str) -> None:
        """Forget the changes of a sync that is held back."""
        self.of_changes.pop(sync, None)
        for noted in (self.replaced, self.removed, self.cutting_short, self.in_use):
            noted[:] = [change for change in noted if change.sync != sync]
        self.users_ending = {row: change for row, change in self.users_ending.items() if change.sync != sync}

    def reorder(self, order: Order) -> None:
        """Forget changes that are withheld, and objects that end before their replacement is created."""
        for name, changes in list(self.of_changes.items()):
            kept = [part for change in changes for part in order.apply_to(change) if part.owes and not part.settles]
            self.of_changes[name] = kept
            if not kept:
                del self.of_changes[name]

    def plan(self, syncs: Sequence[Sync]) -> list[SyncCounts]:
        """Write the changes, and return their counts."""
        by_name = {sync.name: sync for sync in syncs}
        referrers = self.referrers_to([*self._targets()])
        names = sorted(self.syncs, key=[*by_name, *sorted(self.syncs)].index)
        return [self._plan_sync(name, by_name.get(name), referrers) for name in names]

    def earlier_of(self, syncs: Iterable[str]) -> Iterator[Change]:
        """The changes that do what earlier runs owe for some syncs."""
        for sync in syncs:
            yield from self._earlier(sync)

    def referrers_of(self, changes: Sequence[Change]) -> Mapping[str, Sequence[Referrer]]:
        """The rows whose records refer to the objects of some changes, by the objects' ids."""
        return self.referrers_to([change.stripe_id for change in changes if change.stripe_id is not None])

    def in_use_now(self, steps: Sequence[Owed]) -> frozenset[tuple[str, str]]:
        """The objects, by resource and id, that are a row's own although steps would end them.

        An id alone isn't enough: a coupon and a plan may have the same id of the user's own.
        """
        rows = self.workspace.all(
            "SELECT resource, stripe_id FROM known_records WHERE NOT removed AND stripe_id IN (SELECT unnest($ids))",
            {"ids": [step.target for step in steps]},
        )
        return frozenset(rows)

    def moving_to(self, changes: Sequence[Change]) -> Mapping[str, frozenset[tuple[str, str]]]:
        """The rows whose changes refer to the new objects of some replacements, by the replacement's id."""
        parents = {pending_id(change.sync, change.key): change.id for change in changes}
        if not parents:
            return {}
        rows = self.workspace.all(
            "SELECT DISTINCT parent, sync, key FROM work.referrers "
            "WHERE change_id IS NOT NULL AND parent IN (SELECT unnest($ids))",
            {"ids": list(parents)},
        )
        found: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        for parent, sync, key in rows:
            found[parents[parent]].add((sync, key))
        return {change: frozenset(keys) for change, keys in found.items()}

    def _plan_sync(self, name: str, sync: Sync | None, referrers: Mapping[str, Sequence[Referrer]]) -> SyncCounts:
        actions: defaultdict[str, int] = defaultdict(int)
        held: defaultdict[str, int] = defaultdict(int)
        calls = 0
        changes = [*self._earlier(name), *(end_of(change) for change in self.of_changes.get(name, ()))]
        in_use = self.in_use_now([step for step in self.earlier if step.sync == name])
        for planned in changes:
            self.ends[planned.id] = False
            change = planned if planned.depends_on else _without_ends_of(planned, in_use)
            if change is not planned:
                held["held back: a row uses the object again; `state settle` drops the step"] += 1
            if change is None:
                continue
            targets = [str(call.target) for call in change.calls]
            # Rows that refer to an object whose id is taken move to the new one afterwards.
            waits = self.freed.isdisjoint(_target_of(change, call) for call in change.calls)
            of_target = [referrer for target in targets if waits for referrer in referrers.get(target, ())]
            rejected = next((r for r in of_target if r.is_planned and r.change_id is None), None)
            if rejected is not None:
                held[f"held back: row [{rejected.key}] of `{rejected.sync}` refers to it and can't be sent"] += 1
                continue
            movers = dict.fromkeys(referrer.change_id for referrer in of_target if referrer.change_id is not None)
            self.writer.add(change if not movers else _after(change, movers))
            self.ends[change.id] = change is planned
            actions[change.action.value] += 1
            calls += len(change.calls)
        self.writer.end_sync(lane_of(name), keep=True)
        return SyncCounts(
            sync=lane_of(name),
            part_of=name,
            model=sync.model.name if sync is not None else "",
            resource=changes[0].resource,
            rows=len(changes),
            by_action=actions,
            calls=calls,
            notes=tuple(Note(text=text, rows=rows) for text, rows in held.items()),
        )

    def _earlier(self, sync: str) -> Iterator[Change]:
        mine = [step for step in self.earlier if step.sync == sync]
        for _, steps in groupby(sorted(mine, key=lambda step: step.key), key=lambda step: step.key):
            owed = list(steps)
            change = settle_earlier(owed)
            moves = tuple(move for step in owed for move in self.moves.get(step.id, ()))
            yield replace(change, calls=(*moves, *change.calls), settles=(*("" for _ in moves), *change.settles))

    def referrers_to(self, targets: Sequence[str]) -> dict[str, list[Referrer]]:
        """The rows whose records refer to some objects that will end, by the objects' ids."""
        if not targets:
            return {}
        self.workspace.fill(
            "CREATE OR REPLACE TABLE work.ending AS SELECT DISTINCT target FROM incoming",
            build_table(_ENDS, [(target,) for target in targets]).to_reader,
        )
        rows = self.workspace.all(
            """
            SELECT e.target, r.sync, r.key, any_value(p.change_id), count(p.sync) > 0, any_value(r.resource),
                   coalesce(bool_or(p.ends), false), bool_or(p.ends_first)
            FROM (SELECT sync, key, resource, unnest(string_split(refs, $separator)) AS id FROM known_records
                  WHERE refs IS NOT NULL AND NOT removed) AS r
            JOIN work.ending AS e ON e.target = r.id
            LEFT JOIN work.referrers AS p ON p.sync = r.sync AND p.key = r.key
            GROUP BY e.target, r.sync, r.key ORDER BY r.sync, r.key
            """,
            {"separator": ID_SEPARATOR},
        )
        found: defaultdict[str, list[Referrer]] = defaultdict(list)
        for target, *values in rows:
            found[target].append(Referrer(**dict(zip(Referrer.__struct_fields__, values, strict=True))))
        return found

    def _targets(self) -> Iterator[str]:
        for step in self.earlier:
            yield step.target
        for changes in self.of_changes.values():
            yield from (step.target for change in changes for step in change.owes)


def lane_of(sync: str) -> str:
    """The lane of a plan in which a sync's owed steps are done."""
    return f"{sync}: owed"


def id_of_end(change: str) -> str:
    """The id of the change that does the step that another change will owe."""
    return f"{change}{OWED_NOW}"


def end_of(change: Change) -> Change:
    """The change that does the step that another change will owe."""
    return _settle(id_of_end(change.id), change.owes, depends_on=(change.id,), reason=change.owes[-1].reason)


def settle_earlier(owed: Sequence[Owed]) -> Change:
    """The change that does the steps that earlier runs still owe for a row."""
    return _settle(id_of_earlier(owed[-1]), owed, depends_on=(), reason=owed[-1].reason)


def id_of_earlier(step: Owed) -> str:
    """The id of the change that does the steps that earlier runs still owe for the row of a step."""
    return f"{change_id(step.sync, step.key)}{OWED_EARLIER}"


def _settle(id_: str, owed: Sequence[Owed], *, depends_on: tuple[str, ...], reason: str) -> Change:
    last = owed[-1]
    return Change(
        id=id_,
        action=last.action,
        sync=last.sync,
        key=last.key,
        resource=last.resource,
        stripe_id=last.target,
        calls=tuple(
            PlannedCall(
                operation=step.operation,
                target=step.target,
                params=step.params,
                resource=None if step.resource == last.resource else step.resource,
            )
            for step in owed
        ),
        desired={},
        changed=(),
        depends_on=depends_on,
        source_hash=None,
        refs=None,
        reason=reason,
        settles=tuple(step.id for step in owed),
    )


def _target_of(change: Change, call: PlannedCall) -> tuple[str, str]:
    """The object of one of a change's calls, by resource and id."""
    return call.resource or change.resource, str(call.target)


def _without_ends_of(change: Change, in_use: frozenset[tuple[str, str]]) -> Change | None:
    """The same steps without the ends of some objects, and without what comes before each; None if nothing is left."""
    kept: list[tuple[PlannedCall, str]] = []
    steps: list[tuple[PlannedCall, str]] = []
    for call, id_ in zip(change.calls, change.settles, strict=True):
        steps.append((call, id_))
        # It begins with the name that the sync had then, and ends with a parameter for what comes before.
        if id_.endswith(f"!{call.target}"):
            kept += [] if _target_of(change, call) in in_use else steps
            steps = []
    kept += steps
    if len(kept) == len(change.calls):
        return change
    calls, settles = tuple(call for call, _ in kept), tuple(id_ for _, id_ in kept)
    return replace(change, stripe_id=str(calls[-1].target), calls=calls, settles=settles) if kept else None


def _after(change: Change, others: Iterable[str]) -> Change:
    return replace(change, depends_on=tuple(dict.fromkeys((*change.depends_on, *others))))
