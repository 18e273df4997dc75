"""Writes to the warehouse after a run, in a thread so that Ctrl-C works.

A failure never fails the run.

`warehouse_diff.py` and `warehouse_log.py` define what is written; both of them write from an open state.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from msgspec import Struct

from dbt_stripe_sync.model.errors import Location, Problem, Severity, SyncError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

Written_co = TypeVar("Written_co", covariant=True)


class Writer(Protocol[Written_co]):
    """Writes from an open state through its own connection."""

    def write(self) -> Written_co:
        """Write what is missing. Raises `SyncError`."""
        ...

    def cancel(self) -> None:
        """Cancel the current statement, from another thread. What has begun is rolled back, or not trusted."""
        ...


class Writing(Struct, frozen=True, kw_only=True):
    """The wording of a warning about a failed write: what it is, which setting asks for it, and the consequence."""

    code: str
    what: str
    setting: str
    later: str

    async def attempt(self, writing: Coroutine[Any, Any, object], *, settings_file: str) -> tuple[Problem, ...]:
        """Write; problems are returned as warnings that name the file of the setting."""
        try:
            await writing
        except SyncError as error:
            return tuple(self._not_written(problem, settings_file) for problem in error.problems)
        except Exception as error:  # noqa: BLE001 - what is written beside a run never fails it
            problem = Problem(code=f"{self.code}-failed", summary=type(error).__name__)
            return (self._not_written(problem, settings_file),)
        return ()

    def _not_written(self, problem: Problem, settings_file: str) -> Problem:
        return Problem(
            code=f"{self.code}-not-written",
            summary=f"{self.what} not written to the warehouse: {problem.summary}",
            where=Location(file=settings_file, field=f"vars.stripe_sync.{self.setting}"),
            hint=f"{problem.hint}; {self.later}" if problem.hint else self.later,
            severity=Severity.WARNING,
        )


async def write_in_thread(writer: Writer[Written_co]) -> Written_co:
    """Have a writer write, and cancel it if the run is cancelled. Raises `SyncError`."""
    writing = asyncio.ensure_future(asyncio.to_thread(writer.write))
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        writer.cancel()
        with suppress(Exception):
            await writing  # it uses the state, which is closed next
        raise
