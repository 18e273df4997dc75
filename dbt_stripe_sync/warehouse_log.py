"""`log: warehouse`: writes the state's runs, changes, problems and Stripe ids to a schema of the warehouse.

The state is the source (`state/logged.py`), and the warehouse stores the log (`warehouse/log.py`). Nothing else is
remembered: each run asks the log what it lacks. So if a log could not be written, the next run adds what is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.model.errors import ConfigError, Location, Problem
from dbt_stripe_sync.model.log import SCHEMA_SUFFIX
from dbt_stripe_sync.warehouse_writing import Writing, write_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.model.log import LogMark
    from dbt_stripe_sync.state.logged import LoggedState
    from dbt_stripe_sync.state.store import StateStore
    from dbt_stripe_sync.warehouse.log import WarehouseLog
    from dbt_stripe_sync.workload import Workload

# Runs are added in batches, so that an interrupted export of a long history doesn't start over.
RUNS_AT_ONCE = 500
CHANGES_AT_ONCE = 100_000
# Up to this many objects of new runs are compared one by one; above that, the whole table is.
FEW_OBJECTS = 100_000
LOG = Writing(
    code="log",
    what="the log was",
    setting="log",
    later="the next run, or `dbt-stripe-sync log write`, writes what is missing",
)


class LogWritten(Struct, frozen=True, kw_only=True):
    """What was written: the log's schema, and how many runs and changes it did not have."""

    schema: str
    runs: int
    changes: int


def log_schema(workload: Workload) -> str:
    """The schema of the log: the one in the settings, or one named after the target's schema."""
    return workload.settings.log_schema or f"{workload.dbt.target.get('schema') or 'main'}{SCHEMA_SUFFIX}"


def check_log_wanted(workload: Workload) -> None:
    """Whether the settings ask for a log. Raises `ConfigError`."""
    if workload.settings.log is None:
        raise ConfigError(
            Problem(
                code="no-log",
                summary="this project keeps no log in the warehouse",
                where=Location(file=workload.dbt.settings_file, field="vars.stripe_sync"),
                hint="add `log: warehouse` under `vars: stripe_sync:`",
            )
        )


async def log_to_warehouse(workload: Workload, state: StateStore) -> tuple[Problem, ...]:
    """Write the log, if there should be one. Problems are returned as warnings."""
    if workload.settings.log is None:
        return ()
    return await LOG.attempt(write_log(workload, state), settings_file=workload.dbt.settings_file)


async def write_log(
    workload: Workload, state: StateStore, *, everything: bool = False, take_over: bool = False
) -> LogWritten:
    """Write what the log lacks; `everything` also compares what it already has. Raises `SyncError`."""
    return await write_in_thread(_Writer(workload, state.logged, everything=everything, take_over=take_over))


class _Writer:
    def __init__(self, workload: Workload, state: LoggedState, *, everything: bool, take_over: bool) -> None:
        self._workload = workload
        self._state = state
        self._everything = everything
        self._take_over = take_over
        self._log: WarehouseLog | None = None

    def cancel(self) -> None:
        if self._log is not None:
            self._log.cancel()

    def write(self) -> LogWritten:
        from dbt_stripe_sync.warehouse.registry import open_log
        from dbt_stripe_sync.warehouse.requests import TimeLimits

        settings, dbt = self._workload.settings, self._workload.dbt
        schema = log_schema(self._workload)
        limits = TimeLimits(read_seconds=settings.warehouse_read_timeout)
        self._log = log = open_log(dbt.target, schema, project_root=dbt.root, limits=limits)
        try:
            mark = self._state.mark()
            is_new = log.prepare(mark, take_over=self._take_over)
            missing = self._missing_runs(log, compare=is_new or self._everything)
            for runs in _in_groups(missing):
                log.add_runs(
                    mark, self._state.run_rows(runs), self._state.change_rows(runs), self._state.problem_rows(runs)
                )
            known = log.mark()
            if self._everything or known != mark:
                with log.objects_replaced(mark):
                    if self._everything or not self._write_few(log, known, mark, list(missing)):
                        self._write_all(log)
        finally:
            log.close()
        return LogWritten(schema=schema, runs=len(missing), changes=sum(missing.values()))

    def _write_few(self, log: WarehouseLog, known: LogMark, mark: LogMark, runs: Sequence[str]) -> bool:
        """Write the objects that some runs wrote, unless others differ as well: then nothing is written.

        The log's other objects are not read; the digests before and after show that they are right.
        """
        if not runs or known.figures is None or self._state.count_keys(runs) > FEW_OBJECTS:
            return False
        if log.count_objects() != known.figures[0]:
            return False  # somebody has removed some
        logged = log.objects_of(self._state.keys(runs))
        with self._state.object_changes(logged, runs=runs) as changes:
            if not changes.accounts_for(known, mark):
                return False
            log.write_objects(changes.written())
            log.drop_objects(changes.gone())
        return True

    def _write_all(self, log: WarehouseLog) -> None:
        """Compare every object in the log, and write those that differ."""
        with self._state.object_changes(log.objects()) as changes:
            log.write_objects(changes.written())
            log.drop_objects(changes.gone())

    def _missing_runs(self, log: WarehouseLog, *, compare: bool) -> Mapping[str, int]:
        """The runs that the log lacks completely or in part, with their numbers of changes."""
        runs = self._state.runs()
        if not compare:
            logged = log.runs()
            return {run: changes for run, changes in runs.items() if run not in logged}
        sizes = log.run_sizes()
        return {run: changes for run, changes in runs.items() if sizes.get(run, -1) < changes}


def _in_groups(runs: Mapping[str, int]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for run, changes in runs.items():
        if group and (len(group) == RUNS_AT_ONCE or size + changes > CHANGES_AT_ONCE):
            yield group
            group, size = [], 0
        group.append(run)
        size += changes
    if group:
        yield group
