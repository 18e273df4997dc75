"""A shop whose objects depend on each other, and a clock with which no run waits."""

import pytest
import stripe as sdk
from fault_clock import FaultClock
from shop import Shop

from dbt_stripe_sync import api


@pytest.fixture
def shop(business):
    return Shop(business, sdk.StripeClient(business.stripe.api_key, base_addresses={"api": business.stripe.url}))


@pytest.fixture
def without_waiting(monkeypatch):
    """Runs whose waiting takes no time."""
    clock = FaultClock()
    monkeypatch.setattr(api, "SystemClock", lambda: clock)
    return clock
