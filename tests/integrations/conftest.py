"""A project for an orchestrator: built, with a local Stripe."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def priced(customers):
    """Customers, and a product with a price, that are synced in the order of their references."""
    customers.rows("plans", ("solo", "Solo"), columns="code text, name text")
    customers.rows("prices", ("p1", "solo", "usd", 1900), columns="code text, plan text, cur text, cents int")
    customers.sync("plans", resource="product", key="code", fields={"name": "name"})
    fields = {"product": {"sync": "plans", "key": "plan"}, "currency": "cur", "unit_amount": "cents"}
    customers.sync("prices", resource="price", key="code", fields=fields)
    return customers


@pytest.fixture
def reject_one(customers):
    """One row's value is more than Stripe accepts."""

    def reject():
        customers.table("customers", "SELECT * REPLACE (repeat('x', 600) AS name) FROM customers WHERE id = 1")
        fields = {"email": "email", "metadata.note": "name"}
        customers.sync("customers", resource="customer", key="id", fields=fields)

    return reject


@pytest.fixture
def hold(customers):
    """The model failed in dbt."""

    def hold():
        results = {"metadata": {}, "results": [{"unique_id": "model.shop.customers", "status": "error"}]}
        (customers.root / "target" / "run_results.json").write_text(json.dumps(results))

    return hold
