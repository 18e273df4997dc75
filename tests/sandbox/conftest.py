"""A sandbox with its own clock, and clients of Stripe's SDK that are connected to it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import stripe

from dbt_stripe_sync.sandbox import Sandbox


class StoppedClock:
    """Time that moves only when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1_780_000_000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock():
    return StoppedClock()


@pytest.fixture
def sandbox(clock):
    with Sandbox(clock=clock) as running:
        yield running


@pytest.fixture
def client_of():
    def connect(sandbox, key=None):
        return stripe.StripeClient(key or sandbox.api_key, base_addresses={"api": sandbox.url}, max_network_retries=0)

    return connect


@pytest.fixture
def connect(sandbox, client_of):
    return lambda key=None: client_of(sandbox, key)


@pytest.fixture
def api(connect):
    return connect().v1
