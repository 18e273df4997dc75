"""The machine's clock."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timezone


class SystemClock:
    """Implements `Clock`."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Seconds that never step back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
