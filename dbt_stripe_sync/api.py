"""`Project`: everything that the command line does, for Python and for orchestrators that need no subprocess."""

from __future__ import annotations

# The workflow, the state, DuckDB, the report's page and modules for a single command are imported where they are used,
# because `parse` and `ls` must not wait for them.
import logging
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dbt_stripe_sync.alerts import alert_about_run, alerting_about_stops
from dbt_stripe_sync.event_loop import run_to_end
from dbt_stripe_sync.interrupting import interruptible, run_until_done
from dbt_stripe_sync.model.callers import check_limit
from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import ConfigError
from dbt_stripe_sync.model.plan import PlanOptions
from dbt_stripe_sync.model.progress import Silent
from dbt_stripe_sync.model_columns import check_models, find_doubtful_columns, find_missing_columns
from dbt_stripe_sync.stripe_api.catalog import read_catalog
from dbt_stripe_sync.wiring import check_target, open_parts, opened_warehouse
from dbt_stripe_sync.workload import ProjectOptions, Workload, load_manifest, load_workload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from dbt_stripe_sync.authoring.scaffold import Written
    from dbt_stripe_sync.engine.apply.lanes import Stop
    from dbt_stripe_sync.look.health import Check
    from dbt_stripe_sync.look.preview import Preview
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.imported import Imported, ImportOptions
    from dbt_stripe_sync.model.plan import Agree, PermanentRemovals, Plan, PlanHeader, Review
    from dbt_stripe_sync.model.progress import Progress
    from dbt_stripe_sync.model.run import RunReport
    from dbt_stripe_sync.project_state import ProjectState
    from dbt_stripe_sync.report.summary import Summary
    from dbt_stripe_sync.warehouse_log import LogWritten
    from dbt_stripe_sync.wiring import Parts
    from dbt_stripe_sync.workload import LookFurther

HELD = "A run holds the state: this plan is made from a copy of it, and may list what the run has sent since."


