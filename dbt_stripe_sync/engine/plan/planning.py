"""Plans one sync: stages its rows, compares them, matches them with objects in Stripe, and writes the changes."""

from __future__ import annotations

import asyncio
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.calls import bulk_of
from dbt_stripe_sync.engine.decide.replace import may_replace
from dbt_stripe_sync.engine.decide.rules import Rules
from dbt_stripe_sync.engine.payload.builder import PayloadBuilder
from dbt_stripe_sync.engine.payload.layout import build_layout
from dbt_stripe_sync.engine.plan.guards import (
    check_empty,
    check_keys,
    check_limits,
    check_spelling,
    count_removals,
    is_agreement_needed,
)
from dbt_stripe_sync.engine.plan.lookups import resolve_lookups
from dbt_stripe_sync.engine.plan.rows import RowPlanner
from dbt_stripe_sync.engine.plan.stale_state import StaleStateCheck
from dbt_stripe_sync.engine.plan.tally import Tally
from dbt_stripe_sync.engine.stage.diff import find_differences, read_forgotten
from dbt_stripe_sync.engine.stage.extract import CountingWarehouse, load_rows
from dbt_stripe_sync.engine.stage.linking import link_rows
from dbt_stripe_sync.engine.stage.staged import Staged
from dbt_stripe_sync.model.difference import Kind
from dbt_stripe_sync.model.lifecycle import Mode
from dbt_stripe_sync.model.objects import TAG_FIELD
from dbt_stripe_sync.model.plan import Note, ReadingCost, SyncCounts

if TYPE_CHECKING:
    from dbt_stripe_sync.engine.plan.shared import Planning
    from dbt_stripe_sync.engine.stage.diff import DiffCounts
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.params import Resource
    from dbt_stripe_sync.model.sync import Sync


class SyncPlan(Struct, frozen=True, kw_only=True):
    """A sync's counts and the problems of its rows.

    `rejected_keys` are the keys that can't be sent, or that differ but aren't compared.
    """

    staged: Staged
    counts: SyncCounts
    problems: tuple[Problem, ...]
    rejected_keys: frozenset[str]


async def plan_sync(
    planning: Planning,
    sync: Sync,
    resource: Resource,
    *,
    recheck: bool,
    only: frozenset[str] | None = None,
) -> SyncPlan:
    """Write the changes of one sync to the plan, and return what was found.

    `recheck` compares every row by its parameters; `only` skips rows with other keys. Raises `WarehouseError`,
    `StripeError` and `StateError`.
    """
    started = perf_counter()
    found = Tally()
    staged = await _read_rows(planning, sync, resource, found, recheck=recheck)
    read = perf_counter()
    share = planning.reading.share_of(sync)
    await share.within(_look_up(planning, staged, found))
    link_rows(planning.workspace, staged)
    if share.problem is None:
        await share.within(_read_back(planning, staged, resource, found))
    counts = find_differences(planning.workspace, staged, recheck=recheck, only=only)
    found.same = counts.same
    if only is not None:
        found.notes[Note(text="only checks what an earlier run left undone")] += 1
    room = planning.room
    held = [*check_empty(staged, counts), *check_spelling(planning.workspace, staged, counts)]
    held += [share.problem] if share.problem else []
    found.problems += check_keys(planning.workspace, staged, counts)
    found.rejected = counts.model.without_key + counts.duplicate_rows
    if not held:
        await share.within(_decide_rows(planning, resource, staged, counts, found))
        held += [share.problem] if share.problem else []
        _count_bulk(sync, resource.lifecycle, found)
        held += _check_limits(sync, resource.lifecycle, found, counts)
    planning.reading.end()
    await asyncio.to_thread(planning.writer.end_sync, sync.name, keep=not held)
    if held:
        planning.room = room
        _take_back(planning, sync.name)
    _note_left_out(planning, staged, found, has_all=only is None)
    planned = SyncCounts(
        sync=sync.name,
        model=sync.model.name,
        resource=sync.resource,
        rows=counts.model.rows,
        same=found.same,
        rejected=found.rejected,
        held=held[0].summary if held else None,
        by_action={} if held else dict(found.actions),
        kinds={} if held else dict(found.kinds),
        calls=0 if held else found.calls,
        read_seconds=read - started,
        diff_seconds=perf_counter() - read,
        notes=(*found.notes, *(Note(text=text, rows=count) for text, count in found.row_notes.items())),
        after=sync.after,
        drifted=found.drifted,
        reads=share.made,
    )
    return SyncPlan(
        staged=staged,
        rejected_keys=frozenset(found.rejected_keys),
        counts=planned,
        problems=(*held, *found.problems),
    )


def _take_back(planning: Planning, sync: str) -> None:
    """Forget the changes of a sync that is held back, so that no other change expects them."""
    planning.workspace.execute("DELETE FROM work.planned WHERE sync = $sync", {"sync": sync})
    planning.settling.forget(sync)
    planning.uniques.forget(sync)
    planning.referrers.withhold_all(sync)


