"""Businesses whose state is on an object store."""

from __future__ import annotations

import pytest
from business import Business
from object_stores import SERVERS, STORES, store_of

from dbt_stripe_sync.sandbox import Sandbox

EVERYWHERE = [
    "folder",
    "moto",
    pytest.param("versitygw", marks=pytest.mark.object_stores),
    pytest.param("azurite", marks=pytest.mark.object_stores),
    pytest.param("google", marks=pytest.mark.object_stores),
]


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Servers by name, each started when it is first asked for."""
    started = {}

    def server(name):
        if name in {"versitygw", "azurite", "google"} and not STORES:
            pytest.skip("DBT_STRIPE_SYNC_TEST_STORES names no folder of servers")
        if name not in started:
            started[name] = SERVERS[name](tmp_path_factory.mktemp("stores") / name).__enter__()
        return started[name]

    yield server
    for running in started.values():
        running.__exit__()


@pytest.fixture(params=EVERYWHERE)
def server(request, servers, monkeypatch):
    """Each kind of store in its turn, with the environment that its user sets."""
    running = servers(request.param)
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    return running


@pytest.fixture
def url(server):
    return server.new_bucket()


@pytest.fixture
def objects(server, url):
    """The store of the state, to look into it and to damage it."""
    return store_of(f"{url}/dev", server.environment)


@pytest.fixture
def stripe():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def shop(tmp_path, stripe, url, monkeypatch):
    """Customers whose state is on the store."""
    monkeypatch.setenv("STRIPE_API_KEY", Sandbox.api_key)
    business = Business(root=tmp_path / "shop", stripe=stripe)
    business.set(state=url, account_per_second=100_000, endpoint_per_second=100_000)
    business.rows("customers", (1, "a@example.com"), (2, "b@example.com"), columns="id int, email text")
    business.sync("customers", resource="customer", key="id", fields={"email": "email"})
    return business
