"""One sync's share of a plan: its rows staged, compared, matched with what is in Stripe, and turned into changes."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dbt_stripe_sync.engine.decide.changes import Decision, Rules, bulk_of
from dbt_stripe_sync.engine.decide.deciding import decide_ignored, decide_present, decide_removed
from dbt_stripe_sync.engine.decide.replacing import may_replace
from dbt_stripe_sync.engine.payload.builder import PayloadBuilder, pending_id
from dbt_stripe_sync.engine.plan.behind import Behind
from dbt_stripe_sync.engine.plan.completing import Completer
from dbt_stripe_sync.engine.plan.guards import (
    check_empty,
    check_keys,
    check_limits,
    count_removals,
    is_agreement_needed,
)
from dbt_stripe_sync.engine.plan.matching import Matcher, not_asked
from dbt_stripe_sync.engine.plan.references import TAG_FIELD
from dbt_stripe_sync.engine.stage.diff import Kind, find_differences, read_differences
from dbt_stripe_sync.engine.stage.extract import HeardRows, Staged, load_rows
from dbt_stripe_sync.engine.stage.layout import build_layout
from dbt_stripe_sync.engine.stage.linking import link_rows
from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.lifecycle import Removal, stays_when_replaced
from dbt_stripe_sync.model.plan import SyncCounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.engine.plan.finishing import Referrers
    from dbt_stripe_sync.engine.plan.matching import Matching
    from dbt_stripe_sync.engine.plan.plan_file import PlanWriter
    from dbt_stripe_sync.engine.plan.references import Found
    from dbt_stripe_sync.engine.ports import RowProgress, State, Stripe, Warehouse
    from dbt_stripe_sync.engine.stage.diff import DiffCounts, RowDiff
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.fingerprints import Fingerprints
    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.params import Resource
    from dbt_stripe_sync.model.record import Record
    from dbt_stripe_sync.model.sync import Sync

# A model in which every row is wrong must not fill the memory: further problems are counted, not kept.
MOST_PROBLEMS = 10_000
_PLANNED = pa.schema([("sync", pa.string()), ("key", pa.string()), ("id", pa.string()), ("former", pa.string())])


@dataclass(slots=True, kw_only=True)
class Planning:
    """What the syncs of one plan share.

    `referenced` names the syncs whose ids others need; `room` is the number of changes left.
    """

    workspace: Workspace
    warehouse: Warehouse
    stripe: Stripe
    state: State
    fingerprints: Fingerprints
    matching: Matching
    clock: Clock
    writer: PlanWriter
    run_id: str
    referenced: frozenset[str]
    referrers: Referrers
    progress: RowProgress
    room: int | None = None
    staged: int = 0


@dataclass(slots=True, kw_only=True)
class _Found:
    """What one sync's rows came to so far."""

    actions: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    rejected: int = 0
    same: int = 0
    calls: int = 0
    in_bulk: int = 0
    rejected_keys: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncPlan:
    """A sync's counts and everything that is wrong with its rows.

    `rejected_keys` are those that can't be sent, or are not looked at though they differ.
    """

    staged: Staged
    counts: SyncCounts
    problems: tuple[Problem, ...]
    rejected_keys: frozenset[str]


