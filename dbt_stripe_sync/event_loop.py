"""Runs coroutines to completion from synchronous code, even if an event loop is already running."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine.

    If an event loop is already running (a notebook, an async service), the coroutine runs in a thread, and the loop
    waits. Use `asyncio.to_thread(project.run)` to keep the loop running.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()
