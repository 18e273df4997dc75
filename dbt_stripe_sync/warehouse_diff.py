"""Updates the warehouse's copy of the state's hashes after a run, for `diff: warehouse`.

The state is authoritative (`state/accepted.py`); the copy is read to plan (`warehouse/row_diffs.py`) and only written
here (`warehouse/hash_copy.py`). The copy has a mark. If it isn't the state's, the copy isn't trusted, and the run
rewrites it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.model.sync import DiffPlace
from dbt_stripe_sync.warehouse_writing import Writing, write_in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.engine.ports import RowDiffs, Warehouse
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.hashes import HashMark
    from dbt_stripe_sync.model.sync import Sync
    from dbt_stripe_sync.state.store import StateStore
    from dbt_stripe_sync.warehouse.hash_copy import HashCopy
    from dbt_stripe_sync.workload import Workload

HASHES = Writing(
    code="diff",
    what="the hashes of accepted rows were",
    setting="diff",
    later="until a run can write it, every row is read",
)


def is_compared_there(workload: Workload, sync: Sync) -> bool:
    """Whether the warehouse should compare a sync's rows."""
    return (sync.diff.value if sync.diff is not None else workload.settings.diff) == DiffPlace.WAREHOUSE.value


def compared_there(workload: Workload) -> frozenset[str]:
    """The syncs whose rows the warehouse should compare."""
    return frozenset(sync.name for sync in workload.syncs if is_compared_there(workload, sync))


def open_diffs(workload: Workload, warehouse: Warehouse) -> RowDiffs | None:
    """Let the warehouse hash or compare rows, if a sync's settings say so or if that saves reading rows.

    Raises `WarehouseError`.
    """
    from dbt_stripe_sync.warehouse.registry import open_row_diffs, reads_hashes_first

    is_hashed = reads_hashes_first(workload.dbt.target) and any(sync.stores_rows for sync in workload.syncs)
    if not compared_there(workload) and not is_hashed:
        return None
    return open_row_diffs(workload.dbt.target, workload.settings.diff_schema, warehouse)


async def bring_up_to_date(workload: Workload, state: StateStore) -> tuple[Problem, ...]:
    """Write the hashes that the copy lacks. Problems are returned as warnings."""
    writing = write_in_thread(_Writer(workload, state))
    return await HASHES.attempt(writing, settings_file=workload.dbt.settings_file)


class _Writer:
    def __init__(self, workload: Workload, state: StateStore) -> None:
        self._workload = workload
        self._state = state
        self._copy: HashCopy | None = None

    def cancel(self) -> None:
        if self._copy is not None:
            self._copy.cancel()

    def write(self) -> None:
        from dbt_stripe_sync.warehouse.registry import open_hash_copy
        from dbt_stripe_sync.warehouse.requests import TimeLimits
        from dbt_stripe_sync.wiring import adapter_request

        wanted = self._wanted()
        if not wanted:
            return
        settings, dbt = self._workload.settings, self._workload.dbt
        limits = TimeLimits(read_seconds=settings.warehouse_read_timeout)
        self._copy = copy = open_hash_copy(
            dbt.target, settings.diff_schema, project_root=dbt.root, adapter=adapter_request(dbt), limits=limits
        )
        try:
            copy.prepare()
            for sync, mark in wanted.items():
                if not self._is_right(copy, sync, mark):
                    copy.replace(sync, mark, self._state.accepted.rows(sync))
        finally:
            copy.close()

    def _wanted(self) -> Mapping[str, HashMark]:
        names = compared_there(self._workload)
        return {sync: mark for sync, mark in self._state.hash_marks().items() if sync in names}

    def _is_right(self, copy: HashCopy, sync: str, wanted: HashMark) -> bool:
        """Whether the copy matches the state, if necessary after updating the rows that the last run changed."""
        run = self._state.last_run()
        known = copy.mark(wanted.state_id, sync)
        if run is None or known is None or not copy.is_whole(wanted.state_id, sync):
            return False
        if known == wanted:
            return True
        if not copy.can_change(wanted.state_id, sync):
            return False
        accepted = self._state.accepted
        touched = accepted.touched(sync, run).read_all()
        return copy.change(
            sync,
            wanted,
            touched.to_reader(),
            after=lambda had: accepted.mark_after(known, had, touched.to_reader()),
        )