async def plan_sync(
    planning: Planning,
    sync: Sync,
    resource: Resource,
    lifecycle: Lifecycle,
    *,
    recheck: bool,
    only: frozenset[str] | None = None,
) -> SyncPlan:
    """Write the changes of one sync to the plan, and say what was found.

    `recheck` compares every row by its parameters; `only` leaves rows with other keys alone.
    Raises `WarehouseError`, `StripeError` and `StateError`.
    """
    planning.staged += 1
    salt = planning.fingerprints.source_salt(sync.name)
    staged = Staged(sync=sync, layout=build_layout(sync), number=planning.staged, salt=salt)
    started = perf_counter()
    heard = HeardRows(planning.warehouse, planning.progress)
    rows = await asyncio.to_thread(load_rows, planning.workspace, staged, heard)
    read = perf_counter()
    found = _Found()
    for note in await planning.matching.existing.resolve_lookups(staged):
        found.notes[note] += 1
    link_rows(planning.workspace, staged)
    counts = find_differences(planning.workspace, staged, recheck=recheck, only=only)
    found.same = counts.same
    if only is not None:
        found.notes["only what an earlier run left undone is looked at"] += 1
    held = [*check_empty(planning.workspace, staged, counts)]
    found.problems += check_keys(planning.workspace, staged, counts)
    found.rejected = counts.null_keys + counts.duplicate_rows
    if not held:
        rules = Rules(
            sync=sync,
            resource=resource,
            lifecycle=lifecycle,
            mapped=frozenset(mapping.path for mapping in sync.fields),
            now=planning.clock.now(),
        )
        await Behind(planning.workspace, planning.stripe, planning.state).check(
            sync,
            resource,
            makes_new=counts.kinds[Kind.NEW] > 0,
            may_replace=counts.kinds[Kind.CHANGED] > 0 and may_replace(sync, lifecycle),
        )
        await _SyncPlanner(planning, rules, staged, found).plan_rows(counts)
        bulk = bulk_of(sync, lifecycle)
        if bulk is not None and found.in_bulk:
            found.calls += ceil(found.in_bulk / bulk.most)
            found.notes[bulk.note] += 1
        held += _check_limits(sync, lifecycle, found, counts)
    await asyncio.to_thread(planning.writer.end_sync, sync.name, keep=not held)
    if held:
        planning.workspace.execute("DELETE FROM work.planned WHERE sync = $sync", {"sync": sync.name})
    if planning.referrers.concern(sync):
        planning.referrers.add_unkeyed(staged)
        if only is not None:
            planning.referrers.add_left_out(staged)
    if only is not None and sync.name in planning.referrers.parents:
        found.rejected_keys |= {key for (key,) in planning.workspace.all(f"SELECT key FROM {staged.left_out}")}
    return SyncPlan(
        staged=staged,
        rejected_keys=frozenset(found.rejected_keys),
        counts=SyncCounts(
            sync=sync.name,
            model=sync.model.name,
            resource=sync.resource,
            rows=rows,
            same=found.same,
            rejected=found.rejected,
            held=held[0].summary if held else None,
            by_action={} if held else dict(found.actions),
            calls=0 if held else found.calls,
            read_seconds=read - started,
            diff_seconds=perf_counter() - read,
            notes=tuple(_told(note, count) for note, count in found.notes.items()),
            after=sync.after,
        ),
        problems=(*held, *found.problems),
    )


def _check_limits(sync: Sync, lifecycle: Lifecycle, found: _Found, counts: DiffCounts) -> list[Problem]:
    removed = count_removals(found.actions)
    if removed and is_agreement_needed(sync, lifecycle):
        note = f"`{sync.on_removed.value}` can't be undone: `run` asks first, or takes `--yes` for an answer"
        found.notes[note] += 1
    return list(
        check_limits(
            sync,
            changes=sum(found.actions.values()),
            removed=removed,
            rejected=found.rejected,
            records=counts.records,
        )
    )


def _told(note: str, count: int) -> str:
    return f"{count:,} rows: {note}" if note.startswith("its ") or "row" in note else note


