"""How many changes may be between their intent and their outcome at once: a run that is stopped has to end them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from math import ceil

# More than Stripe's pace for an account ever needs (100 calls a second, each answered in 0.3 seconds or so).
MOST_UNDER_WAY = 48
# If the server is faster than Stripe, as many more as finish in this time, so that a stop takes no longer.
SECONDS_TO_END = 0.5
# With --fail-fast: enough for the pace of one endpoint, and few enough that little happens after the first failure.
FEW_UNDER_WAY = 8
# Each waits for its turn at the pace of the account: where that is slow, fewer wait, since a stop ends them all.
SECONDS_OF_PACE = 1.5


def turns_at(calls_per_second: float, *, fail_fast: bool) -> Turns:
    """As many as keep the pace of the account, and no more than a stop can end soon."""
    most, seconds = (FEW_UNDER_WAY, 0.0) if fail_fast else (MOST_UNDER_WAY, SECONDS_TO_END)
    paced = ceil(calls_per_second * SECONDS_OF_PACE) if calls_per_second < most else most
    return Turns(least=max(1, min(most, paced)), seconds=seconds)


@dataclass(slots=True)
class Turns:
    """An asynchronous context for each change that is under way; it waits until there is room for one more.

    There is room for `least`, or for as many as have ended in the last `seconds` where those are more.
    """

    least: int = MOST_UNDER_WAY
    seconds: float = SECONDS_TO_END
    under_way: int = 0
    _ended: deque[float] = field(default_factory=deque)
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    async def __aenter__(self) -> None:
        while self.under_way >= self._room():
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self.under_way += 1

    async def __aexit__(self, *_: object) -> None:
        self.under_way -= 1
        self._ended.append(time.monotonic())
        free = self._room() - self.under_way
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1

    def _room(self) -> int:
        since = time.monotonic() - self.seconds
        while self._ended and self._ended[0] < since:
            self._ended.popleft()
        return max(self.least, len(self._ended))
