"""How fast a plan is applied: compared with the account's limit, and without one against a separate server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from business import Business
from large import measure

pytestmark = [pytest.mark.benchmark_figures, pytest.mark.timeout(1800)]

ANSWERING = Path(__file__).parent / "answering.py"
FIELDS = {
    "customer": {"name": "name", "email": "email"},
    "product": {"name": "name", "description": "email"},
    "coupon": {"name": "name", "percent_off": "percent", "duration": {"value": "once"}},
    "tax_rate": {"display_name": "name", "percentage": "percent", "inclusive": {"value": False}},
}
ROWS = int(os.environ.get("DBT_STRIPE_SYNC_BENCHMARK_CALLS", "10000"))
LIMIT = 100


@pytest.fixture
def four_kinds(tmp_path):
    """A project with four kinds of objects to create, and a plan of them; every call is answered at once."""
    with subprocess.Popen([sys.executable, str(ANSWERING)], stdout=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().strip()
        business = Business(root=tmp_path / "shop", stripe=cast("Any", SimpleNamespace(url=url)))
        for kind, fields in FIELDS.items():
            business.table(
                f"{kind}s",
                "SELECT i AS id, 'Name ' || i AS name, 'user' || i || '@example.com' AS email, i % 99 + 1 AS percent "
                f"FROM range({ROWS // len(FIELDS)}) AS t(i)",
            )
            business.sync(f"{kind}s", resource=kind, key="id", fields=fields)
        yield business
        server.terminate()


def timed_apply(business):
    """A plan is made and saved; what its `apply` takes is measured."""
    root = str(business.root)
    options = ("--project-dir", root, "--profiles-dir", root, "--stripe-url", business.stripe.url)
    command = (sys.executable, "-m", "dbt_stripe_sync")
    plan = business.root / "plan.jsonl"
    measure((*command, "plan", "--out", str(plan), *options), business.root)
    return measure((*command, "apply", str(plan), *options), business.root)


def seconds_of_sending(business):
    """How long the run took by its own results: without start-up, and without writing them and the page."""
    return float(json.loads((business.root / "target" / "stripe_sync_results.json").read_bytes())["elapsed_time"])


def test_calls_without_a_limit(four_kinds, figures):
    four_kinds.set(account_per_second=100_000, endpoint_per_second=100_000)

    applied = timed_apply(four_kinds)

    assert f"{ROWS:,} written" in " ".join(applied.out.split())
    figures.say(
        f"`apply` of {ROWS:,} creations of four kinds, without a limit: {ROWS / applied.seconds:,.0f} calls a second "
        f"of the whole command, {ROWS / seconds_of_sending(four_kinds):,.0f} a second while they are sent, "
        f"{applied.cpu / ROWS * 1e6:,.0f} microseconds of CPU each, {applied.peak} MB"
    )


def test_how_much_of_the_accounts_limit_is_used(four_kinds, figures):
    four_kinds.set(account_per_second=LIMIT, endpoint_per_second=LIMIT // 4)

    applied = timed_apply(four_kinds)

    assert f"{ROWS:,} written" in " ".join(applied.out.split())
    share = ROWS / applied.seconds / LIMIT
    figures.say(
        f"`apply` of {ROWS:,} creations of four kinds at {LIMIT} requests a second: {share:.0%} of that, "
        "start-up included"
    )
