"""A shop with three customers whose runs never wait, and what can be observed after a fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from fault_clock import FaultClock
from msgspec.structs import replace

from dbt_stripe_sync import api
from dbt_stripe_sync.stripe_api import gateway

if TYPE_CHECKING:
    from business import Business, Ran

    from dbt_stripe_sync.sandbox import Sandbox

# Seconds. What takes longer than this is cut off; the real figure would make the tests wait.
TIMEOUT = 1.0
CUSTOMERS = 3


@pytest.fixture
def clock(monkeypatch):
    """The clock of every run in this process."""
    clock = FaultClock()
    monkeypatch.setattr(api, "SystemClock", lambda: clock)
    return clock


@pytest.fixture
def impatient(monkeypatch):
    """Runs that wait for an answer only a moment."""
    patient = gateway.Gateway

    def impatient(*args, patience):
        return patient(*args, patience=replace(patience, answer_seconds=TIMEOUT))

    monkeypatch.setattr(gateway, "Gateway", impatient)


@dataclass
class Shop:
    """Three customers, none of them in Stripe yet."""

    business: Business
    clock: FaultClock

    @property
    def stripe(self) -> Sandbox:
        return self.business.stripe

    def run(self, *arguments: str) -> Ran:
        """The command line; without arguments, `run`."""
        return self.business.cli(*arguments)

    def creations(self) -> list[Any]:
        """The requests that were to create a customer."""
        return [line for line in self.stripe.writes() if line.path == "/v1/customers"]

    def open_intents(self) -> int:
        """How many changes have no known end."""
        return int(self._state("SELECT count(*) FROM intents")[0][0])

    def records(self) -> dict[str, str]:
        """Each row that the state knows, with its object."""
        return dict(self._state("SELECT key, stripe_id FROM records"))

    def _state(self, query: str) -> list[tuple[Any, ...]]:
        if not self.business.state.exists():
            return [(0,)] if "count" in query else []
        with duckdb.connect(str(self.business.state), read_only=True) as state:
            return list(state.execute(query).fetchall())

    def check_nothing_is_left_open(self) -> None:
        """Every row has exactly one object, the state knows each of them, and nothing is left to do."""
        objects = self.stripe.objects("customer")
        tags = sorted(found["metadata"]["dbt_stripe_sync"] for found in objects)
        assert tags == [f"shop/customers/{number}" for number in range(1, CUSTOMERS + 1)]
        assert sorted(self.records().values()) == sorted(found["id"] for found in objects)
        assert self.open_intents() == 0
        self.stripe.reset_requests()
        ran = self.run()
        assert (ran.exit_code, self.stripe.writes()) == (0, []), ran.text


@pytest.fixture
def shop(customers, clock):
    return Shop(customers, clock)
