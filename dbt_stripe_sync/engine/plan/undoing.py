"""Plans how to reverse what a run changed, with the same kinds of changes as any plan.

First objects are restored, parents before children. Then what the run created is removed, children before parents.
Finally, the objects that replaced others end. What can't be undone is a problem of the plan.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby, islice
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.rules import Decision, Keep, Observed, Reject, Rules
from dbt_stripe_sync.engine.decide.undo import CANNOT_UNDO, DoneByRun, cannot, decide_undone
from dbt_stripe_sync.engine.payload.builder import PayloadBuilder
from dbt_stripe_sync.engine.payload.compare import same
from dbt_stripe_sync.engine.payload.layout import build_layout
from dbt_stripe_sync.engine.plan.asking import decide_in_rounds
from dbt_stripe_sync.engine.plan.finalization import Referrers
from dbt_stripe_sync.engine.plan.in_use import keep_while_in_use
from dbt_stripe_sync.engine.plan.observing import Observing
from dbt_stripe_sync.engine.plan.order import Order
from dbt_stripe_sync.engine.plan.ordering import follow_or_withhold
from dbt_stripe_sync.engine.plan.reads import read_together
from dbt_stripe_sync.engine.plan.references import ExistingObjects
from dbt_stripe_sync.engine.plan.settling import Settling, end_of, lane_of, settle_earlier
from dbt_stripe_sync.engine.plan.tally import Tally
from dbt_stripe_sync.engine.plan.too_early import keep_from_ending_early
from dbt_stripe_sync.engine.stage.workspace import Workspace
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.change import ENDS_FIRST, OWED_EARLIER, Action, Change, is_row
from dbt_stripe_sync.model.errors import Location, Problem
from dbt_stripe_sync.model.plan import SyncCounts, undone_creations

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Any

    from dbt_stripe_sync.engine.plan.plan_file import PlanWriter
    from dbt_stripe_sync.engine.ports import State, Stripe
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.params import Catalog
    from dbt_stripe_sync.model.plan import Plan
    from dbt_stripe_sync.model.record import Record
    from dbt_stripe_sync.model.run import Outcome
    from dbt_stripe_sync.model.sync import Sync

BATCH_ROWS = 200
CREATED = frozenset({Action.CREATE})
CHANGED = frozenset(Action) - CREATED


class UndoScope(Struct, frozen=True, kw_only=True):
    """The run to undo, and the selected syncs in the order of their references.

    `left_alone` names the other syncs of the project.
    """

    run_id: str
    syncs: Sequence[Sync]
    catalog: Catalog
    left_alone: frozenset[str] = frozenset()


class UndoMaker:
    """Makes one plan that undoes a run. It reads from Stripe, and writes only the plan file."""

    def __init__(self, scope: UndoScope, stripe: Stripe, state: State, clock: Clock, writer: PlanWriter) -> None:
        self._scope = scope
        self._stripe = stripe
        self._state = state
        self._clock = clock
        self._writer = writer
        self._workspace = Workspace(state.workspace)
        self._owed = state.owed()
        self._owed_targets = frozenset(step.target for step in self._owed)
        self._observing = Observing(
            workspace=self._workspace,
            stripe=stripe,
            existing=ExistingObjects(self._workspace, stripe, scope.catalog, clock),
            earlier=self._owed,
        )
        # A change with an unknown outcome has to be resolved by a run first.
        self._unsettled = frozenset((intent.change.sync, intent.change.key) for intent in state.open_intents())
        self._problems: list[Problem] = []
        users = {rule.resource for sync in scope.syncs for rule in self._lifecycle_of(sync).used_by}
        self._settling = Settling(workspace=self._workspace, writer=writer, earlier=(), users=frozenset(users))
        self._referrers = Referrers(workspace=self._workspace, parents=frozenset())
        # The rows whose replaced objects were restored by an undo that was interrupted.
        self._put_back: set[tuple[str, str]] = set()

    async def make(self) -> Plan:
        """Undo every sync of the run. Raises `SyncError`."""
        ran = self._state.syncs_of_run(self._scope.run_id)
        known = self._scope.left_alone.union(sync.name for sync in self._scope.syncs)
        self._problems += [_unknown_sync(name) for name in ran if name not in known]
        syncs = [sync for sync in self._scope.syncs if sync.name in ran]
        owing: dict[str, list[Change]] = {}
        restored: dict[str, Tally] = {}
        removed: dict[str, Tally] = {}
        for sync in syncs:
            owing[sync.name] = []
            restored[sync.name] = await self._plan_lane(sync, sync.name, CHANGED, owing[sync.name])
        for sync in reversed(syncs):
            removed[sync.name] = await self._plan_lane(sync, undone_creations(sync.name), CREATED, [])
        await self._keep_what_others_need(removed)
        self._problems += [problem for tally in (*restored.values(), *removed.values()) for problem in tally.problems]
        first = tuple(sync.name for sync in syncs)
        counts = [_counts(sync, sync.name, restored[sync.name], after=sync.depends_on) for sync in syncs]
        for sync in reversed(syncs):
            lane, tally = undone_creations(sync.name), removed[sync.name]
            children = tuple(undone_creations(other.name) for other in syncs if sync.name in other.depends_on)
            counts += [_counts(sync, lane, tally, after=(*first, *children))] if _rows(tally) else []
        for sync in syncs:
            ends = [*self._remaining_steps(sync.name), *map(end_of, owing[sync.name])]
            counts += [self._end_new(sync, ends, after=first)] if ends else []
        self._workspace.close()
        return self._writer.finish(counts, self._problems, state_serial=self._state.serial, reads=self._stripe.reads)

    async def _plan_lane(self, sync: Sync, lane: str, actions: frozenset[Action], owing: list[Change]) -> Tally:
        """Write the changes of one lane. `owing` receives those that owe the end of an object."""
        rules = self._rules(sync)
        tally = Tally()
        twice = self._state.changed_twice(self._scope.run_id, sync.name)
        outcomes = iter(self._state.succeeded_in(self._scope.run_id, sync.name, actions))
        while batch := list(islice(outcomes, BATCH_ROWS)):
            mine = [outcome for outcome in batch if self._is_undoable(rules, outcome, twice, tally)]
            decided = await self._decide(rules, mine, tally)
            self._note_referrers(sync, decided)
            for outcome in mine:
                decision = decided[outcome.change.key]
                self._take(decision, tally, owing)
                if isinstance(decision, Change) and actions is CREATED:
                    self._note_end(rules, decision)
                if outcome.change.action is Action.REPLACE and isinstance(decision, Keep):
                    self._put_back.add((sync.name, outcome.change.key))
        self._writer.end_sync(lane, keep=True)
        return tally

    def _note_referrers(self, sync: Sync, decided: Mapping[str, Decision]) -> None:
        """Note what becomes of some rows, for the objects that they refer to."""
        changes = [(key, decision) for key, decision in decided.items() if isinstance(decision, Change)]
        self._referrers.add(sync, [(key, None, change) for key, change in changes])

    def _note_end(self, rules: Rules, change: Change) -> None:
        """Note a change that ends the object that the run had created."""
        self._settling.note_end(change)
        self._settling.note_user(change)
        if rules.lifecycle.cuts_short:
            self._settling.cutting_short.append(change)
        if rules.lifecycle.used_by:
            self._settling.in_use.append(change)

    async def _keep_what_others_need(self, removed: Mapping[str, Tally]) -> None:
        """Keep new objects to which rows still refer, as every plan does, and end the others in order."""
        order = Order()
        follow_or_withhold(self._settling, self._scope.catalog, order)
        await keep_from_ending_early(self._settling, self._stripe, self._scope.catalog, order)
        await keep_while_in_use(self._settling, self._stripe, self._scope.catalog, order)
        syncs = {sync.name: sync for sync in self._scope.syncs}
        for change in self._writer.rewrite(order) if order else ():
            tally = removed[change.sync]
            tally.discount(change)
            rules = self._rules(syncs[change.sync])
            tally.count_rejected(cannot(rules, change.key, order.withheld[change.id].summary))

    def _lifecycle_of(self, sync: Sync) -> Lifecycle:
        return self._scope.catalog.resources[sync.resource].lifecycle

    def _rules(self, sync: Sync) -> Rules:
        layout, resource = build_layout(sync), self._scope.catalog.resources[sync.resource]
        builder = PayloadBuilder(sync, layout, resource)
        return Rules(sync=sync, resource=resource, layout=layout, builder=builder, now=self._clock.now())

    def _is_undoable(self, rules: Rules, outcome: Outcome, twice: AbstractSet[str], tally: Tally) -> bool:
        """Whether an outcome is a row's own change. All others are only reported if they can't be undone."""
        change = outcome.change
        reason = None
        if change.id.endswith(ENDS_FIRST):
            reason = f"{change.stripe_id} ended before a new object replaced it"
        elif change.id.endswith(OWED_EARLIER):
            reason = self._ended_later(change)
        elif not is_row(change) and not change.settles:
            reason = f"`{change.calls[-1].operation}` of {outcome.stripe_id} can't be reversed"
        elif is_row(change) and change.key in twice:
            reason = f"the run changed {outcome.stripe_id} more than once"
        elif is_row(change) and (change.sync, change.key) in self._unsettled:
            reason = "an earlier change of this row is unresolved; `dbt-stripe-sync run` settles it"
        if reason is not None:
            self._take(cannot(rules, change.key, reason), tally, [])
        # The end of its old object is an outcome of its own, with the reason.
        is_second_part = f"{change.id}{ENDS_FIRST}" in change.depends_on
        return reason is None and is_row(change) and not is_second_part

    def _ended_later(self, change: Change) -> str:
        """Why the end of a replaced object isn't undone here: that is a part of undoing the run that replaced it."""
        replaced_by = self._state.replaced_in(change.sync, change.key, str(change.stripe_id))
        if replaced_by is None:
            return f"{change.stripe_id} ended, which an earlier run had left to do"
        return f"{change.stripe_id} ended, which run {replaced_by} had left to do; `undo {replaced_by}` restores it"

    async def _decide(self, rules: Rules, outcomes: Sequence[Outcome], tally: Tally) -> Mapping[str, Decision]:
        written = self._state.written(rules.sync.name, [outcome.change.key for outcome in outcomes])
        done = {outcome.change.key: self._done(outcome, written.get(outcome.change.key)) for outcome in outcomes}
        replaced = [row for row in done.values() if row.change.action is Action.REPLACE]
        done |= {row.change.key: row for row in await read_together(self._with_former(rules, row) for row in replaced)}
        observed = {key: Observed() for key in done}
        decided: dict[str, Decision] = {}
        rounds = decide_in_rounds(
            observed,
            lambda key: decide_undone(rules, done[key], observed[key]),
            lambda asked, seen: self._observing.answer(rules, asked, seen, tally.notes),
        )
        async for fresh in rounds:
            decided |= fresh
        return decided

    def _done(self, outcome: Outcome, written: tuple[Record, str] | None) -> DoneByRun:
        change = outcome.change
        record, writer = written or (None, None)
        was_written = writer == self._scope.run_id
        return DoneByRun(
            run_id=self._scope.run_id,
            change=change,
            stripe_id=str(outcome.stripe_id),
            record=record,
            is_unchanged=was_written or (record is not None and same(record.params, change.desired)),
            is_owed=change.stripe_id in self._owed_targets,
        )

    async def _with_former(self, rules: Rules, done: DoneByRun) -> DoneByRun:
        """The same row, with the object that the run replaced as it is now."""
        call = Call(resource=rules.resource.name, operation="retrieve", target=done.change.stripe_id)
        async with self._observing.gate:
            answer = await self._stripe.send(call)
        # Without an answer, it isn't known that there is no object.
        unseen: Mapping[str, Any] | None = {} if answer.is_missing else None
        return replace(done, former=answer.body if answer.verdict is Verdict.DONE else unseen)

    def _take(self, decision: Decision, tally: Tally, owing: list[Change]) -> None:
        if isinstance(decision, Reject):
            tally.count_rejected(decision)
        elif isinstance(decision, Change):
            self._writer.add(decision)
            tally.count_change(decision)
            owing += [decision] if decision.owes else []
        else:
            tally.same += 1

    def _remaining_steps(self, sync: str) -> Iterator[Change]:
        """The steps that an interrupted undo still owes."""
        mine = [step for step in self._owed if step.sync == sync and (sync, step.key) in self._put_back]
        for _, steps in groupby(sorted(mine, key=lambda step: step.key), key=lambda step: step.key):
            yield settle_earlier(list(steps))

    def _end_new(self, sync: Sync, ends: Sequence[Change], *, after: tuple[str, ...]) -> SyncCounts:
        """The ends of the new objects, once the replaced ones are back and nothing refers to the new ones."""
        for end in ends:
            self._writer.add(end)
        self._writer.end_sync(lane_of(sync.name), keep=True)
        return SyncCounts(
            sync=lane_of(sync.name),
            part_of=sync.name,
            model=sync.model.name,
            resource=ends[0].resource,
            rows=len(ends),
            by_action=Counter(end.action.value for end in ends),
            calls=sum(len(end.calls) for end in ends),
            after=after,
        )


def _counts(sync: Sync, lane: str, tally: Tally, *, after: Sequence[str]) -> SyncCounts:
    return SyncCounts(
        sync=lane,
        part_of=None if lane == sync.name else sync.name,
        model=sync.model.name,
        resource=sync.resource,
        rows=_rows(tally),
        same=tally.same,
        rejected=tally.rejected,
        by_action=dict(tally.actions),
        kinds=dict(tally.kinds),
        calls=tally.calls,
        after=tuple(after),
    )


def _rows(tally: Tally) -> int:
    return tally.same + tally.rejected + tally.actions.total()


def _unknown_sync(name: str) -> Problem:
    return Problem(
        code=CANNOT_UNDO,
        summary=f"the project no longer has the sync `{name}`, or disables it, so its objects stay unchanged",
        where=Location(sync=name),
        hint="put the sync back, or undo the run from the version of the project that it ran with",
    )
