"""A state in a temporary folder, and a clock for it."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from state_values import MINE, StoppedClock

from dbt_stripe_sync.state.access import open_state


@pytest.fixture
def clock():
    return StoppedClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".stripe_sync" / "dev.duckdb"


@pytest.fixture
def opened(path, clock):
    @contextmanager
    def open_(identity=MINE, **options):
        with open_state(path, identity=identity, clock=clock, **options) as state:
            yield state

    return open_


@pytest.fixture
def state(opened):
    with opened() as state:
        yield state
