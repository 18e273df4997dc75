"""A failing run stops early: at the first failure with `--fail-fast`, or once the rows of a sync fail alike."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from business import ROOT

from dbt_stripe_sync.config.settings import parse_settings
from dbt_stripe_sync.engine.apply.turns import turns_at
from dbt_stripe_sync.sandbox import Fault


@pytest.fixture
def people(business):
    business.table("people", "SELECT range AS id, 'p' || range || '@example.com' AS email FROM range(70)")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    business.table("offers", "SELECT range AS id, 'Offer ' || range AS name FROM range(3)")
    business.sync("offers", resource="product", key="id", fields={"name": "name"})
    return business


def customers_asked_for(business):
    return sum(line.path == "/v1/customers" for line in business.stripe.writes())


def test_fail_fast_sends_no_more_than_the_calls_in_flight(people):
    people.stripe.inject(Fault.status_code(400, path="^/v1/customers$", method="POST", count=1000))

    ran = people.cli("run", "--select", "people", "--fail-fast")

    assert ran.exit_code == 1
    assert customers_asked_for(people) <= 8
    assert "not sent: --fail-fast" in ran.text


def test_a_sync_whose_rows_all_fail_alike_stops_and_the_others_continue(people):
    people.set(max_rejections_per_cause=5)
    people.stripe.inject(Fault.status_code(400, path="^/v1/customers$", method="POST", count=1000))

    ran = people.cli()

    assert ran.exit_code == 1
    assert customers_asked_for(people) < 60
    assert "error[sync-stopped]" in ran.text
    assert "of `people` were not sent: Stripe rejected 5 of its rows" in ran.text
    assert people.stripe.count("product") == 3

    people.stripe.clear_faults()
    assert people.cli().exit_code == 0
    assert people.stripe.count("customer") == 70


@pytest.mark.parametrize(("limit", "rejected"), [(0, 70), (5, 4)])
def test_every_row_is_tried_below_the_limit_or_without_one(people, limit, rejected):
    people.set(max_rejections_per_cause=limit)
    people.stripe.inject(Fault.status_code(400, path="^/v1/customers$", method="POST", count=rejected))

    ran = people.cli("run", "--select", "people")

    assert customers_asked_for(people) == 70
    assert people.stripe.count("customer") == 70 - rejected
    assert "sync-stopped" not in ran.text


def test_the_limit_is_an_integer_and_fifty_by_default():
    assert parse_settings({})[0].max_rejections_per_cause == 50
    assert [problem.code for problem in parse_settings({"max_rejections_per_cause": -1})[1]] == ["bad-setting"]


@pytest.mark.parametrize(("pace", "fail_fast", "most"), [(5, False, 8), (20, False, 30), (80, False, 48), (2, True, 3)])
def test_changes_in_flight_are_few_enough_to_stop_within_about_a_second(pace, fail_fast, most):
    assert turns_at(pace, fail_fast=fail_fast).least == most


def interrupted(people):
    """A run that got a Ctrl-C after its first few customers."""
    people.set(account_per_second=10, endpoint_per_second=10)
    options = ["--project-dir", people.root, "--profiles-dir", people.root, "--stripe-url", people.stripe.url]
    command = [sys.executable, "-m", "dbt_stripe_sync", "run", "--select", "people", *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while people.stripe.count("customer") < 5 and process.poll() is None:
        time.sleep(0.05)
    before = people.stripe.count("customer")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1, out
    return before, out


def test_at_a_slow_pace_an_interrupted_run_ends_soon(people):
    before, out = interrupted(people)

    assert people.stripe.count("customer") - before <= turns_at(10, fail_fast=False).least + 2
    assert "interrupted" in out


def test_retry_after_an_interrupted_run_names_the_command_that_sends_the_rest(people):
    interrupted(people)
    sent = people.stripe.count("customer")

    retried = people.cli("retry")

    assert retried.exit_code == 0
    assert "Nothing to retry: that run left no row rejected, skipped or unresolved." in retried.out
    assert re.search(r"hint: run \S+ was interrupted; `dbt-stripe-sync run`\s+sends what it didn't send", retried.err)
    assert people.stripe.count("customer") == sent < 70
    people.set(account_per_second=1000, endpoint_per_second=1000)
    assert people.cli("run", "--select", "people").exit_code == 0
    assert people.stripe.count("customer") == 70
    assert "interrupted" not in people.cli("retry").err


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("HUP", 129)])
def test_a_signal_before_the_run_begins_ends_the_command_as_documented(customers, tmp_path, name, code):
    """This dbt sends it while the run waits for its build."""
    dbt = tmp_path / "dbt"
    dbt.write_text(f"#!/bin/sh\nkill -{name} $PPID\n")
    dbt.chmod(0o755)
    options = ["--project-dir", str(customers.root), "--profiles-dir", str(customers.root)]
    command = [
        sys.executable,
        "-m",
        "dbt_stripe_sync",
        "run",
        "--build",
        *options,
        "--stripe-url",
        customers.stripe.url,
    ]
    # What is started with `nohup`, as the tests may be, doesn't hear of a terminal that is closed.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        ended = subprocess.run(
            ["sh", "-c", '"$@"; echo "exit $?"', "sh", *command],
            env={**os.environ, "DBT_STRIPE_SYNC_DBT": str(dbt), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        signal.signal(signal.SIGHUP, before)

    assert ended.stdout.splitlines()[-1] == f"exit {code}", ended.stdout + ended.stderr
    assert (customers.stripe.writes(), customers.state.exists()) == ([], False)
    page = (ROOT / "docs" / "commands.md").read_text().partition("## Exit codes")[2].partition("\n## ")[0]
    assert str(code) in page
