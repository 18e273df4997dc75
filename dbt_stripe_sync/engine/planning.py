"""One sync's share of a plan: its rows staged, compared, matched with what is in Stripe, and turned into changes."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dbt_stripe_sync.engine.changes import (
    Decision,
    Existing,
    Rules,
    bulk_of,
    decide_ignored,
    decide_present,
    decide_removed,
    end_replaced,
    needs_body,
    needs_body_back,
)
from dbt_stripe_sync.engine.diff import Kind, find_differences, read_differences, read_forgotten
from dbt_stripe_sync.engine.extract import HeardRows, Staged, load_rows
from dbt_stripe_sync.engine.fixed import keep_fixed, may_be_fixed
from dbt_stripe_sync.engine.guards import check_empty, check_keys, check_limits, count_removals, is_agreement_needed
from dbt_stripe_sync.engine.items import emptying_of, match_items
from dbt_stripe_sync.engine.layout import build_layout
from dbt_stripe_sync.engine.linking import keeps, link_rows
from dbt_stripe_sync.engine.payload import PayloadBuilder, pending_id
from dbt_stripe_sync.engine.references import TAG_FIELD
from dbt_stripe_sync.engine.types import Action, OnAmbiguous, SyncCounts
from dbt_stripe_sync.errors import Problem
from dbt_stripe_sync.stripe_api.calls import Call, Verdict
from dbt_stripe_sync.stripe_api.lifecycle import ByStatus, Mode, Removal
from dbt_stripe_sync.stripe_api.tag import build_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.engine.diff import DiffCounts, RowDiff
    from dbt_stripe_sync.engine.fingerprints import Fingerprints
    from dbt_stripe_sync.engine.finishing import Referrers
    from dbt_stripe_sync.engine.plan import PlanWriter
    from dbt_stripe_sync.engine.ports import Clock, RowProgress, State, Stripe, Warehouse
    from dbt_stripe_sync.engine.references import ExistingObjects, Found
    from dbt_stripe_sync.engine.types import Change, Record, Sync
    from dbt_stripe_sync.engine.workspace import Workspace
    from dbt_stripe_sync.stripe_api.calls import Answer
    from dbt_stripe_sync.stripe_api.catalog import Resource
    from dbt_stripe_sync.stripe_api.lifecycle import ItemList, Lifecycle

# A model in which every row is wrong must not fill the memory: further problems are counted, not kept.
MOST_PROBLEMS = 10_000
_PLANNED = pa.schema([("sync", pa.string()), ("key", pa.string()), ("id", pa.string())])


@dataclass(slots=True, kw_only=True)
class Planning:
    """What the syncs of one plan share.

    `referenced` names the syncs whose ids others need; `claimed` has the row of each object that was found; `room` is
    the number of changes left.
    """

    workspace: Workspace
    warehouse: Warehouse
    stripe: Stripe
    state: State
    fingerprints: Fingerprints
    existing: ExistingObjects
    clock: Clock
    writer: PlanWriter
    run_id: str
    referenced: frozenset[str]
    referrers: Referrers
    progress: RowProgress
    claimed: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
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
    """A sync's counts and everything that is wrong with its rows."""

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
    for note in await planning.existing.resolve_lookups(staged):
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
        await _SyncPlanner(planning, rules, staged, found).plan_rows(counts)
        bulk = bulk_of(sync, lifecycle)
        if bulk is not None and found.in_bulk:
            found.calls += ceil(found.in_bulk / bulk.most)
            found.notes[bulk.note] += 1
        held += _check_limits(sync, found, counts)
    await asyncio.to_thread(planning.writer.end_sync, sync.name, keep=not held)
    if held:
        planning.workspace.execute("DELETE FROM work.planned WHERE sync = $sync", {"sync": sync.name})
    if planning.referrers.concern(sync):
        planning.referrers.add_unkeyed(staged)
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


