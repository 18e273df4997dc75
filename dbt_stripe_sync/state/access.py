"""Opens a state for writing or reading, after checking that it is the right one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.fingerprints import Retention
from dbt_stripe_sync.state.opening import looked_at, opened
from dbt_stripe_sync.state.place import StatePlace
from dbt_stripe_sync.state.problems import is_copy
from dbt_stripe_sync.state.store import StateStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.state.session import Session
    from dbt_stripe_sync.state.store import StateIdentity


@contextmanager
def look_at_state(
    place: StatePlace | Path,
    *,
    identity: StateIdentity | None,
    clock: Clock,
    wait_seconds: float = 0,
    retention: Retention | None = None,
    must_exist: bool = False,
) -> Iterator[StateStore]:
    """Open the state for reading.

    If a run holds it, this opens a copy, with `is_held` set; also if it can't be written, such as one in a read-only
    folder. Raises `StateError` as `open_state` does, and `state-not-copied`; never `state-locked` because of a run.
    """
    place = place if isinstance(place, StatePlace) else StatePlace(path=place)
    with looked_at(place, clock, wait_seconds, must_exist=must_exist) as session:
        if place.remote is None:
            _refuse_copy(session)
        yield _checked_store(session, identity, clock, retention)


@contextmanager
def open_state(
    place: StatePlace | Path,
    *,
    identity: StateIdentity | None,
    clock: Clock,
    wait_seconds: float = 0,
    retention: Retention | None = None,
    must_exist: bool = False,
) -> Iterator[StateStore]:
    """Open the state, which is created on first use unless it `must_exist`.

    `identity` is checked if it is given. `retention` says which syncs store values; by default all do.

    Raises `StateError`: `state-locked`, `state-readonly`, `state-damaged`, `state-newer`, `state-disk-full`,
    `state-other-account`, `state-other-mode`, `state-other-project`; for a remote state also those in
    `state/remote/problems.py`.
    """
    place = place if isinstance(place, StatePlace) else StatePlace(path=place)
    with opened(place, clock, wait_seconds, must_exist=must_exist) as session:
        if place.remote is None:
            _refuse_copy(session)
        yield _checked_store(session, identity, clock, retention)


def _checked_store(
    session: Session, identity: StateIdentity | None, clock: Clock, retention: Retention | None
) -> StateStore:
    """The state of an open session, checked against `identity` if that is given."""
    store = StateStore(session, clock, retention or Retention())
    if identity is not None:
        store.check_identity(identity)
    return store


def _refuse_copy(session: Session) -> None:
    """Check that the file isn't a copy of a remote state: anything written to it would be lost."""
    address = session.value("SELECT value FROM meta WHERE key = 'remote_address'")
    if address is not None:
        raise is_copy(session.path, str(address))
