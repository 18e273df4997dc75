"""The right to write a remote state.

One run at a time holds it, and renews it while it runs.

It keeps two runs from trying to write. That they can't both write is ensured by the log, so clocks that differ do no
harm: a lease that is taken over too early only costs its holder the run.
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
from msgspec import Struct

from dbt_stripe_sync.model.errors import StateError
from dbt_stripe_sync.state.remote import problems
from dbt_stripe_sync.state.remote.objects import TakenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.state.remote.objects import Objects

NAME = "lease.json"
LASTS = timedelta(seconds=60)
RENEWED_EVERY = timedelta(seconds=20)
# Clocks of two machines may differ by this much without a live run losing its lease.
CLOCK_MARGIN = timedelta(seconds=5)
POLL_SECONDS = 1.0


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of the object: who holds the lease, for which run, since when and until when."""

    token: str
    process: int
    user: str
    host: str
    run: str | None
    since: datetime
    expires: datetime
    released: bool = False

    @property
    def holder(self) -> str:
        """The holder, as text."""
        run = f" for the run {self.run}" if self.run else ""
        return f"process {self.process} of {self.user} on {self.host}{run}, since {_time_text(self.since)}"


class _Held(Struct):
    tag: str
    terms: Terms
    # By both clocks, since one of them stops while a machine sleeps.
    until_monotonic: float


class Lease:
    """A lease: `acquire` takes it, a thread renews it, and `release` gives it back. All methods raise `StateError`."""

    def __init__(self, objects: Objects, clock: Clock, run: Callable[[], str | None]) -> None:
        """Create a lease that is not acquired yet. `run` says which run it is for, once there is one."""
        self._objects = objects
        self._clock = clock
        self._run = run
        self.token = uuid4().hex
        self._held: _Held | None = None
        self._lost: str | None = None
        # Whether the last write had no answer, so that it may have taken effect.
        self._is_unsure = False
        self._ending = threading.Event()
        self._writing = threading.Lock()
        self._keeper: threading.Thread | None = None

    @property
    def holder(self) -> str:
        """Which process holds it, as the log names it."""
        return self._held.terms.holder if self._held is not None else ""

    def acquire(self, wait_seconds: float) -> bool:
        """Acquire it, and return whether its last holder had released it; otherwise that one may still be writing.

        Raises `StateError` (`state-leased`) if another run still holds it after `wait_seconds`.
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            found = self._objects.get(NAME)
            terms = _parse(found.body) if found is not None else None
            if terms is None or terms.released or self._clock.now() > terms.expires + CLOCK_MARGIN:
                try:
                    self._take(None if found is None else found.tag)
                except TakenError:
                    continue
                self._keep()
                # A lease that can't be read was written by a run that may still be active.
                return found is None or (terms is not None and terms.released)
            left = deadline - time.monotonic()
            if left <= 0:
                until = _time_text(terms.expires + CLOCK_MARGIN)
                raise problems.leased(self._objects.place, terms.holder, until, wait_seconds)
            time.sleep(min(POLL_SECONDS, left))

    def check(self) -> None:
        """Whether it is still this run's. Raises `StateError` (`state-lease-lost`)."""
        held = self._held
        if self._lost is None and held is not None and self._is_over(held):
            self._lost = f"its lease could not be renewed and has ended at {_time_text(held.terms.expires)}"
        if self._lost is not None:
            raise problems.lease_lost(self._objects.place, self._lost)

    def lose(self, reason: str) -> StateError:
        """Record that another run writes; returns the error to raise."""
        self._lost = self._lost or reason
        return problems.lease_lost(self._objects.place, self._lost)

    @property
    def is_lost(self) -> bool:
        """Whether another run may be writing by now."""
        return self._lost is not None

    def renew(self) -> None:
        """Renew it. If another run has it, the next `check` raises."""
        with self._writing:
            held = self._held
            if held is None or self._lost is not None:
                return
            try:
                self._held = self._write(self._current_tag(held), self._terms(since=held.terms.since))
            except TakenError:
                found = self._objects.get(NAME)
                other = _parse(found.body) if found is not None else None
                self._lost = f"another run has taken it over: {other.holder if other else 'its lease was removed'}"

    def _current_tag(self, held: _Held) -> str:
        """The tag of the object. It differs from the known one if the answer to a renewal was lost."""
        if not self._is_unsure:
            return held.tag
        found = self._objects.get(NAME)
        terms = _parse(found.body) if found is not None else None
        return found.tag if found is not None and terms is not None and terms.token == self.token else held.tag

    def release(self) -> None:
        """Release it, if this run still has it. If that fails, it expires by itself."""
        self._ending.set()
        if self._keeper is not None:
            self._keeper.join()
        with self._writing:
            held, self._held = self._held, None
            if held is None or self._lost is not None:
                return
            with suppress(StateError, TakenError):
                terms = _encode(msgspec.structs.replace(held.terms, released=True))
                self._objects.replace(NAME, terms, self._current_tag(held))

    def _take(self, tag: str | None) -> None:
        self._held = self._write(tag, self._terms(since=self._clock.now()))

    def _terms(self, *, since: datetime) -> Terms:
        return Terms(
            token=self.token,
            process=os.getpid(),
            user=_user(),
            host=socket.gethostname(),
            run=self._run(),
            since=since,
            expires=self._clock.now() + LASTS,
        )

    def _write(self, tag: str | None, terms: Terms) -> _Held:
        until = time.monotonic() + LASTS.total_seconds()
        body = _encode(terms)
        self._is_unsure = True
        new = self._objects.create(NAME, body) if tag is None else self._objects.replace(NAME, body, tag)
        self._is_unsure = False
        return _Held(tag=new, terms=terms, until_monotonic=until)

    def _is_over(self, held: _Held) -> bool:
        return time.monotonic() >= held.until_monotonic or self._clock.now() >= held.terms.expires

    def _keep(self) -> None:
        self._keeper = threading.Thread(target=self._renew_often, name="state-lease", daemon=True)
        self._keeper.start()

    def _renew_often(self) -> None:
        while not self._ending.wait(RENEWED_EVERY.total_seconds()):
            # A failed renewal is retried; once the lease has expired, the next write fails.
            with suppress(StateError):
                self.renew()


def _parse(body: bytes) -> Terms | None:
    try:
        return msgspec.json.decode(body, type=Terms)
    except msgspec.MsgspecError:
        return None


def _encode(terms: Terms) -> bytes:
    return msgspec.json.format(msgspec.json.encode(terms), indent=2)


def _time_text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
