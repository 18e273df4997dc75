"""Makes a whole plan: compares every sync, connects their changes, then adds the changes that come last."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from dbt_stripe_sync.engine.payload.layout import keeps
from dbt_stripe_sync.engine.plan.comparing import Comparing
from dbt_stripe_sync.engine.plan.finalization import Finalization, Referrers, reasons_to_wait
from dbt_stripe_sync.engine.plan.in_use import keep_while_in_use
from dbt_stripe_sync.engine.plan.moved_values import leave_moved_lookups
from dbt_stripe_sync.engine.plan.observing import Observing
from dbt_stripe_sync.engine.plan.order import Order
from dbt_stripe_sync.engine.plan.ordering import Uniques, follow_or_withhold, leave_for_next_run
from dbt_stripe_sync.engine.plan.parent_limits import ParentLimits
from dbt_stripe_sync.engine.plan.planning import SyncPlan, plan_sync
from dbt_stripe_sync.engine.plan.reads import Reads
from dbt_stripe_sync.engine.plan.references import ExistingObjects
from dbt_stripe_sync.engine.plan.refreshing import Refreshing
from dbt_stripe_sync.engine.plan.renamed import RenameCheck
from dbt_stripe_sync.engine.plan.settling import Settling
from dbt_stripe_sync.engine.plan.shared import Planning
from dbt_stripe_sync.engine.plan.stale_state import note_unsettled
from dbt_stripe_sync.engine.plan.too_early import keep_from_ending_early
from dbt_stripe_sync.engine.ports import RowProgress
from dbt_stripe_sync.engine.stage.workspace import Workspace
from dbt_stripe_sync.model.change import kind_of, row_of
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import Location, Problem, ReadLimitError, Severity
from dbt_stripe_sync.model.lifecycle import finishes_asked
from dbt_stripe_sync.model.plan import Note, SyncCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dbt_stripe_sync.engine.payload.layout import Layout
    from dbt_stripe_sync.engine.plan.plan_file import PlanWriter
    from dbt_stripe_sync.engine.ports import RowDiffs, State, Stripe, Warehouse
    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.lifecycle import Finish, Lifecycle
    from dbt_stripe_sync.model.params import Catalog
    from dbt_stripe_sync.model.plan import Plan, PlanOptions
    from dbt_stripe_sync.model.sync import Sync


class PlanProgress(RowProgress, Protocol):
    """Receives the progress of planning."""

    def begin_sync(self, name: str) -> None:
        """A sync's rows are about to be read and compared."""
        ...

    def planned(self, counts: SyncCounts) -> None:
        """A sync has been compared."""
        ...


class Scope(Struct, frozen=True, kw_only=True):
    """What a plan covers.

    - The syncs are in the order of their references; `known` names every sync of the project.
    - `held` gives a reason for each sync that is left out.
    - `dependents` has the syncs that refer to each one, whether selected or not.
    - `warnings` are problems that were found before.
    - `calls_per_second` is the pace of reads from Stripe, and `max_reads` their limit.
    - `compared_there` names the syncs whose rows the warehouse compares.
    """

    syncs: Sequence[Sync]
    catalog: Catalog
    held: Mapping[str, str] = field(default_factory=dict)
    dependents: Mapping[str, Sequence[str]] = field(default_factory=dict)
    warnings: Sequence[Problem] = ()
    known: frozenset[str] = frozenset()
    calls_per_second: float = inf
    max_reads: int | None = None
    compared_there: frozenset[str] = frozenset()


class Sources(Struct, frozen=True, kw_only=True):
    """Where a plan's data comes from."""

    warehouse: Warehouse
    stripe: Stripe
    state: State
    clock: Clock
    diffs: RowDiffs | None = None


