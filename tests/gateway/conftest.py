"""A gateway that is connected to a sandbox over HTTP, and a clock with which no call waits."""

from __future__ import annotations

import asyncio

import pytest
from gateway_clocks import HastyClock

from dbt_stripe_sync.model.calls import Call
from dbt_stripe_sync.sandbox import Sandbox
from dbt_stripe_sync.stripe_api.gateway import Gateway
from dbt_stripe_sync.stripe_api.rate import RateLimits


@pytest.fixture(scope="module")
def running():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running):
    running.clear_faults()
    running.reset_requests()
    return running


@pytest.fixture
def clock():
    return HastyClock()


class Caller:
    """A gateway that speaks one sentence at a time."""

    def __init__(self, address, key, clock, limits, **options):
        self.gateway = Gateway(key, address, limits, clock, **options)
        self._loop = asyncio.new_event_loop()

    def do(self, work):
        return self._loop.run_until_complete(work)

    def send(self, resource, operation, target=None, key="key", **params):
        return self.call(resource=resource, operation=operation, target=target, params=params, idempotency_key=key)

    def call(self, **parts):
        return self.do(self.gateway.send(Call(**parts)))

    def read(self, resource, operation, target=None, **params):
        return self.send(resource, operation, target, key=None, **params)

    def pages(self, resource, **params):
        async def collect():
            return [page async for page in self.gateway.pages(resource, params)]

        return self.do(collect())

    def account(self):
        return self.do(self.gateway.account())

    def close(self):
        self.do(self.gateway.close())
        # What a connection that was cut has left to do.
        self.do(asyncio.sleep(0))
        self._loop.close()


@pytest.fixture
def connect(clock):
    callers = []

    def connect(address, key, limits=None, **options):
        caller = Caller(address, key, clock, limits or RateLimits.unlimited(), **options)
        callers.append(caller)
        return caller

    yield connect
    for caller in callers:
        caller.close()


@pytest.fixture
def stripe(connect, sandbox):
    return connect(sandbox.url, sandbox.api_key)
