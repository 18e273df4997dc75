"""The methods of `Project.state`: read, move, export and rebuild records, and read runs."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dbt_stripe_sync.config.suggest import did_you_mean
from dbt_stripe_sync.event_loop import run_to_end
from dbt_stripe_sync.model.callers import check_limit
from dbt_stripe_sync.model.errors import Location, Problem, StateError
from dbt_stripe_sync.state.access import look_at_state, open_state
from dbt_stripe_sync.wiring import open_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from dbt_stripe_sync.engine.apply.rebuild import Rebuilt
    from dbt_stripe_sync.model.change import Owed
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.record import Record
    from dbt_stripe_sync.model.run import RunEntry, RunReport
    from dbt_stripe_sync.state.place import StatePlace
    from dbt_stripe_sync.state.store import StateStore
    from dbt_stripe_sync.workload import Workload


def no_run(place: StatePlace, run: str | None) -> Problem:
    """The problem of a run that the state doesn't have."""
    return Problem(
        code="no-run",
        summary=f"unknown run `{run}`" if run is not None else "there are no runs yet",
        where=Location(file=str(place)),
        hint="`dbt-stripe-sync runs` lists them" if run is not None else "`dbt-stripe-sync run` starts one",
    )


class ProjectState:
    """The state of one project. Only `rebuild` needs a Stripe key. Every method raises `StateError`."""

    def __init__(self, workload: Workload, clock: Clock) -> None:
        self._workload = workload
        self._clock = clock

    @property
    def place(self) -> StatePlace:
        """Its location. Raises `ConfigError`."""
        return self._workload.state_place

    @property
    def path(self) -> Path:
        """The file; for a state on an object store, this machine's copy of it."""
        return self.place.path

    @contextmanager
    def look(self) -> Iterator[StateStore]:
        """The state for reading, while the context lasts; if a run holds it, a copy."""
        self.check_exists()
        with look_at_state(
            self.place,
            identity=None,
            clock=self._clock,
            wait_seconds=self._workload.options.wait_for_lock,
            retention=self._workload.retention,
            must_exist=True,
        ) as state:
            yield state

    @contextmanager
    def open(self) -> Iterator[StateStore]:
        """The state, while the context lasts."""
        self.check_exists()
        with self._open(must_exist=True) as state:
            yield state

    @contextmanager
    def hold(self) -> Iterator[StateStore]:
        """The state while the context lasts, created if it doesn't exist."""
        with self._open(takes_over_file=True) as state:
            yield state

    def check_exists(self) -> None:
        """Raises `StateError` if there is no state yet. One on an object store is looked for when it is opened."""
        place = self.place
        if place.remote is None and not os.path.exists(place.path):  # noqa: PTH110 - False for a path that no file can have
            raise StateError(
                Problem(
                    code="no-state",
                    summary="there is no state yet",
                    where=Location(file=str(self.place)),
                    hint="the first `dbt-stripe-sync run` creates it",
                )
            )

    def summary(self) -> list[tuple[str, str, int]]:
        """Each sync in the state with its resource and its number of records."""
        with self.look() as state:
            return state.summary()

    def records(self, sync: str, *, limit: int | None = None) -> tuple[list[Record], int]:
        """The first records of a sync by key, and how many it has.

        Raises `StateError`, too, if neither the state nor the project knows the sync, and `ValueError` for a negative
        `limit`.
        """
        check_limit(limit)
        with self.look() as state:
            counts = {name: count for name, _, count in state.summary()}
            known = {*counts, *self._workload.known}
            if sync not in known and not state.open_keys(sync):
                raise StateError(_no_records(sync, known))
            return list(state.list_records(sync, limit=limit)), counts.get(sync, 0)

    def record(self, sync: str, key: str) -> Record:
        """The record of one row."""
        with self.look() as state:
            record = state.record(sync, key)
            if record is None:
                known = _syncs_with_records(state)
                raise StateError(_no_record(sync, key) if sync in known else _no_records(sync, known))
        return record

    def forget(self, sync: str, keys: Sequence[str] = (), *, every: bool = False) -> int:
        """Drop the records of some rows, or of all, and return how many there were.

        Their objects stay in Stripe. A row that is still in the model finds its object by its tag in the next run, so
        nothing is created twice.
        """
        with self.open() as state:
            undecided = state.open_keys(sync)
            unknown = [key for key in keys if key not in undecided and state.record(sync, key) is None]
            if unknown and not undecided and sync not in (known := _syncs_with_records(state)):
                raise StateError(_no_records(sync, known))
            if unknown:
                raise StateError(_no_record(sync, key) for key in unknown)
            wanted = [*(record.key for record in state.list_records(sync)), *undecided] if every else keys
            if not wanted:
                raise StateError(_no_records(sync, _syncs_with_records(state)))
            return state.forget(sync, wanted)

    def settle(self, sync: str, key: str) -> tuple[Owed, ...]:
        """Drop the owed steps of one row, and return them. Its objects in Stripe don't change."""
        with self.open() as state:
            owed = tuple(step for step in state.owed() if (step.sync, step.key) == (sync, key))
            if not owed:
                raise StateError(
                    Problem(
                        code="nothing-owed",
                        summary=f"nothing is owed for this row of the sync `{sync}`",
                        where=Location(sync=sync, key=key),
                        hint="`dbt-stripe-sync plan` lists what is owed, with the sync and key of each step",
                    )
                )
            state.settle(sync, key)
            return owed

    def move(self, old: str, new: str, *, keep_tags: bool = False) -> int:
        """Rename a sync's records, and return how many there are.

        The next run updates the tag of each object, unless `keep_tags`: a lost state could not be rebuilt from tags
        with the old name.
        """
        with self.open() as state:
            records = {name: count for name, _, count in state.summary()}
            undecided = [name for name in (old, new) if state.open_keys(name)]
            if undecided:
                raise StateError(map(_undecided, undecided))
            if old not in records:
                raise StateError(_no_records(old, records))
            if new in records:
                raise StateError(
                    Problem(
                        code="sync-has-records",
                        summary=f"the sync `{new}` has {records[new]:,} records already",
                        where=Location(file=str(self.place), sync=new),
                        hint=f"`dbt-stripe-sync state forget {new} --all` drops them; their objects stay in Stripe",
                    )
                )
            state.rename_sync(old, new, retag=not keep_tags)
            return records[old]

    def export(self, folder: Path) -> int:
        """Write the whole state to Parquet files, and return the number of records."""
        with self.look() as state:
            state.export(folder)
            return sum(count for _, _, count in state.summary())

    def import_(self, folder: Path) -> int:
        """Fill a new state from an export, and return the number of records."""
        with self._open() as state:
            return state.import_(folder)

    def rebuild(self) -> tuple[Rebuilt, ...]:
        """Rebuild the records that the state lacks from the tags in Stripe.

        Changes nothing in Stripe. Raises `StripeError`, too.
        """
        from dbt_stripe_sync.engine.apply.rebuild import rebuild_records
        from dbt_stripe_sync.model.run import new_run_id

        workload = self._workload

        async def work() -> tuple[Rebuilt, ...]:
            # The separate step of a sync has no tag of its own: the next run compares it with the object.
            whole = [sync for sync in workload.syncs if sync.part_of is None]
            async with open_parts(workload, clock=self._clock) as parts:
                run_id = new_run_id(parts.clock.now())
                return await rebuild_records(whole, workload.catalog, parts.stripe, parts.state, run_id=run_id)

        return run_to_end(work())

    def runs(self, limit: int = 20) -> list[RunEntry]:
        """The runs, newest first. Raises `ValueError` for a negative `limit`."""
        check_limit(limit)
        with self.look() as state:
            return state.runs(limit=limit)

    def report(self, run: str | None = None) -> RunReport:
        """The report of a run: the last one, or the one whose id begins with the given characters."""
        with self.look() as state:
            found = self._run_id(state, run)
            report = state.report(found) if found is not None else None
        if report is None:
            raise StateError(no_run(self.place, run))
        return report

    def undone(self, run: str | None = None) -> Mapping[str, frozenset[str]]:
        """The keys, by sync, that a run (the last one) rejected, skipped or left unknown."""
        with self.open() as state:
            found = self._run_id(state, run) if run is not None else None
            if run is not None and found is None:
                raise StateError(no_run(self.place, run))
            return state.last_rejected(found)

    def interrupted(self, run: str | None = None) -> str | None:
        """The id of the run that `undone` looks at, if it was interrupted before it had sent everything."""
        with self.look() as state:
            return state.interrupted_run(self._run_id(state, run) if run is not None else None)

    @staticmethod
    def _run_id(state: StateStore, begins: str | None) -> str | None:
        if begins is None:
            return state.last_run()
        return state.find_run(begins)

    @contextmanager
    def _open(self, *, must_exist: bool = False, takes_over_file: bool = False) -> Iterator[StateStore]:
        place = self.place
        with open_state(
            # The imported data may come from the file that was the state before.
            place if must_exist or takes_over_file else replace(place, before=None),
            identity=None,
            clock=self._clock,
            wait_seconds=self._workload.options.wait_for_lock,
            retention=self._workload.retention,
            must_exist=must_exist,
        ) as state:
            yield state


def _syncs_with_records(state: StateStore) -> list[str]:
    return [name for name, _, _ in state.summary()]


def _no_record(sync: str, key: str) -> Problem:
    return Problem(
        code="no-record",
        summary=f"the state has no record of sync `{sync}` with this key",
        where=Location(sync=sync, key=key),
        hint=f"`dbt-stripe-sync state list {sync}` lists the keys",
    )


def _undecided(sync: str) -> Problem:
    return Problem(
        code="sync-undecided",
        summary=f"changes of the sync `{sync}` are unresolved",
        where=Location(sync=sync),
        hint="`dbt-stripe-sync run` resolves them: run it before you rename the sync",
    )


def _no_records(sync: str, known: Iterable[str]) -> Problem:
    return Problem(
        code="no-record",
        summary=f"the state has no records of a sync `{sync}`",
        where=Location(sync=sync),
        hint=f"{did_you_mean(sync, sorted(known))}`dbt-stripe-sync state list` lists the syncs",
    )