class Project:
    """A dbt project whose models are synced to Stripe.

    If nothing could be done, every method raises a `SyncError` with all problems.
    """

    def __init__(self, options: ProjectOptions | None = None, *, clock: Clock | None = None) -> None:
        """Open the project.

        `options` are those of the command line; without them, the project in the current folder is used.
        """
        self.options = options or ProjectOptions()
        self._clock = clock or SystemClock()
        # The totals of the last run, added up while its artifacts were written.
        self.summary: Summary | None = None
        self._left_out: dict[str, str] = {}

    @cached_property
    def workload(self) -> Workload:
        """The project's syncs, checked. Raises `ConfigError`."""
        return load_workload(self.options, left_out=self._left_out)

    def check(self) -> list[Problem]:
        """Warnings about the project's syncs, including missing columns if the warehouse answers quickly.

        Raises `ConfigError` with every problem.
        """
        workload = self._load(find_doubtful_columns)
        return [*workload.warnings, *self.unread(), *find_doubtful_columns(workload.dbt, workload.syncs)]

    def _load(self, look_further: LookFurther = find_missing_columns) -> Workload:
        """The workload, for methods that read the warehouse anyway.

        Missing columns are reported together with other problems.
        """
        if "workload" not in self.__dict__:
            self.workload = load_workload(self.options, look_further=look_further, left_out=self._left_out)
        return self.workload

    def _load_with_key(self) -> Workload:
        """The workload, for methods that need a Stripe key.

        A missing key is reported together with missing columns, or with the lack of any sync.
        """
        workload = self._load()
        try:
            _ = workload.key
        except ConfigError as error:
            found = (*error.problems, *workload.warnings) if not workload.syncs else error.problems
            raise ConfigError((*found, *find_missing_columns(workload.dbt, workload.syncs))) from None
        return workload

    def _load_with_state(self) -> Workload:
        """The workload, for methods that look for an earlier run, which an empty new state can't have."""
        self.state.check_exists()
        return self.workload

    def look_back(self) -> None:
        """Load the project even if its syncs have mistakes, to look at earlier runs. Raises `ConfigError`."""
        if "workload" not in self.__dict__:
            self.workload = load_workload(self.options, may_be_wrong=True)

    def build(self) -> None:
        """Run `dbt build` for the synced models and their parents first. Raises `ConfigError`.

        A synced model that dbt leaves out is held back until the next build.
        """
        from dbt_stripe_sync.building import build_synced_models

        self._left_out = build_synced_models(self.options)
        self.__dict__.pop("workload", None)  # dbt has written another manifest
        self.__dict__.pop("state", None)

    def calls_per_second(self, header: PlanHeader) -> float:
        """The highest rate at which a plan's calls would be sent."""
        return self.workload.limits(livemode=header.livemode).account

    def run(
        self,
        options: PlanOptions | None = None,
        *,
        progress: Progress | None = None,
        fail_fast: bool = False,
        agreed: bool | Agree = False,
        review: Review | None = None,
    ) -> RunReport:
        """Plan and apply.

        The first Ctrl-C, or a closed terminal, stops after the calls in flight; a second one stops immediately.

        `agreed` approves removals that can't be undone and that no `limits.max_removed` covers. If it is a function, it
        is called with the plan and those removals. Raises `PlanError` if they aren't approved
        (`confirmation-required`). `review` gets every plan before it is sent, and may raise `PlanError`. The results
        and the report are written to `artifacts`.
        """
        from dbt_stripe_sync import pipeline

        planning, told = options or PlanOptions(), progress or Silent()
        sending = pipeline.RunOptions(agree=_asking(agreed), review=_reviewing(review), fail_fast=fail_fast)
        return self._send(
            self._load_with_key, lambda parts, stop: pipeline.run(self.workload, parts, planning, sending, told, stop)
        )

    def retry(
        self,
        run: str | None = None,
        *,
        progress: Progress | None = None,
        fail_fast: bool = False,
        agreed: bool | Agree = False,
        review: Review | None = None,
    ) -> RunReport | None:
        """Plan and apply only the rows that a run did not finish: those it rejected, skipped or left unresolved.

        `run` is its id or the first characters of it; the default is the last run. Returns None if there are no such
        rows. `agreed` and `review` work as in `run`.
        """
        undone = self.state.undone(run)
        if not undone:
            return None
        return self.run(PlanOptions(only=undone), progress=progress, fail_fast=fail_fast, agreed=agreed, review=review)

    @contextmanager
    def plan(
        self, options: PlanOptions | None = None, *, progress: Progress | None = None, out: Path | None = None
    ) -> Iterator[Plan]:
        """What `run` would do. The plan can be read until the context ends; `out` saves it to a file."""
        from dbt_stripe_sync import pipeline
        from dbt_stripe_sync.engine.plan.plan_file import save_plan

        with TemporaryDirectory(prefix="dbt-stripe-sync-") as folder:
            path = Path(folder) / "plan.jsonl"

            async def work() -> Plan:
                async with open_parts(self._load_with_key(), clock=self._clock, only_looks=True) as parts:
                    if parts.state.is_held:
                        _log().warning(HELD)
                    return await pipeline.make_plan(
                        self.workload, parts, options or PlanOptions(), progress or Silent(), path
                    )

            plan = run_to_end(work())
            if out is not None:
                save_plan(path, out)
            yield plan

    def apply(self, plan: Plan | Path, *, progress: Progress | None = None, fail_fast: bool = False) -> RunReport:
        """Send a saved plan, or one that `plan` returned and whose context is still open, without asking.

        Raises `PlanError` if it was altered, is stale, or was made for something else.
        """
        from dbt_stripe_sync import pipeline
        from dbt_stripe_sync.engine.plan.plan_file import read_plan, take_plan

        if isinstance(plan, Path):
            read_plan(plan)  # a file that isn't a plan is rejected before anything is opened
        told = progress or Silent()

        async def apply(parts: Parts, stop: Stop) -> RunReport:
            # The copy is next to the state, where the next run removes leftovers of a killed one.
            made = take_plan(plan, parts.state.scratch) if isinstance(plan, Path) else plan
            return await pipeline.apply(self.workload, parts, made, told, stop, fail_fast=fail_fast)

        return self._send(lambda: self.workload, apply)

    @contextmanager
    def undo_plan(self, run: str, *, out: Path | None = None) -> Iterator[Plan]:
        """What `undo` would do: a plan that `apply` accepts, too.

        `run` is the run's id, or the first characters of it.
        """
        from dbt_stripe_sync.engine.plan.plan_file import save_plan
        from dbt_stripe_sync.undo import make_undo_plan

        with TemporaryDirectory(prefix="dbt-stripe-sync-") as folder:
            path = Path(folder) / "plan.jsonl"

            async def work() -> Plan:
                async with open_parts(self._load_with_state(), clock=self._clock, only_looks=True) as parts:
                    return await make_undo_plan(self.workload, parts, run, path)

            plan = run_to_end(work())
            if out is not None:
                save_plan(path, out)
            yield plan

    def undo(
        self, run: str, *, progress: Progress | None = None, fail_fast: bool = False, review: Review | None = None
    ) -> RunReport:
        """Reverse what a run has changed.

        `review` gets the plan first, and may raise `PlanError`. The models don't change, so the next plan shows
        again what the run sent.
        """
        from dbt_stripe_sync import pipeline
        from dbt_stripe_sync.undo import undo

        told = progress or Silent()
        sending = pipeline.RunOptions(agree=_asking(agreed=True), review=_reviewing(review), fail_fast=fail_fast)
        return self._send(
            self._load_with_state, lambda parts, stop: undo(self.workload, parts, run, sending, told, stop)
        )

    def show(self, sync: str, *, limit: int) -> Preview:
        """Some rows of a sync with the exact parameters that they would send. Needs no Stripe key.

        Raises `ValueError` for a negative `limit`.
        """
        check_limit(limit)
        from dbt_stripe_sync.look.preview import preview_rows

        check_target(self._load())
        with opened_warehouse(self.workload.dbt) as warehouse:
            check_models(self.workload, warehouse, only=sync)
            return preview_rows(self.workload, warehouse, sync, limit=limit)

    def init(
        self,
        model: str,
        resource: str,
        *,
        key: Sequence[str] = (),
        fields: Sequence[tuple[str, str]] = (),
        ask: Callable[[Sequence[str]], tuple[str, ...]] | None = None,
    ) -> Written:
        """Write a first sync for a model into its YAML.

        `fields` are pairs of a parameter and its column. `ask` chooses the key from the columns if it can't be derived.
        Needs the warehouse, but no Stripe key. Raises `ConfigError`.
        """
        from dbt_stripe_sync.authoring.scaffold import FirstSync, find_model, write_first_sync

        asked = FirstSync(model=model, resource=resource, key=tuple(key), fields=tuple(fields), ask=ask)
        dbt, manifest = load_manifest(self.options)
        node = find_model(manifest, asked.model)
        with opened_warehouse(dbt) as warehouse:
            columns = warehouse.columns(node.source())
        return write_first_sync(asked, node, columns, manifest, read_catalog(), dbt.root)

    def import_account(self, wanted: ImportOptions) -> Imported:
        """Write seeds and syncs for the account's objects.

        Changes nothing in Stripe, and needs no manifest. Raises `ConfigError` if files or names are taken; then nothing
        is written.
        """
        from dbt_stripe_sync.account_import import import_account

        return run_to_end(import_account(self.options, wanted, self._clock))

    def docs(self, out: Path | None = None) -> tuple[Path, bool, tuple[Problem, ...]]:
        """Write an exposure for every sync to the models folder.

        Returns the path, whether the file has changed, and a problem for each exposure that is left out because dbt
        doesn't allow it to refer to its model.
        """
        from dbt_stripe_sync.authoring.exposures import FILE as EXPOSURES
        from dbt_stripe_sync.authoring.exposures import Referrer, find_left_out, write_exposures

        dbt, syncs = self.workload.dbt, self.workload.syncs
        file = out or dbt.root / dbt.model_paths[0] / EXPOSURES
        syncs = tuple(sync for sync in syncs if sync.part_of is None)
        referrer = Referrer(package=dbt.name, restricted=dbt.restricted_packages)
        return file, write_exposures(syncs, file, referrer), tuple(find_left_out(syncs, referrer))

    def write_log(self, *, take_over: bool = False) -> LogWritten:
        """Bring the log in the warehouse up to date, and check what is there.

        `take_over` continues the log of another state. Needs no Stripe key. Raises `SyncError`.
        """
        from dbt_stripe_sync.warehouse_log import check_log_wanted, write_log

        check_log_wanted(self.workload)
        with self.state.hold() as state:
            return run_to_end(write_log(self.workload, state, everything=True, take_over=take_over))

    def write_log_source(self, out: Path | None = None) -> tuple[Path, bool]:
        """Write a dbt source for the log to the models folder. Returns the path, and whether the file has changed."""
        from dbt_stripe_sync.authoring.log_source import FILE as SOURCE
        from dbt_stripe_sync.authoring.log_source import write_source
        from dbt_stripe_sync.warehouse_log import check_log_wanted

        check_log_wanted(self.workload)
        file = out or self.workload.dbt.root / self.workload.dbt.model_paths[0] / SOURCE
        return file, write_source(self.workload.settings.log_schema, file)

    def unread(self) -> list[Problem]:
        """Warnings about syncs in places of the project's YAML where dbt doesn't read them. Raises `ConfigError`."""
        from dbt_stripe_sync.dbt.unread import find_unread

        return list(find_unread(self.workload.dbt, self.workload.manifest))

    @staticmethod
    def schema() -> dict[str, Any]:
        """The JSON Schema of the `stripe_sync` block, for editors."""
        from dbt_stripe_sync.config.schema import build_schema

        return build_schema(read_catalog())

    def debug(self) -> list[Check]:
        """Check the project, the warehouse, the key and the state one by one."""
        from dbt_stripe_sync.look.health import check_health

        return list(check_health(self.options))

    @cached_property
    def state(self) -> ProjectState:
        """What was last written to Stripe, and what each run did."""
        from dbt_stripe_sync.project_state import ProjectState

        return ProjectState(self.workload, self._clock)

    @property
    def artifacts(self) -> tuple[Path, Path]:
        """The files to which each run writes its results (JSON) and its report (HTML)."""
        from dbt_stripe_sync.artifacts import PAGE, RESULTS

        folder = self.workload.dbt.target_path
        return folder / RESULTS, folder / PAGE

    def _send(self, load: Callable[[], Workload], send: Callable[[Parts, Stop], Awaitable[RunReport]]) -> RunReport:
        """Run a workflow that sends changes, with everything around it: signals, the state, artifacts, alerts."""
        from dbt_stripe_sync.engine.apply.lanes import Stop

        stop = Stop(_announce_interrupt)

        async def work() -> RunReport:
            async with open_parts(load(), clock=self._clock) as parts:
                report = await send(parts, stop)
                report = await self._written_to_warehouse(report, parts)
                report = self._with_artifacts(report)
            return self._with_closing_problem(report, parts.state.left)

        with alerting_about_stops(self.options):
            return self._alerted(run_until_done(work(), stop))

    def _with_artifacts(self, report: RunReport) -> RunReport:
        """Write the artifacts while the state is still open, because opening it again would take time."""
        from dbt_stripe_sync.artifacts import write_artifacts

        folder, with_amounts = self.workload.dbt.target_path, self.workload.settings.show_amounts
        written = write_artifacts(report, folder, with_amounts=with_amounts)
        self.summary = written.summary
        return _with_problems(report, written.problems)

    def _with_closing_problem(self, report: RunReport, problem: Problem | None) -> RunReport:
        """The report with problems from closing the state. If there are any, the artifacts are written again."""
        return report if problem is None else self._with_artifacts(_with_problems(report, (problem,)))

    async def _written_to_warehouse(self, report: RunReport, parts: Parts) -> RunReport:
        """Write the row hashes and the log to the warehouse, while the state is still held."""
        from dbt_stripe_sync.warehouse_diff import bring_up_to_date, compared_there

        if compared_there(self.workload):
            report = _with_problems(report, await bring_up_to_date(self.workload, parts.state))
        if self.workload.settings.log is not None:
            from dbt_stripe_sync.warehouse_log import log_to_warehouse

            report = _with_problems(report, await log_to_warehouse(self.workload, parts.state))
        return report

    def _alerted(self, report: RunReport) -> RunReport:
        return _with_problems(report, alert_about_run(report, self.summary, self.workload.settings.alerts))

    @staticmethod
    def resources() -> list[dict[str, Any]]:
        """Every Stripe resource, with the modes and removals that a sync may use."""
        from dbt_stripe_sync.look.catalog_view import list_resources

        return list_resources()

    @staticmethod
    def fields(resource: str, path: str | None = None) -> list[dict[str, Any]]:
        """The parameters of a resource, or those inside one of its hashes. Raises `ConfigError`."""
        from dbt_stripe_sync.look.catalog_view import list_fields

        return list_fields(resource, path)


def _asking(agreed: bool | Agree) -> Agree:  # noqa: FBT001 - one answer for all questions
    def ask(plan: Plan, removals: Sequence[PermanentRemovals]) -> bool:
        if isinstance(agreed, bool):
            return agreed
        with interruptible():
            return agreed(plan, removals)

    return ask


def _reviewing(review: Review | None) -> Review | None:
    if review is None:
        return None

    def look(plan: Plan, /, *, is_first: bool) -> None:
        with interruptible():
            review(plan, is_first=is_first)

    return look


def _announce_interrupt(in_flight: int) -> None:
    if in_flight:
        _log().warning("Finishing %s; press Ctrl-C now to quit without waiting.", counted(in_flight, "request"))


def _log() -> logging.Logger:
    return logging.getLogger(__name__)


def _with_problems(report: RunReport, problems: Sequence[Problem]) -> RunReport:
    return replace(report, problems=(*report.problems, *problems)) if problems else report
