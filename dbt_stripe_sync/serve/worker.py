"""Processes deliveries one at a time, in the order of their arrival."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from dbt_stripe_sync.cloud.client import open_client
from dbt_stripe_sync.cloud.runs import RunState, find_latest_run
from dbt_stripe_sync.model.errors import SyncError
from dbt_stripe_sync.serve.deliveries import SUPERSEDED, SyncEnd
from dbt_stripe_sync.serve.syncing import INTERRUPTED, sync_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from dbt_stripe_sync.serve.deliveries import Deliveries, Delivery
    from dbt_stripe_sync.serve.options import ServeOptions

PAUSE_SECONDS = 5.0


class Worker:
    """Syncs queued deliveries. `wake` announces a new one; `stop` ends it after the calls in flight."""

    def __init__(self, options: ServeOptions, deliveries: Deliveries, report: Callable[[str], None]) -> None:
        self._options = options
        self._deliveries = deliveries
        self._report = report
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()

    def wake(self) -> None:
        """Announce a new delivery."""
        self._woken.set()

    def stop(self) -> None:
        """Start no more deliveries."""
        self._stopping.set()
        self._woken.set()

    async def work(self) -> None:
        """Process deliveries until `stop`."""
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                delivery = await asyncio.to_thread(self._deliveries.begin_next)
                if delivery is None:
                    await self._woken.wait()
                else:
                    await self._handle(delivery)
            except (sqlite3.Error, OSError) as error:
                # The disk is full or missing: the delivery stays in the queue until that is resolved.
                self._report(f"the queue can't be written: {error}")
                with suppress(TimeoutError, asyncio.TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), PAUSE_SECONDS)
                await asyncio.to_thread(self._requeue)

    async def _handle(self, delivery: Delivery) -> None:
        what = f"dbt Cloud run {delivery.run_id} of job {delivery.job_id}"
        if await self._is_superseded(delivery):
            note = "a later run of the job has finished: its own delivery is synced instead"
            await asyncio.to_thread(self._deliveries.end, delivery, SyncEnd(state=SUPERSEDED, note=note))
            self._report(f"{what}: skipped, a later run of the job has finished")
            return
        self._report(f"{what}: sync started")
        end = await sync_run(self._options, delivery, self._stopping)
        if end.state == INTERRUPTED:
            await asyncio.to_thread(self._deliveries.put_back, delivery)
            self._report(f"{what}: sync interrupted; it continues when the server starts again")
            return
        await asyncio.to_thread(self._deliveries.end, delivery, end)
        counts = ", ".join(f"{count:,} {status}" for status, count in (end.totals or {}).items() if count)
        self._report(f"{what}: sync {end.state}{f' ({counts})' if counts else ''}{f': {end.note}' if end.note else ''}")

    async def _is_superseded(self, delivery: Delivery) -> bool:
        """Whether the tables are already those of a later run, about which this run's results say nothing."""
        try:
            async with open_client(self._options.access) as client:
                latest = await find_latest_run(client, delivery.job_id)
        except SyncError:
            return False  # the sync asks dbt Cloud again, and reports what is wrong
        if latest is None or latest.id <= delivery.run_id:
            return False
        return latest.state in {RunState.SUCCESS, RunState.ERROR}

    def _requeue(self) -> None:
        try:
            self._deliveries.requeue_running()
        except sqlite3.Error:
            return
