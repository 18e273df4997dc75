"""A project that dbt Cloud builds, and `dbt-stripe-sync serve` running for it in a separate process."""

from __future__ import annotations

import json

import pytest
from dbt_cloud_server import DbtCloud, dbt
from serving import SECRET, Server


@pytest.fixture
def dbt_cloud(monkeypatch):
    with DbtCloud() as cloud:
        for name, value in cloud.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("DBT_CLOUD_WEBHOOK_SECRET", SECRET)
        monkeypatch.delenv("DBT_STRIPE_SYNC_SERVE_PASSWORD", raising=False)
        yield cloud


@pytest.fixture
def shop(customers, dbt_cloud):
    """The customers of a project that dbt Cloud builds, with one run that did."""
    file = customers.root / "target" / "manifest.json"
    customers.manifest = json.loads(file.read_text())
    file.unlink()
    customers.cloud = dbt_cloud
    results = {"metadata": {}, "results": [{"unique_id": "model.shop.customers", "status": "success"}]}
    customers.build = lambda **facts: dbt_cloud.add_run(
        dbt("dbt build", manifest=customers.manifest, run_results=results), **facts
    )
    return customers


@pytest.fixture
def start(shop):
    """Starts servers, and ends those that are left."""
    started = []

    def start(*arguments: str, **environment: str) -> Server:
        started.append(Server(shop, *arguments, **environment))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(10)
        server.process.stdout.close()
