"""A state belongs to an account and a mode, never to a key: keys are rolled, restricted, and an organization's."""

from __future__ import annotations

import duckdb
import pytest

from dbt_stripe_sync.sandbox import Fault

OLD, NEW = "rk_test_aaaaaaaaaaaa1", "rk_test_bbbbbbbbbbbb2"


@pytest.fixture
def restricted(customers, monkeypatch):
    """Keys that may not read their account."""
    monkeypatch.setenv("STRIPE_API_KEY", OLD)
    customers.stripe.inject(Fault.forbidden(method="GET", path="^/v1/account$", count=None))
    return customers


def account_of(business):
    with duckdb.connect(str(business.state), read_only=True) as state:
        return state.execute("SELECT value FROM meta WHERE key = 'account'").fetchall()[0][0]


def bind_to_key(business):
    """The state as an earlier version left it for a key that could not read its account."""
    with duckdb.connect(str(business.state)) as state:
        state.execute("UPDATE meta SET value = 'key_0123456789abcdef' WHERE key = 'account'")


def test_a_rolled_restricted_key_continues_with_the_same_state(restricted, monkeypatch):
    assert restricted.cli().exit_code == 0
    monkeypatch.setenv("STRIPE_API_KEY", NEW)
    ran = restricted.cli()
    assert ran.exit_code == 0, ran.text
    assert restricted.stripe.count("customer") == 3
    assert account_of(restricted).startswith("acct_")


def test_a_state_bound_to_a_key_is_bound_to_the_account_that_has_its_objects(restricted, monkeypatch):
    restricted.cli()
    bind_to_key(restricted)
    monkeypatch.setenv("STRIPE_API_KEY", NEW)
    ran = restricted.cli()
    assert ran.exit_code == 0, ran.text
    assert account_of(restricted).startswith("acct_")


@pytest.mark.telling
def test_a_state_bound_to_a_key_is_not_bound_to_an_account_without_its_objects(restricted, monkeypatch):
    restricted.cli()
    bind_to_key(restricted)
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_acct_other_key000000")
    restricted.stripe.clear_faults()
    ran = restricted.cli()
    assert (ran.exit_code, "error[state-other-account]" in ran.text) == (2, True)
    assert account_of(restricted).startswith("key_")


def test_an_organizations_key_acts_for_the_account_that_the_settings_name(customers, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", "sk_org_test_0123456789")
    ran = customers.cli()
    assert (ran.exit_code, "error[no-account]" in ran.text) == (2, True)

    customers.set(account="acct_branch")
    ran = customers.cli()
    assert ran.exit_code == 0, ran.text
    assert customers.stripe.count("customer", account="acct_branch") == 3
    assert customers.stripe.count("customer") == 0


def test_an_organizations_key_that_does_not_say_its_mode_counts_as_live(customers, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", "sk_org_0123456789")
    customers.set(account="acct_branch")
    ran = customers.cli()
    assert (ran.exit_code, "error[live-key]" in ran.text) == (2, True)


@pytest.mark.telling
def test_debug_names_the_permissions_that_a_restricted_key_needs(restricted):
    amount = {"currency": {"value": "usd"}, "unit_amount": {"value": 500}}
    restricted.sync("customers", resource="price", key="id", fields={**amount, "product_data.name": "name"})
    ran = restricted.cli("debug")
    assert "needs rak_plan_write (Prices)" in ran.text


@pytest.mark.telling
def test_a_customer_is_removed_once_a_restricted_key_may_look_at_subscriptions(restricted):
    meta = restricted.models["customers"]["meta"]["stripe_sync"]
    restricted.sync("customers", **meta, on_removed="delete")
    assert restricted.cli().exit_code == 0
    restricted.table("customers", "SELECT * FROM customers WHERE id > 1")
    restricted.stripe.inject(Fault.forbidden(method="GET", path="^/v1/subscription", count=None))

    refused = restricted.cli("run", "--yes")
    looked = restricted.cli("debug")

    assert (refused.exit_code, "error[lookup-failed]" in refused.text) == (1, True), refused.text
    assert "`dbt-stripe-sync debug`" in refused.text
    assert "rak_subscription_read (Subscriptions)" in looked.text
    assert restricted.stripe.count("customer") == 3

    restricted.stripe.clear_faults()
    assert restricted.cli("run", "--yes").exit_code == 0
    assert restricted.stripe.count("customer") == 2