def _check_limits(sync: Sync, found: _Found, counts: DiffCounts) -> list[Problem]:
    removed = count_removals(found.actions)
    if removed and is_agreement_needed(sync):
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
        self._is_first = False
        self._forgotten: frozenset[str] = frozenset()

    async def plan_rows(self, counts: DiffCounts) -> None:
        """Decide on every row that differs."""
        self._is_first = not self._planning.workspace.one(
            "SELECT count(*) FROM records WHERE sync = $sync", {"sync": self._rules.sync.name}
        )[0]
        if not any(counts.kinds.values()):
            return
        self._forgotten = read_forgotten(self._planning.workspace, self._rules.sync.name)
        for batch in read_differences(self._planning.workspace, self._staged, self._planning.fingerprints):
            matches = await self._match([diff for diff in batch if diff.kind is Kind.NEW])
            bodies = await self._bodies(batch)
            decisions = [self._decide(diff, matches, bodies) for diff in batch]
            incomplete = [index for index, decision in enumerate(decisions) if self._needs_object(decision)]
            completed = await asyncio.gather(
                *(self._with_object(batch[index], decisions[index]) for index in incomplete)
            )
            for index, decision in zip(incomplete, completed, strict=True):
                decisions[index] = decision
            self._take(decisions)
            self._note_referrers(batch, decisions)
            self._planning.progress.rows_compared(len(batch))
            # Answers are read and pages are listed while a long table is planned.
            await asyncio.sleep(0)

    def _decide(self, diff: RowDiff, matches: Mapping[str, Found], bodies: Mapping[str, Any]) -> Decision:
        if self._is_body_needed(diff) and diff.key not in bodies:
            return Decision(problems=(self._not_asked(diff),))
        body = bodies.get(diff.key)
        if diff.kind is Kind.REMOVED:
            ignored = self._rules.sync.on_removed is Removal.IGNORE
            return decide_ignored(self._rules, diff) if ignored else decide_removed(self._rules, diff, body)
        payload = self._builder.build(diff.key, diff.row)
        match = matches.get(diff.key)
        if match is None:
            return decide_present(self._rules, diff, payload, None, body)
        if match.failed:
            return Decision(problems=(self._not_asked(diff),))
        chosen = self._choose(diff, match)
        if isinstance(chosen, Problem):
            return Decision(problems=(chosen,))
        return decide_present(self._rules, diff, payload, chosen)

    def _choose(self, diff: RowDiff, match: Found) -> Existing | Problem:
        # An archived object gives way to one in use.
        objects = tuple(body for body in match.objects if body.get("active") is not False) or match.objects
        where = self._rules.sync.where.at_field("match").at_key(diff.key)
        if match.by == TAG_FIELD:
            if any(keeps(reference) for part in self._staged.layout.parts for reference in part.references):
                return self._kept_unknown(diff)
            # One that was replaced keeps its tag: the row's object is the newest that is in use.
            objects = objects[:1]
        if len(objects) > 1 and self._rules.sync.on_ambiguous is OnAmbiguous.REJECT:
            ids = ", ".join(str(found["id"]) for found in objects)
            return Problem(
                code="ambiguous-match",
                summary=f"{len(objects)} existing objects match by `{match.by}`: {ids}",
                where=where,
                hint="set `on_ambiguous: newest` or `oldest`, or match by something unique",
            )
        body = objects[-1] if self._rules.sync.on_ambiguous is OnAmbiguous.OLDEST else objects[0]
        stripe_id = str(body["id"])
        here = (self._rules.sync.name, diff.key)
        owner = self._planning.claimed.setdefault((self._rules.resource.name, stripe_id), here)
        recorded = self._planning.workspace.one(
            "SELECT sync, key FROM records WHERE stripe_id = $id AND resource = $resource LIMIT 1",
            {"id": stripe_id, "resource": self._rules.resource.name},
        )
        if owner != here or recorded:
            name, key = owner if owner != here else recorded
            whose = f"row [{key}]" if name == here[0] else f"row [{key}] of sync `{name}`"
            return Problem(
                code="already-claimed",
                summary=f"{stripe_id}, found by `{match.by}`, belongs to {whose} already",
                where=where,
                hint="two rows can't share one object: match by something unique",
            )
        return Existing(body=body, by=match.by)

    def _kept_unknown(self, diff: RowDiff) -> Problem:
        return Problem(
            code="kept-unknown",
            summary="the row's object is there, and the state has lost which replaced objects it keeps",
            where=self._rules.sync.where.at_key(diff.key),
            hint="`dbt-stripe-sync state rebuild` reads it back from Stripe; then run it again",
        )

    def _not_asked(self, diff: RowDiff) -> Problem:
        return Problem(
            code="lookup-failed",
            summary="Stripe could not be asked for this row's object, so nothing is done with it",
            where=self._rules.sync.where.at_key(diff.key),
            hint="run it again",
        )

    async def _match(self, diffs: Sequence[RowDiff]) -> Mapping[str, Found]:
        """Existing objects for rows without a record."""
        sync, resource = self._rules.sync, self._rules.resource
        lifecycle = self._rules.lifecycle
        taggable = lifecycle.tagged and lifecycle.listed and "list" in resource.operations
        by_tag = self._is_first and taggable
        forgotten = self._forgotten if taggable else frozenset()
        if not diffs or not (by_tag or sync.match or forgotten):
            return {}
        wanted: dict[str, list[tuple[str, str]]] = {}
        for diff in diffs:
            # State that was lost must not make everything twice: on a sync's first run our own tag is looked for, and
            # later on that of a row whose record was taken away.
            is_asked = by_tag or diff.key in forgotten
            pairs = [(TAG_FIELD, build_tag(sync.project, sync.name, diff.key))] if is_asked else []
            for match in sync.match:
                text = self._builder.text(match.value, diff.row)
                pairs += [(match.by, text)] if text else []
            wanted[diff.key] = pairs
        note = await self._planning.existing.ask(
            resource.name, [pair for pairs in wanted.values() for pair in pairs], complete=by_tag
        )
        if note:
            self._found.notes[note] += 1
        return self._planning.existing.find(resource.name, wanted)

    def _is_body_needed(self, diff: RowDiff) -> bool:
        if diff.unreadable and diff.kind is not Kind.REMOVED:
            return self._rules.sync.mode is not Mode.INSERT
        asked = {Kind.REMOVED: needs_body, Kind.RETURNED: needs_body_back}.get(diff.kind)
        return asked is not None and asked(self._rules)

    async def _bodies(self, diffs: Sequence[RowDiff]) -> Mapping[str, Mapping[str, Any]]:
        """The objects of rows that left the model, where their removal depends on their status, or that came back.

        A row whose record holds hashes of an unknown salt is compared with its object, too.
        """
        rule = self._rules.lifecycle.on_removed.get(self._rules.sync.on_removed)
        expand = rule.expand if isinstance(rule, ByStatus) else ()
        diffs = [diff for diff in diffs if self._is_body_needed(diff)]
        if other_salt := sum(diff.unreadable for diff in diffs):
            self._found.notes["its record was made with another salt, so it is compared with its object"] += other_salt

        async def retrieve(diff: RowDiff) -> tuple[str, Mapping[str, Any] | None]:
            answer = await self._retrieve(diff.stripe_id, diff, expand)
            return diff.key, answer.body if answer.verdict is Verdict.DONE else {} if _is_missing(answer) else None

        return {key: body for key, body in await asyncio.gather(*map(retrieve, diffs)) if body is not None}

    def _needs_object(self, decision: Decision) -> bool:
        if decision.change is None:
            return False
        lists = self._rules.lifecycle.item_lists.keys()
        return (
            decision.ends is not None
            or any(call.target and call.params.keys() & lists for call in decision.change.calls)
            or may_be_fixed(self._rules, decision.change)
            or bool(self._to_expand(decision.change))
        )

    def _to_expand(self, change: Change) -> tuple[str, ...]:
        """What an adopted object has to show before it is known whether it differs."""
        sent = change.calls[0].params if change.action is Action.ADOPT else {}
        return tuple(name for name in self._rules.lifecycle.shown_if_asked if name in sent)

    async def _with_object(self, diff: RowDiff, decision: Decision) -> Decision:
        """The same decision, made complete with what only the object in Stripe shows: its status, its items' ids."""
        lists = self._rules.lifecycle.item_lists
        change = decision.change
        if change is None:
            return decision
        rule, hidden = decision.ends or self._rules.lifecycle.fixed, self._to_expand(change)
        answer = await self._retrieve(change.stripe_id, diff, (*(rule.expand if rule else ()), *hidden))
        if _is_missing(answer) and decision.ends is None:
            return decision  # Stripe itself says of its call that the object is gone
        if answer.verdict is not Verdict.DONE:
            return Decision(problems=(self._not_asked(diff),))
        if decision.ends is not None:
            return end_replaced(self._rules, diff, decision, answer.body)
        if hidden:
            decision = self._decide_anew(diff, Existing(body=answer.body, by=str(change.found_by)))
            if decision.change is None:
                return decision
            change = decision.change
        kept = keep_fixed(self._rules, diff, change, answer.body)
        if kept is not None:
            return self._decide_anew(diff) if diff.kind is Kind.RETURNED else kept
        items = {name: await self._items(answer.body, name, rule) for name, rule in lists.items()}
        lose = {name: emptying_of(self._rules.sync, self._rules.resource, name, diff.params) for name in lists}
        calls = tuple(
            replace(
                call,
                params={
                    name: match_items(value, items[name], lists[name], lose[name])
                    if call.target and name in lists
                    else value
                    for name, value in call.params.items()
                },
            )
            for call in change.calls
        )
        return replace(decision, change=replace(change, calls=calls))

    def _decide_anew(self, diff: RowDiff, existing: Existing | None = None) -> Decision:
        """A row as if it had no record: one is back whose object can't be brought back, or all of an object is seen."""
        new = replace(diff, kind=Kind.NEW, stripe_id=None, params={}, payload_hash=None, adopted=False)
        return decide_present(self._rules, new, self._builder.build(diff.key, diff.row), existing)

    async def _items(self, body: Mapping[str, Any], name: str, rule: ItemList) -> list[Mapping[str, Any]]:
        shown = body.get(name) or {}
        if not shown.get("has_more"):
            return list(shown.get("data", ()))
        resource, parent = rule.listed_by
        pages = self._planning.stripe.pages(resource, {parent: body["id"], "limit": 100})
        return [item async for page in pages for item in page]

    async def _retrieve(self, stripe_id: str | None, diff: RowDiff, expand: tuple[str, ...]) -> Answer:
        params = {**self._path(diff), **({"expand": list(expand)} if expand else {})}
        return await self._planning.stripe.send(
            Call(resource=self._rules.resource.name, operation="retrieve", target=stripe_id, params=params)
        )

    def _path(self, diff: RowDiff) -> dict[str, Any]:
        in_path = (name for name, param in self._rules.resource.params.items() if param.in_path)
        return {name: diff.params[name] for name in in_path if name in diff.params}

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
            (change.sync, change.key, None if change.gone else _id_to_come(change))
            for change in changes
            if change.gone or change.action in {Action.CREATE, Action.REPLACE, Action.ADOPT}
        ]
        if rows:
            columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
            table = pa.table(columns, schema=_PLANNED)
            self._planning.workspace.fill("INSERT INTO work.planned SELECT * FROM incoming", table.to_reader())


def _is_missing(answer: Answer) -> bool:
    return answer.failure is not None and answer.failure.code == "resource_missing"


def _id_to_come(change: Change) -> str | None:
    return change.stripe_id if change.action is Action.ADOPT else pending_id(change.sync, change.key)
