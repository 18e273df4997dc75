"""Commits intents and outcomes in groups, so that each is durable in time without a transaction for each change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from dbt_stripe_sync.engine.ports import State
    from dbt_stripe_sync.model.run import Intent, Outcome

MAX_BATCH = 500
# A commit costs about as much for one change as for a hundred. If many changes are in flight, the next commit waits
# this long for more of them. That is short compared with a response from Stripe, and halves the number of commits.
GATHERING_SECONDS = 0.02
MIN_BATCH_TO_GATHER = 16


class Journal:
    """Writes intents and outcomes to the state, with everything that is waiting in one transaction.

    Use it as a context manager; on exit it writes what is still waiting. If a commit fails, every waiting and every
    later caller gets its `StateError`, because no call may be sent without a durable intent.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._waiting: list[tuple[Intent | Outcome, bool, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._ending = False
        self._failure: BaseException | None = None
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._write())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        self._wake.set()
        if self._writer is not None:
            await self._writer

    async def open(self, intent: Intent) -> None:
        """Write an intent; returns once it is durable. Raises `StateError`."""
        await self._put(intent, is_intent=True)

    async def close(self, outcome: Outcome) -> None:
        """Write an outcome and its record; returns once they are durable. Raises `StateError`."""
        await self._put(outcome, is_intent=False)

    async def _put(self, item: Intent | Outcome, *, is_intent: bool) -> None:
        if self._failure is not None:
            raise self._failure
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, is_intent, future))
        self._wake.set()
        await asyncio.shield(future)

    async def _write(self) -> None:
        last = 0
        while not self._ending or self._waiting:
            await self._wake.wait()
            if MIN_BATCH_TO_GATHER < last < MAX_BATCH and not self._ending:
                await asyncio.sleep(GATHERING_SECONDS)
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            if not self._waiting and not self._ending:
                self._wake.clear()
            last = len(batch)
            if batch:
                await self._commit(batch)

    async def _commit(self, batch: list[tuple[Intent | Outcome, bool, asyncio.Future[None]]]) -> None:
        intents = [item for item, is_intent, _ in batch if is_intent]
        outcomes = [item for item, is_intent, _ in batch if not is_intent]
        try:
            if self._failure is None:
                # In a thread, so that calls can be sent and responses read while the disk is busy.
                await asyncio.to_thread(self._state.commit, intents, outcomes)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - raised in every waiting caller
            self._failure = error
        for _, _, future in batch:
            if future.done():
                continue
            if self._failure is None:
                future.set_result(None)
            else:
                future.set_exception(self._failure)
                future.exception()  # marks it as retrieved: a cancelled change never reads it