class PlanMaker:
    """Makes one plan. It reads from Stripe, and writes only the plan file."""

    def __init__(
        self, scope: Scope, sources: Sources, options: PlanOptions, progress: PlanProgress, writer: PlanWriter
    ) -> None:
        self._scope = scope
        self._options = options
        self._progress = progress
        self._writer = writer
        self._state = sources.state
        self._workspace = Workspace(sources.state.workspace)
        if scope.compared_there.issuperset(sync.name for sync in scope.syncs):
            self._workspace.expect_few_rows()
        settling = Settling(
            workspace=self._workspace,
            writer=writer,
            earlier=sources.state.owed(),
            users=frozenset(rule.resource for sync in scope.syncs for rule in self._lifecycle_of(sync).used_by),
        )
        referrers = Referrers(
            workspace=self._workspace,
            parents=frozenset(sync.name for sync in scope.syncs if self._finishes_of(sync)),
            ending=lambda: settling.ending,
        )
        refreshing = Refreshing(
            workspace=self._workspace,
            stripe=sources.stripe,
            fingerprints=sources.state.fingerprints,
            writer=writer,
            clock=sources.clock,
            asks_all=options.refresh,
        )
        self._planning = Planning(
            workspace=self._workspace,
            warehouse=sources.warehouse,
            stripe=sources.stripe,
            state=sources.state,
            fingerprints=sources.state.fingerprints,
            observing=Observing(
                workspace=self._workspace,
                stripe=sources.stripe,
                existing=ExistingObjects(self._workspace, sources.stripe, scope.catalog, sources.clock),
                earlier=settling.earlier,
            ),
            clock=sources.clock,
            writer=writer,
            parent_limits=ParentLimits(workspace=self._workspace, stripe=sources.stripe, catalog=scope.catalog),
            referrers=referrers,
            settling=settling,
            refreshing=refreshing,
            comparing=Comparing(
                diffs=sources.diffs,
                workspace=self._workspace,
                state=sources.state,
                syncs=scope.compared_there,
                refreshing=refreshing,
                referrers=referrers,
            ),
            uniques=Uniques(self._workspace, scope.catalog),
            renamed=RenameCheck(workspace=self._workspace, known=scope.known),
            progress=progress,
            referenced=frozenset(name for sync in scope.syncs for name in sync.depends_on),
            referred_to=frozenset(name for name, others in scope.dependents.items() if others),
            room=options.most_changes,
            reading=Reads(sources.stripe, scope.max_reads),
            calls_per_second=scope.calls_per_second,
        )
        self._plans: dict[str, SyncPlan] = {}
        self._counts: dict[str, SyncCounts] = {}
        self._problems: list[Problem] = [*scope.warnings]

    async def make(self) -> Plan:
        """Plan every sync, then connect their changes. Raises `SyncError`."""
        self._problems += _unsettled(note_unsettled(self._workspace, self._state), is_held=self._state.is_held)
        self._announce_reading_cost()
        for sync in self._scope.syncs:
            if self._options.only is None or sync.name in self._options.only:
                await self._plan_sync(sync)
        await self._tie_together()
        self._note_kept()
        await self._look_at_owed()
        ends = self._planning.settling.plan(self._scope.syncs)
        last = [*await self._finish(), *ends]
        if any(counts.same != counts.rows for counts in self._counts.values()):
            self._workspace.expect_all_rows()  # to write what was found
        self._workspace.close()
        return self._writer.finish(
            [*self._counts.values(), *last],
            self._problems,
            state_serial=self._state.serial,
            owed=self._planning.settling.earlier,
            reads=self._planning.stripe.reads,
        )

    def _announce_reading_cost(self) -> None:
        only, held = self._options.only, self._scope.held
        syncs = [sync for sync in self._scope.syncs if sync.name not in held and (only is None or sync.name in only)]
        costs = self._planning.refreshing.costs(syncs, self._scope.catalog)
        if costs:
            self._progress.reading_back(costs, self._scope.calls_per_second)

    async def _plan_sync(self, sync: Sync) -> None:
        self._progress.begin_sync(sync.name)
        if (reason := self._scope.held.get(sync.name)) is not None:
            self._counts[sync.name] = SyncCounts(
                sync=sync.name, model=sync.model.name, resource=sync.resource, held=reason
            )
            self._problems.append(_held_problem(sync, reason))
            return
        plan = await plan_sync(
            self._planning,
            sync,
            self._scope.catalog.resources[sync.resource],
            recheck=self._options.full_refresh,
            only=self._options.keys_of(sync),
        )
        self._plans[sync.name] = plan
        self._counts[sync.name] = plan.counts
        self._problems += plan.problems
        self._progress.planned(plan.counts)

    async def _tie_together(self) -> None:
        """Order changes that depend on each other, and withhold those that can't be made."""
        order = Order()
        self._planning.uniques.add_to(order, self._planning.settling)
        follow_or_withhold(self._planning.settling, self._scope.catalog, order)
        leave_moved_lookups(list(self._plans.values()), self._writer, order)
        self._planning.stripe.allow_reads(self._planning.reading.left)
        await keep_from_ending_early(self._planning.settling, self._planning.stripe, self._scope.catalog, order)
        await keep_while_in_use(self._planning.settling, self._planning.stripe, self._scope.catalog, order)
        self._planning.reading.end()
        leave_for_next_run(self._scope.syncs, order)
        if not order:
            return
        withheld = self._writer.rewrite(order)
        self._planning.referrers.withhold([change.id for change in withheld])
        self._planning.settling.reorder(order)
        self._problems += [order.withheld[change.id] for change in withheld if change.id in order.withheld]
        self._recount(withheld, order)

    def _note_kept(self) -> None:
        """Count the rows that keep referring to an object that this plan replaces (`when_replaced: keep`)."""
        settling = self._planning.settling
        keeping = {name for name, plan in self._plans.items() if _keeps_any(plan.staged.layout)}
        replaced = [change for change in settling.replaced if change.stripe_id is not None] if keeping else []
        moving, referrers = settling.moving_to(replaced), settling.referrers_of(replaced)
        kept = Counter(
            referrer.sync
            for change in replaced
            for referrer in referrers.get(str(change.stripe_id), ())
            if referrer.sync in keeping and (referrer.sync, referrer.key) not in moving.get(change.id, ())
        )
        for name, rows in kept.items():
            note = Note(text="keeps the object that this plan replaces (`when_replaced: keep`)", rows=rows)
            self._counts[name] = replace(self._counts[name], notes=(*self._counts[name].notes, note))

    def _recount(self, withheld: Sequence[Change], order: Order) -> None:
        by_sync: defaultdict[str, list[Change]] = defaultdict(list)
        for change in withheld:
            by_sync[change.sync].append(change)
        for name, changes in by_sync.items():
            rows = {change.key for change in changes}
            plan, counts = self._plans[name], self._counts[name]
            self._plans[name] = replace(plan, rejected_keys=plan.rejected_keys | rows)
            self._counts[name] = replace(
                counts,
                rejected=counts.rejected + len(rows),
                calls=counts.calls - sum(len(change.calls) for change in changes),
                by_action=_less(counts.by_action, (change.action.value for change in changes)),
                kinds=_less(counts.kinds, map(kind_of, changes)),
            )
        for begun in order.end_first - order.withheld.keys():
            name, _ = row_of(begun)
            self._counts[name] = replace(self._counts[name], calls=self._counts[name].calls + 1)

    async def _finish(self) -> list[SyncCounts]:
        """Finalize objects whose syncs ask for it, unless something that belongs to them is missing."""
        counts = []
        unsettled = frozenset(intent.change.sync for intent in self._state.open_intents())
        referrers = self._planning.referrers.read()
        for sync in self._scope.syncs:
            steps = self._finishes_of(sync)
            if not steps or sync.name not in self._plans:
                continue
            dependents = self._scope.dependents.get(sync.name, ())
            finalization = Finalization(
                workspace=self._workspace,
                stripe=self._planning.stripe,
                fingerprints=self._planning.fingerprints,
                writer=self._writer,
                staged=self._plans[sync.name].staged,
                steps=steps,
                rejected=self._plans[sync.name].rejected_keys,
                referrers=referrers,
                ends=self._planning.settling.ends,
                earlier=list(self._planning.settling.earlier_of(dependents)),
            )
            waits = next(reasons_to_wait(sync, dependents, self._counts, unsettled), None)
            if self._planning.room is not None and self._planning.room <= 0:
                waits = "--limit leaves something for later"
            counts.append(finalization.held(waits) if waits else await self._finalize_sync(finalization))
        return counts

    async def _finalize_sync(self, finalization: Finalization) -> SyncCounts:
        """Finalize one sync's objects, within the reads that it may still make."""
        name = finalization.sync.name
        share = self._planning.reading.share_of(finalization.sync, used=self._counts[name].reads)
        found: list[SyncCounts] = []

        async def plan() -> None:
            found.append(await finalization.plan())

        await share.within(plan())
        self._planning.reading.end()
        self._counts[name] = replace(self._counts[name], reads=share.made)
        if share.problem is None:
            self._problems += finalization.problems
            return found[0]
        self._problems.append(share.problem)
        return finalization.give_up(share.problem.summary)

    async def _look_at_owed(self) -> None:
        """Read objects whose end Stripe rejected, if the project's limit allows it; otherwise just retry."""
        self._planning.stripe.allow_reads(self._planning.reading.left)
        with suppress(ReadLimitError):
            await self._planning.observing.look_at_refused(self._planning.settling, self._scope.catalog)
        self._planning.reading.end()

    def _lifecycle_of(self, sync: Sync) -> Lifecycle:
        return self._scope.catalog.resources[sync.resource].lifecycle

    def _finishes_of(self, sync: Sync) -> tuple[Finish, ...]:
        """The steps that a sync's options ask for, in the order that Stripe requires."""
        return finishes_asked(self._lifecycle_of(sync).finishes, sync.options)


def _unsettled(count: int, *, is_held: bool) -> Sequence[Problem]:
    if not count:
        return ()
    are = "is" if count == 1 else "are"
    how = f"{are} being sent by a run" if is_held else f"of an earlier run {are} unresolved"
    return (
        Problem(
            code="unsettled",
            summary=f"{counted(count, 'change')} {how}; their rows are left out",
            hint="plan again once that run has ended" if is_held else "`dbt-stripe-sync run` settles them first",
            severity=Severity.WARNING,
        ),
    )


def _keeps_any(layout: Layout) -> bool:
    """Whether a sync's rows keep referring to replaced objects."""
    return any(keeps(reference) for part in (layout.row, *layout.children) for reference in part.references)


def _less(counted: Mapping[str, int], gone: Iterable[str]) -> dict[str, int]:
    left = Counter(counted)
    left.subtract(gone)
    return {name: count for name, count in left.items() if count > 0}


def _held_problem(sync: Sync, reason: str) -> Problem:
    return Problem(
        code="model-held",
        summary=f"nothing is sent for `{sync.name}`: {reason}",
        where=Location(file=sync.model.file, model=sync.model.name),
        hint="fix it and run `dbt build` again, or add `--ignore-dbt-results`",
    )
