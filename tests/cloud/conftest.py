"""A project whose artifacts are in dbt Cloud, and nowhere else."""

from __future__ import annotations

import json

import pytest
from dbt_cloud_server import DbtCloud


@pytest.fixture
def dbt_cloud(monkeypatch):
    with DbtCloud() as cloud:
        for name, value in cloud.environment().items():
            monkeypatch.setenv(name, value)
        for name in ("DBT_CLOUD_ACCOUNT", "DBT_CLOUD_TOKEN", "DBT_CLOUD_SERVICE_TOKEN", "DBT_CLOUD_API_KEY"):
            monkeypatch.delenv(name, raising=False)
        yield cloud


@pytest.fixture
def remote(customers, dbt_cloud):
    """The customers of a project that dbt Cloud builds: the manifest is taken away from this machine."""
    file = customers.root / "target" / "manifest.json"
    customers.manifest = json.loads(file.read_text())
    customers.manifest["nodes"]["test.shop.unique_customers"] = {
        "unique_id": "test.shop.unique_customers",
        "name": "unique_customers_id",
        "resource_type": "test",
        "package_name": "shop",
        "attached_node": "model.shop.customers",
        "config": {"severity": "error"},
        "depends_on": {"nodes": ["model.shop.customers"]},
    }
    file.unlink()
    customers.cloud = dbt_cloud
    return customers