async def _read_rows(planning: Planning, sync: Sync, resource: Resource, found: Tally, *, recheck: bool) -> Staged:
    """Read the rows of a sync's model, or only those that differ if the warehouse compares them."""
    planning.staged += 1
    salt = planning.fingerprints.source_salt(sync.name)
    staged = Staged(sync=sync, layout=build_layout(sync), number=planning.staged, salt=salt)
    heard = CountingWarehouse(planning.warehouse, planning.progress)
    compared, notes = await asyncio.to_thread(planning.comparing.of, staged, resource, recheck=recheck)
    found.notes.update(notes)
    return await asyncio.to_thread(load_rows, planning.workspace, replace(staged, compared=compared), heard)


async def _decide_rows(
    planning: Planning, resource: Resource, staged: Staged, counts: DiffCounts, found: Tally
) -> None:
    """Write the changes of the rows that differ."""
    sync = staged.sync
    rules = Rules(
        sync=sync,
        resource=resource,
        layout=staged.layout,
        builder=PayloadBuilder(sync, staged.layout, resource),
        now=planning.clock.now(),
        tag_for=_tag_for(planning.workspace, sync, resource),
        forgotten={key: id_ for key, id_ in read_forgotten(planning.workspace, sync.name).items() if id_},
    )
    if counts.kinds[Kind.NEW] and sync.part_of is None:
        planning.renamed.check_records(sync)
        _announce_lookup_cost(planning, rules, counts.kinds[Kind.NEW])
    await _compare(planning, rules, staged, counts, found)


def _count_bulk(sync: Sync, lifecycle: Lifecycle, found: Tally) -> None:
    """Count requests that several changes share."""
    bulk = bulk_of(sync, lifecycle)
    if bulk is not None and found.in_bulk:
        found.calls += ceil(found.in_bulk / bulk.most)
        found.notes[Note(text=bulk.note)] += 1


def _note_left_out(planning: Planning, staged: Staged, found: Tally, *, has_all: bool) -> None:
    """Note rows that this plan doesn't compare: finalization waits until everything of an object exists."""
    referrers, name = planning.referrers, staged.sync.name
    if referrers.concern(staged.sync):
        referrers.add_unkeyed(staged)
        if not has_all:
            referrers.add_left_out(staged)
    if not has_all and name in referrers.parents:
        found.rejected_keys |= {key for (key,) in planning.workspace.all(f"SELECT key FROM {staged.left_out}")}


async def _look_up(planning: Planning, staged: Staged, found: Tally) -> None:
    """Find the objects for a sync's look-ups."""
    for note in await resolve_lookups(planning.observing.existing, planning.workspace, staged):
        found.notes[Note(text=note)] += 1


async def _read_back(planning: Planning, staged: Staged, resource: Resource, found: Tally) -> None:
    """Read a sync's own objects, if a refresh is due."""
    notes, problems = await planning.refreshing.read(staged, resource)
    found.notes.update(notes)
    found.problems += problems


def _announce_lookup_cost(planning: Planning, rules: Rules, rows: int) -> None:
    """Announce how many reads it takes to find the objects of rows without a record, before the first read."""
    bys = [*([TAG_FIELD] if rules.tag_for is None else []), *(match.by for match in rules.sync.match)]
    if bys:
        complete = rules.tag_for is None and rules.sync.mode is not Mode.UPDATE
        least, most = planning.observing.existing.cost_of(rules.resource.name, bys, rows, complete=complete)
        cost = ReadingCost(sync=rules.sync.name, objects=rows, least=least, most=most, is_search=True)
        planning.progress.reading_back((cost,), planning.calls_per_second)


async def _compare(planning: Planning, rules: Rules, staged: Staged, counts: DiffCounts, found: Tally) -> None:
    """Decide on a sync's rows, after checking that the state is up to date.

    A copy of the state lacks what the run that holds the state has sent since, but a plan made from a copy is never
    sent.
    """
    if not planning.state.is_held:
        await StaleStateCheck(planning.workspace, planning.stripe, planning.state).check(
            rules.sync,
            rules.resource,
            makes_new=counts.kinds[Kind.NEW] > 0,
            may_replace=counts.kinds[Kind.CHANGED] > 0 and may_replace(rules.sync, rules.lifecycle),
        )
    await RowPlanner(planning, rules, staged, found).plan_rows(counts)


def _tag_for(workspace: Workspace, sync: Sync, resource: Resource) -> frozenset[str] | None:
    """The rows whose tag is searched for: all of them on a sync's first run, later those whose record was dropped.

    Otherwise a lost state would create every object again.
    """
    lifecycle = resource.lifecycle
    if sync.part_of is not None or not (lifecycle.tagged and "list" in resource.operations):
        return frozenset()
    (records,) = workspace.one("SELECT count(*) FROM known_records WHERE sync = $sync", {"sync": sync.name})
    return frozenset(read_forgotten(workspace, sync.name)) if records else None


def _check_limits(sync: Sync, lifecycle: Lifecycle, found: Tally, counts: DiffCounts) -> list[Problem]:
    removed = count_removals(found.actions)
    if removed and is_agreement_needed(sync, lifecycle):
        note = f"`{sync.on_removed.value}` can't be undone: `run` asks first unless you pass `--yes`"
        found.notes[Note(text=note, before_sending=True)] += 1
    return list(
        check_limits(
            sync,
            changes=sum(found.actions.values()),
            removed=removed,
            rejected=found.rejected,
            records=counts.records,
        )
    )
