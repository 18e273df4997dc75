"""A plan in a file: rejected for anything that it was not made for, and continued where an `apply` has stopped."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta

import duckdb
import orjson
import pytest
from business import ROOT

import dbt_stripe_sync
from dbt_stripe_sync import api, pipeline
from dbt_stripe_sync.engine.plan.plan_file import FORMAT
from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.sandbox import Fault
from dbt_stripe_sync.stripe_api import accounts

ANEW = "hint: make a new plan with `dbt-stripe-sync plan --out FILE`\n"


@pytest.fixture
def plan(tmp_path):
    return tmp_path / "plan.jsonl"


class Hasty(SystemClock):
    """A clock by which waiting takes no time."""

    def __init__(self):
        self.waited = 0.0

    def monotonic(self):
        return super().monotonic() + self.waited

    async def sleep(self, seconds):
        self.waited += seconds
        await asyncio.sleep(0)


@pytest.fixture
def without_waiting(monkeypatch):
    monkeypatch.setattr(api, "SystemClock", Hasty)


@pytest.fixture
def planned(customers, plan):
    """Three customers, none of them in Stripe, and a plan to make them."""
    assert customers.cli("plan", "--out", str(plan)).exit_code == 0
    return customers


# ── what a plan was made for ─────────────────────────────────────────────────────────────────────────────────────


def other_account(business, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_acct_other_0000")
    return ["--state-path", str(business.root / "other.duckdb")]


def other_mode(business, monkeypatch):
    business.set(live_targets=["dev"])
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_sandbox000000000000")
    return ["--state-path", str(business.root / "other.duckdb")]


def other_state(business, _monkeypatch):
    return ["--state-path", str(business.root / "other.duckdb")]


def other_project(business, _monkeypatch):
    file = business.root / "dbt_project.yml"
    file.write_text(json.dumps({**json.loads(file.read_text()), "name": "store"}))
    return ["--state-path", str(business.root / "other.duckdb")]


def other_target(business, _monkeypatch):
    profile = json.loads((business.root / "profiles.yml").read_text())
    profile["shop"]["outputs"]["prod"] = profile["shop"]["outputs"]["dev"]
    (business.root / "profiles.yml").write_text(json.dumps(profile))
    return ["--target", "prod", "--state-path", str(business.state)]


def other_version(_business, monkeypatch):
    monkeypatch.setattr(dbt_stripe_sync, "__version__", "0.0.9")
    return []


def other_api_version(_business, monkeypatch):
    monkeypatch.setattr(accounts, "api_version", lambda: "2020-08-27")
    return []


def stale_state(business, _monkeypatch):
    assert business.cli().exit_code == 0
    return []


def stale_manifest(business, _monkeypatch):
    business.sync("customers", resource="customer", key="id", fields={"email": "email"})
    return []


REFUSED = [
    (other_account, ["plan-other-account", "plan-other-state"], "for account `acct_sandbox`, and this is `acct_other`"),
    (other_mode, ["plan-other-mode", "plan-other-state"], "for mode `test`, and this is `live`"),
    (other_state, ["plan-other-state"], "for state `{state}`, and this is `"),
    (other_project, ["plan-other-project", "plan-other-state"], "for project `shop`, and this is `store`"),
    (other_target, ["plan-other-target"], "for target `dev`, and this is `prod`"),
    (other_version, ["plan-other-version"], "for version `{version}`, and this is `0.0.9`"),
    (other_api_version, ["plan-other-api-version"], "for api version `{api_version}`, and this is `2020-08-27`"),
    (stale_state, ["plan-stale"], "the state has changed since the plan was made"),
    (stale_manifest, ["plan-stale"], "the manifest has changed since the plan was made"),
]


@pytest.mark.parametrize(("change", "codes", "words"), REFUSED, ids=[change.__name__ for change, _, _ in REFUSED])
def test_a_plan_is_refused_for_anything_that_it_was_not_made_for(planned, plan, monkeypatch, change, codes, words):
    header = json.loads(plan.read_text().splitlines()[0])["header"]
    options = change(planned, monkeypatch)
    planned.write_calls()

    ran = planned.cli("apply", str(plan), *options)

    assert ran.exit_code == 2
    assert [line.partition("]")[0] for line in ran.err.splitlines() if line.startswith("error")] == [
        f"error[{code}" for code in codes
    ]
    words = words.format(state=header["state_id"], version=header["version"], api_version=header["api_version"])
    said = words if words.startswith("the ") else f"the plan was made {words}"
    assert f"error[{codes[0]}]: {said}" in ran.err
    assert ran.err.endswith(ANEW)
    assert planned.write_calls() == []

    made = planned.cli("plan", "--out", str(plan), *options)
    assert made.exit_code == 0, made.text
    assert planned.cli("apply", str(plan), *options).exit_code == 0


def cut_short(text):
    return text[: len(text) // 2]


def without_the_last_line(text):
    return "".join(text.splitlines(keepends=True)[:-1])


def with_one_change_less(text):
    first, _, *rest = text.splitlines(keepends=True)
    return "".join([first, *rest])


def with_another_value(text):
    return text.replace("a@example.com", "x@example.com")


def for_another_account(text):
    return text.replace("acct_sandbox", "acct_another")


def with_another_serial(text):
    return text.replace('"state_serial":0', '"state_serial":7')


def empty(_text):
    return ""


@pytest.mark.parametrize(
    "alter",
    [
        cut_short,
        without_the_last_line,
        with_one_change_less,
        with_another_value,
        for_another_account,
        with_another_serial,
        empty,
    ],
)
def test_a_plan_that_was_altered_in_any_place_is_refused(planned, plan, alter):
    altered = alter(plan.read_text())
    assert altered != plan.read_text()
    plan.write_text(altered)

    ran = planned.cli("apply", str(plan))

    assert ran.exit_code == 2
    assert ran.err.startswith(
        f"error[plan-altered]: the plan file is truncated, or was altered after it was made\n  at {plan}\n"
    )
    assert ran.err.endswith(ANEW)
    assert planned.write_calls() == []


def forged(text, signature=None):
    """A plan with another value and the digest that belongs to it, as somebody makes it who knows the format."""
    *lines, last = with_another_value(text).encode().splitlines(keepends=True)
    end = orjson.loads(last)
    proof = {"sha256": end.pop("sha256"), "signature": signature or end.pop("signature")}
    end.pop("signature", None)
    digest = hashlib.sha256(b"".join(lines) + orjson.dumps(end, option=orjson.OPT_SORT_KEYS)).hexdigest()
    assert digest != proof["sha256"]
    return b"".join(lines).decode() + orjson.dumps(end | proof | {"sha256": digest}).decode() + "\n"


@pytest.mark.parametrize("signature", [None, "", "ä", "0" * 64])
def test_a_plan_altered_by_someone_who_knows_the_format_is_refused(planned, plan, signature):
    plan.write_text(forged(plan.read_text(), signature))

    ran = planned.cli("apply", str(plan))

    assert ran.exit_code == 2
    assert "error[plan-altered]: the plan was altered after it was made: its signature is not the state's" in ran.err
    assert ran.err.endswith(ANEW)
    assert planned.write_calls() == []
    assert planned.stripe.count("customer") == 0


def test_a_plan_that_another_state_has_signed_is_refused(planned, plan, tmp_path):
    assert planned.cli("plan", "--out", str(plan), "--state-path", str(tmp_path / "theirs.duckdb")).exit_code == 0
    with duckdb.connect(str(planned.state), read_only=True) as state:
        ours = state.execute("SELECT value FROM meta WHERE key = 'state_id'").fetchall()[0][0]
    theirs = json.loads(plan.read_text().splitlines()[0])["header"]["state_id"]
    plan.write_text(forged(plan.read_text().replace(theirs, ours)))

    ran = planned.cli("apply", str(plan))

    assert (ran.exit_code, "error[plan-altered]" in ran.err) == (2, True), ran.err
    assert planned.write_calls() == []


def test_a_plan_that_is_altered_while_it_is_sent_is_sent_as_it_was_checked(planned, plan, monkeypatch):
    check = pipeline.check_plan

    def check_and_alter(*given):
        check(*given)
        plan.write_text(with_another_value(plan.read_text()))

    monkeypatch.setattr(pipeline, "check_plan", check_and_alter)

    assert planned.cli("apply", str(plan)).exit_code == 0
    assert "x@example.com" in plan.read_text()
    assert sorted(found["email"][0] for found in planned.stripe.objects("customer")) == ["a", "b", "c"]


def test_a_plan_is_still_valid_after_its_state_was_exported_and_imported(planned, plan, tmp_path):
    assert planned.cli("state", "export", str(tmp_path / "export")).exit_code == 0
    planned.state.unlink()
    assert planned.cli("state", "import", str(tmp_path / "export")).exit_code == 0

    assert planned.cli("apply", str(plan)).exit_code == 0
    assert planned.stripe.count("customer") == 3


def test_a_plan_of_another_format_and_a_missing_plan_are_refused(planned, plan, tmp_path):
    plan.write_text(plan.read_text().replace(f'"dbt_stripe_sync_plan":{FORMAT}', '"dbt_stripe_sync_plan":99'))

    other = planned.cli("apply", str(plan))
    none = planned.cli("apply", str(tmp_path / "none.jsonl"))

    assert other.exit_code == none.exit_code == 2
    assert "error[plan-format]: the plan was made by another version of dbt-stripe-sync" in other.err
    assert "error[no-plan]: the plan can't be read: No such file or directory" in none.err
    assert planned.write_calls() == []

    assert planned.cli("plan", "--out", str(plan)).exit_code == 0
    assert planned.cli("apply", str(plan)).exit_code == 0


@pytest.mark.usefixtures("without_waiting")
def test_a_run_killed_with_a_call_in_flight_makes_the_plan_stale(planned, plan):
    planned.stripe.inject(Fault.cut(after_effect=True, path="^/v1/customers$", method="POST", count=None))
    lost = planned.cli("run", "--limit", "1")

    ran = planned.cli("apply", str(plan))

    assert (lost.exit_code, ran.exit_code) == (1, 2)
    assert "error[plan-stale]: the state has changed since the plan was made" in ran.err
    planned.stripe.clear_faults()
    assert planned.cli().exit_code == 0
    assert planned.stripe.count("customer") == 3


# ── an apply that stopped half-way ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def billing(business):
    """Twelve customers and a subscription of each, none of them in Stripe."""
    business.table("people", "SELECT i AS id, 'u' || i || '@example.com' AS email FROM range(12) AS t(i)")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    business.rows("prices", ("m", 1000), columns="code text, cents int")
    fields = {"currency": {"value": "usd"}, "unit_amount": "cents", "recurring.interval": {"value": "month"}}
    business.sync("prices", resource="price", key="code", fields={**fields, "product_data.name": {"value": "Desk"}})
    business.table("subs", "SELECT id AS id, id AS person, 'm' AS price FROM people")
    business.sync(
        "subs",
        resource="subscription",
        key="id",
        fields={
            "customer": {"sync": "people", "key": "person"},
            "items": [{"price": {"sync": "prices", "key": "price"}, "quantity": {"value": 1}}],
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
        },
    )
    return business


def check_that_all_is_there(billing, plan):
    """Every row has one object, subscriptions belong to the customers of their rows, and nothing is left to do."""
    assert {kind: billing.stripe.count(kind) for kind in ("customer", "price", "subscription")} == {
        "customer": 12,
        "price": 1,
        "subscription": 12,
    }
    tags = {c["id"]: c["metadata"]["dbt_stripe_sync"] for c in billing.stripe.objects("customer")}
    for subscription in billing.stripe.objects("subscription"):
        assert tags[subscription["customer"]] == subscription["metadata"]["dbt_stripe_sync"].replace("subs", "people")
    billing.write_calls()
    assert billing.cli("apply", str(plan)).exit_code == 0
    assert billing.cli().exit_code == 0
    assert billing.write_calls() == []


def results_of(business):
    return json.loads((business.root / "target" / "stripe_sync_results.json").read_text())


def test_fail_fast_stops_and_the_same_file_continues_with_the_rest(billing, plan):
    billing.stripe.inject(Fault.status_code(400, path="^/v1/customers$", method="POST", skip=4, count=1))
    billing.set(concurrency=1)
    billing.cli("plan", "--out", str(plan))

    stopped = billing.cli("apply", str(plan), "--fail-fast")
    first = results_of(billing)["totals"]
    made = billing.stripe.count("customer") + billing.stripe.count("price") + billing.stripe.count("subscription")
    went_on = billing.cli("apply", str(plan))
    second = results_of(billing)["totals"]

    assert stopped.exit_code == 1
    assert "`apply` of a saved plan continues where it stopped" in stopped.text
    assert first["succeeded"] == made < 25
    assert went_on.exit_code == 0, went_on.text
    assert f"warning[continued]: {made} changes of this plan were done already, by an earlier `apply`" in went_on.text
    assert second["succeeded"] == 25 - made
    assert second["rejected"] == second["unknown"] == second["skipped"] == 0
    check_that_all_is_there(billing, plan)


def test_ctrl_c_stops_and_the_same_file_continues_with_the_rest(billing, plan):
    billing.set(concurrency=1)
    billing.cli("plan", "--out", str(plan))
    billing.stripe.inject(Fault.latency(0.2, method="POST"))
    root = str(billing.root)
    options = ["--project-dir", root, "--profiles-dir", root, "--stripe-url", billing.stripe.url]
    process = subprocess.Popen(
        [sys.executable, "-m", "dbt_stripe_sync", "apply", str(plan), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ,
        cwd=ROOT,
    )
    while len(billing.stripe.writes()) < 4:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    billing.stripe.clear_faults()
    before = billing.stripe.count("customer") + billing.stripe.count("price") + billing.stripe.count("subscription")

    ran = billing.cli("apply", str(plan))

    assert process.returncode == 1, told
    assert 0 < before < 25
    assert ran.exit_code == 0, ran.text
    assert results_of(billing)["totals"]["succeeded"] == 25 - before
    check_that_all_is_there(billing, plan)


def test_a_change_without_an_answer_is_settled_first_and_counted_once(billing, plan):
    billing.cli("plan", "--out", str(plan))
    billing.stripe.inject(Fault.status_code(500, after_effect=True, path="^/v1/customers$", method="POST", count=3))
    lost = billing.cli("apply", str(plan))
    billing.stripe.clear_faults()
    first = results_of(billing)["totals"]

    ran = billing.cli("apply", str(plan))

    assert lost.exit_code == 1
    assert first["unknown"] > 0
    assert ran.exit_code == 0, ran.text
    assert first["succeeded"] + results_of(billing)["totals"]["succeeded"] == 25
    check_that_all_is_there(billing, plan)


@pytest.mark.usefixtures("without_waiting")
def test_a_change_still_without_an_answer_is_not_sent_again(billing, plan):
    billing.cli("plan", "--out", str(plan))
    billing.stripe.inject(Fault.status_code(500, after_effect=True, path="^/v1/customers$", method="POST", count=3))
    billing.cli("apply", str(plan))
    billing.stripe.clear_faults()
    billing.stripe.inject(Fault.status_code(500, path="^/v1/customers", method="GET", count=None))
    billing.write_calls()

    waiting = billing.cli("apply", str(plan))
    sent = billing.write_calls()
    billing.stripe.clear_faults()
    ran = billing.cli("apply", str(plan))

    assert waiting.exit_code == 2
    assert "error[stripe-read-failed]: the list of `customer` could not be read" in waiting.text
    assert sent == []
    assert ran.exit_code == 0, ran.text
    check_that_all_is_there(billing, plan)


def test_a_run_in_between_makes_the_rest_of_the_plan_stale(billing, plan):
    billing.stripe.inject(Fault.status_code(400, path="^/v1/customers$", method="POST", skip=4, count=1))
    billing.set(concurrency=1)
    billing.cli("plan", "--out", str(plan))
    billing.cli("apply", str(plan), "--fail-fast")
    assert billing.cli().exit_code == 0
    billing.write_calls()

    ran = billing.cli("apply", str(plan))

    assert ran.exit_code == 2
    assert "error[plan-stale]: the state has changed since the plan was made" in ran.err
    assert billing.write_calls() == []
    assert billing.stripe.count("customer") == 12


@pytest.mark.parametrize(
    "meanwhile",
    [("state", "forget", "people", "0"), ("state", "mv", "people", "persons"), ("state", "rebuild")],
    ids=["forget", "mv", "rebuild"],
)
def test_a_write_to_the_state_in_between_makes_the_rest_of_the_plan_stale(billing, plan, meanwhile):
    billing.cli("plan", "--out", str(plan), "--select", "people", "prices")
    assert billing.cli("apply", str(plan)).exit_code == 0
    if "rebuild" in meanwhile:
        with duckdb.connect(str(billing.state)) as state:
            state.execute("DELETE FROM records WHERE sync = 'prices' OR key = '0'")
    assert billing.cli(*meanwhile).exit_code == 0

    ran = billing.cli("apply", str(plan))

    assert ran.exit_code == 2
    assert "error[plan-stale]: the state has changed since the plan was made" in ran.err


def test_another_plan_that_was_applied_in_between_makes_the_first_one_stale(billing, plan, tmp_path):
    other = tmp_path / "other.jsonl"
    billing.cli("plan", "--out", str(plan))
    billing.cli("plan", "--out", str(other), "--select", "people", "prices")
    assert billing.cli("apply", str(other)).exit_code == 0

    first, again = billing.cli("apply", str(plan)), billing.cli("apply", str(other))

    assert (first.exit_code, again.exit_code) == (2, 0)
    assert "error[plan-stale]" in first.err
    assert "warning[continued]: 13 changes of this plan were done already" in again.text


def test_an_object_whose_second_call_was_refused_is_not_created_again(business, plan):
    business.rows("invoices", (1, "first"), columns="id int, memo text")
    business.rows("people", (1, "a@example.com"), columns="id int, email text")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    fields = {"currency": {"value": "usd"}, "unit_amount": "cents", "product_data.name": {"value": "Desk"}}
    business.rows("prices", ("m", 1000), columns="code text, cents int")
    business.sync("prices", resource="price", key="code", fields={**fields, "lookup_key": "code"})
    assert business.cli().exit_code == 0
    business.rows("prices", ("m", 2000), columns="code text, cents int")
    business.cli("plan", "--out", str(plan))
    business.stripe.inject(Fault.status_code(400, path="^/v1/prices/", method="POST", count=1))

    refused = business.cli("apply", str(plan))
    again = business.cli("apply", str(plan))

    assert (refused.exit_code, again.exit_code) == (1, 0)
    assert "owed: archive price_" in refused.text
    assert "owed:" not in again.text
    prices = {price["unit_amount"]: price["active"] for price in business.stripe.objects("price")}
    assert prices == {1000: False, 2000: True}


def test_the_progress_of_a_plan_is_remembered_as_long_as_it_can_continue(billing, plan, monkeypatch):
    billing.stripe.inject(Fault.status_code(400, path="^/v1/customers$", method="POST", skip=4, count=1))
    billing.set(concurrency=1)
    billing.cli("plan", "--out", str(plan))
    billing.cli("apply", str(plan), "--fail-fast")

    class MonthsLater(SystemClock):
        def now(self):
            return super().now() + timedelta(days=200)

    monkeypatch.setattr(api, "SystemClock", MonthsLater)
    ran = billing.cli("apply", str(plan))

    assert ran.exit_code == 0, ran.text
    check_that_all_is_there(billing, plan)
