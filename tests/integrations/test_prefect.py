"""The task in a real Prefect, with its own server and database."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("prefect", reason="Prefect is not in this environment")
pytestmark = [pytest.mark.orchestrators, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module", autouse=True)
def _prefect():
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=900):
        yield


@pytest.fixture
def sync(customers):
    from prefect import flow

    from dbt_stripe_sync.integrations.prefect import stripe_sync

    @flow
    def nightly(**more):
        return stripe_sync(customers.root, profiles_dir=str(customers.root), stripe_url=customers.stripe.url, **more)

    return nightly


def test_a_flow_syncs_and_gets_the_counts(sync, customers):
    first, second = sync(), sync()

    assert customers.stripe.count("customer") == 3
    assert first["syncs"][0]["done"] == {"create": 3}
    assert second["syncs"][0]["unchanged"] == 3
    assert first["status"] == "succeeded"


def test_the_table_of_the_run_is_an_artifact(sync):
    from prefect.artifacts import Artifact

    sync()
    artifact = Artifact.get("stripe-sync")

    assert "| customers | customer | 3 |" in artifact.data
    assert "a@example.com" not in artifact.data


def test_rejected_rows_fail_the_task_unless_configured_otherwise(sync, reject_one):
    reject_one()

    with pytest.raises(Exception, match="customers: 1 of 1 row is not in Stripe"):
        sync()
    assert sync(fail_on_rejected=False)["status"] == "partial"


def test_a_run_that_cannot_continue_fails_with_its_problems(sync, monkeypatch):
    monkeypatch.delenv("STRIPE_API_KEY")

    with pytest.raises(Exception, match=r"error\[no-stripe-key\]"):
        sync()


def test_the_page_on_orchestrators_works(customers, monkeypatch):
    from pages import code_of

    monkeypatch.chdir(customers.root.parent)
    monkeypatch.setenv("DBT_PROFILES_DIR", str(customers.root))
    monkeypatch.setenv("STRIPE_API_BASE", customers.stripe.url)
    names: dict[str, Any] = {"__name__": "page"}

    # Not with this file's own `from __future__`, which a user's file need not have.
    exec(compile(code_of("Prefect"), "page.py", "exec", dont_inherit=True), names)  # noqa: S102 - the page's own code
    names["nightly"]()

    assert customers.stripe.count("customer") == 3
