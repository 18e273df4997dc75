"""Runs a driver in its own thread, so that the caller can report the wait, stop waiting, and be interrupted."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Pending(Struct, Generic[T]):
    """Submitted work that may not be done yet."""

    answer: queue.SimpleQueue[tuple[bool, Any]] = field(default_factory=queue.SimpleQueue)

    def wait(self, seconds: float, *, notice_after: float, notice: Callable[[], None]) -> T:
        """The result of the work, or its exception.

        Calls `notice` once if it takes long; finally raises `TimeoutError`.
        """
        ends_at = time.monotonic() + seconds
        try:
            done, value = self.answer.get(timeout=min(notice_after, seconds))
        except queue.Empty:
            if seconds <= notice_after:
                raise TimeoutError from None
            notice()
            done, value = self._last_chance(ends_at)
        if done:
            return cast("T", value)
        raise value

    def _last_chance(self, ends_at: float) -> tuple[bool, Any]:
        try:
            return self.answer.get(timeout=max(0.0, ends_at - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None


class Worker:
    """Does one task after another in a single thread, because some drivers bind their connections to it.

    The thread is a daemon, so that a driver that never returns doesn't keep the program from ending.
    """

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], Pending[Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def begin(self, work: Callable[[], T]) -> Pending[T]:
        """Submit `work`."""
        pending: Pending[T] = Pending()
        self._tasks.put((work, pending))
        return pending

    def end(self) -> None:
        """Stop once the submitted work is done."""
        self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            work, pending = task
            try:
                answer = (True, work())
            except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
                answer = (False, error)
            pending.answer.put(answer)
            # Don't keep the last batch and its reader alive in this frame.
            del task, work, pending, answer