class _SyncPlanner:
    """Turns the differences of one sync into changes, batch by batch."""

    def __init__(self, planning: Planning, rules: Rules, staged: Staged, found: _Found) -> None:
        self._planning = planning
        self._rules = rules
        self._staged = staged
        self._found = found
        self._builder = PayloadBuilder(rules.sync, staged.layout, rules.resource)
        self._completer = Completer(planning.stripe, rules, staged.layout, self._builder)

    async def plan_rows(self, counts: DiffCounts) -> None:
        """Decide on every row that differs."""
        if not any(counts.kinds.values()):
            return
        matcher = Matcher(self._planning.matching, self._rules, self._staged.layout, self._builder)
        for batch in read_differences(self._planning.workspace, self._staged, self._planning.fingerprints):
            matches = await matcher.match([diff for diff in batch if diff.kind is Kind.NEW], self._found.notes)
            bodies = await self._completer.bodies(batch, self._found.notes)
            decisions = [
                self._decide(diff, bodies)
                if diff.key not in matches
                else self._decide_new(diff, matcher, matches[diff.key])
                for diff in batch
            ]
            incomplete = [index for index, decision in enumerate(decisions) if self._completer.needs_object(decision)]
            completed = await asyncio.gather(
                *(self._completer.with_object(batch[index], decisions[index]) for index in incomplete)
            )
            for index, decision in zip(incomplete, completed, strict=True):
                decisions[index] = decision
            self._take(decisions)
            self._note_referrers(batch, decisions)
            self._planning.progress.rows_compared(len(batch))
            # Answers are read and pages are listed while a long table is planned.
            await asyncio.sleep(0)

    def _decide_new(self, diff: RowDiff, matcher: Matcher, match: Found) -> Decision:
        """A row without a record, for which Stripe has objects or could not be asked."""
        chosen = not_asked(self._rules, diff) if match.failed else matcher.choose(diff, match)
        if isinstance(chosen, Problem):
            return Decision(problems=(chosen,))
        if match.by == TAG_FIELD and stays_when_replaced(self._rules.lifecycle):
            # A run that was killed before it took the tag from what it had replaced: somebody may keep that.
            ids = [str(body["id"]) for body in match.objects if body["id"] != chosen.body["id"]]
            self._planning.state.add_former_ids([(self._rules.sync.name, diff.key, found_id) for found_id in ids])
        return decide_present(self._rules, diff, self._builder.build(diff.key, diff.row), chosen)

    def _decide(self, diff: RowDiff, bodies: Mapping[str, Any]) -> Decision:
        if self._completer.is_body_needed(diff) and diff.key not in bodies:
            return Decision(problems=(not_asked(self._rules, diff),))
        body = bodies.get(diff.key)
        if diff.kind is Kind.REMOVED:
            ignored = self._rules.sync.on_removed is Removal.IGNORE
            return decide_ignored(self._rules, diff) if ignored else decide_removed(self._rules, diff, body)
        return decide_present(self._rules, diff, self._builder.build(diff.key, diff.row), None, body)

    def _take(self, decisions: Sequence[Decision]) -> None:
        changes: list[Change] = []
        records: list[Record] = []
        for decision in decisions:
            if decision.problems:
                self._found.rejected += 1
                if len(self._found.problems) < MOST_PROBLEMS:
                    self._found.problems += decision.problems
            elif decision.change is not None:
                self._add(decision.change, changes)
            elif decision.record is not None:
                self._found.same += 1
                records.append(decision.record)
            elif decision.kept is not None:
                self._found.notes[decision.kept] += 1
        if records:
            self._planning.state.put_records(records, self._planning.run_id)
        if changes and self._rules.sync.name in self._planning.referenced:
            self._publish(changes)

    def _note_referrers(self, diffs: Sequence[RowDiff], decisions: Sequence[Decision]) -> None:
        referrers, sync = self._planning.referrers, self._rules.sync
        pairs = [(diff, decision) for diff, decision in zip(diffs, decisions, strict=True)]
        if sync.name in referrers.parents:
            self._found.rejected_keys |= {diff.key for diff, decision in pairs if decision.problems}
        if referrers.concern(sync):
            wanted = [(diff, decision) for diff, decision in pairs if decision.change or decision.problems]
            referrers.add([(diff.refs, d.change.id if d.change and not d.problems else None) for diff, d in wanted])

    def _add(self, change: Change, changes: list[Change]) -> None:
        planning = self._planning
        if planning.room is not None:
            if planning.room <= 0:
                self._found.notes["left for later by --limit"] += 1
                return
            planning.room -= 1
        planning.writer.add(change)
        changes.append(change)
        self._found.actions[change.action.value] += 1
        for call in change.calls:
            self._found.in_bulk += call.in_bulk
            self._found.calls += not call.in_bulk

    def _publish(self, changes: Sequence[Change]) -> None:
        """Tell the syncs that refer to this one which ids are to come, and which are to go."""
        rows = [
            (change.sync, change.key, None if change.gone else _id_to_come(change), _id_before(change))
            for change in changes
            if change.gone or change.action in {Action.CREATE, Action.REPLACE, Action.ADOPT}
        ]
        if rows:
            columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
            table = pa.table(columns, schema=_PLANNED)
            self._planning.workspace.fill("INSERT INTO work.planned SELECT * FROM incoming", table.to_reader())


def _id_before(change: Change) -> str | None:
    return change.stripe_id if change.action is Action.REPLACE else None


def _id_to_come(change: Change) -> str | None:
    return change.stripe_id if change.action is Action.ADOPT else pending_id(change.sync, change.key)
