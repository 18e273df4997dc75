"""A gym chain's project on a real PostgreSQL, built by a real dbt: what the analyst, finance and the one on call do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import adbc_driver_postgresql.dbapi
import pytest
import stripe as stripe_sdk
from business import Ran, run_cli

from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.sandbox import Fault, Sandbox
from dbt_stripe_sync.state.access import open_state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
HERE = Path(__file__).parent


def execute(uri, statements):
    with adbc_driver_postgresql.dbapi.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
        for statement in filter(str.strip, statements.split(";")):
            cursor.execute(statement)


@dataclass
class Gym:
    """The project in a folder of its own, its database, and a local Stripe."""

    root: Path
    stripe: Sandbox
    uri: str
    dbt: Path

    def sql(self, statements):
        execute(self.uri, statements)

    def schema(self, change):
        """Change the project's YAML, and let dbt parse it."""
        file = self.root / "models" / "schema.yml"
        file.write_text(change(file.read_text()))
        self.run_dbt("parse")

    def run_dbt(self, command, *, exit_code=0):
        options = ["--project-dir", str(self.root), "--profiles-dir", str(self.root)]
        environment = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        line = [str(self.dbt), "--quiet", command, *options]
        done = subprocess.run(line, check=False, capture_output=True, env=environment, text=True)
        assert done.returncode == exit_code, done.stdout
        return done.stdout + done.stderr

    @property
    def options(self):
        return ["--project-dir", str(self.root), "--profiles-dir", str(self.root), "--stripe-url", self.stripe.url]

    def cli(self, *arguments) -> Ran:
        return run_cli(*arguments, *self.options)


@pytest.fixture
def gym(tmp_path, stripe, postgres, dbt_1, monkeypatch):
    root = tmp_path / "gym"
    shutil.copytree(HERE / "project", root)
    database = f"gym_{tmp_path.name}".replace("-", "_").lower()[:60]
    server = f"postgresql://{postgres['BRIGHTDESK_PG_USER']}@/%s?host={postgres['BRIGHTDESK_PG_HOST']}"
    execute(server % "postgres", f"drop database if exists {database} with (force); create database {database}")
    monkeypatch.setenv("GYM_HOST", postgres["BRIGHTDESK_PG_HOST"])
    monkeypatch.setenv("GYM_DATABASE", database)
    made = Gym(root=root, stripe=stripe, uri=server % database, dbt=dbt_1)
    made.sql((root / "seed.sql").read_text())
    made.run_dbt("build")
    return made


@pytest.fixture
def open_gym(gym):
    """The gym, once everything is in Stripe."""
    ran = gym.cli("run")
    assert "771 rows: 760 written, 11 rejected, 0 unchanged" in ran.out
    return gym


def test_finance_sees_what_a_new_price_does_before_it_is_sent(open_gym):
    open_gym.sql("update raw.tariffs set amount = 31.50 where tariff_id = 'basic_m_usd'")

    text = open_gym.cli("plan", "--show-values").out

    assert "price [basic_m_usd] 29.00 USD -> 31.50 USD per month: moves 89 subscriptions of `contracts`" in text
    assert "goes on the next invoice" in text
    assert "in total +222.50 USD per month" in text
    assert text.count("<id of tariffs [basic_m_usd]>") <= 3
    ran = open_gym.cli("run")
    assert "90 written, 11 rejected, 670 unchanged, 1 further step" in ran.out
    assert "0 written, 11 rejected, 760 unchanged" in open_gym.cli("run").out
    assert "written  rejected" in open_gym.cli("runs").out


def test_a_price_in_another_currency_is_rejected_before_the_old_one_is_archived(open_gym):
    open_gym.sql("update raw.tariffs set ccy = 'EUR' where tariff_id = 'basic_m_usd'")

    open_gym.cli("run")

    assert {price["active"] for price in open_gym.stripe.objects("price")} == {True}


def test_a_sync_that_was_renamed_stops_before_anything_is_created(open_gym):
    def rename(text):
        text = text.replace("resource: product\n", "resource: product\n          name: products\n")
        return text.replace("{sync: offers,", "{sync: products,")

    open_gym.schema(rename)
    ran = open_gym.cli("run")

    assert ran.exit_code == 2
    assert "`dbt-stripe-sync state mv offers products`" in ran.text
    assert len(open_gym.stripe.objects("product")) == 6
    open_gym.cli("state", "mv", "offers", "products")
    assert "0 rejected" not in open_gym.cli("run").out
    assert len(open_gym.stripe.objects("product")) == 6


def test_a_customer_who_leaves_with_a_contract_is_not_deleted_before_the_contract_ends(open_gym):
    open_gym.sql("delete from raw.members where member_no = 5")

    ran = open_gym.cli("run", "--yes")

    assert "member" in ran.text
    (contract,) = [s for s in open_gym.stripe.objects("subscription") if s["metadata"].get("contract_no") == "C-5"]
    assert contract["status"] != "canceled"
    assert contract["cancel_at_period_end"] is True


def test_fail_fast_stops_after_the_calls_in_flight(gym):
    gym.sql("update raw.members set mail = 'bad mail' where member_no between 20 and 389")

    ran = gym.cli("run", "--fail-fast", "--select", "members")

    rejected = int(ran.out.split(" rejected")[0].rpartition(" ")[2])
    assert 1 <= rejected <= 10
    assert "not sent" in ran.out


def test_ctrl_c_finishes_the_calls_in_flight_and_the_next_run_sends_the_rest(gym):
    gym.stripe.inject(Fault.latency(0.05, count=None))
    command = [sys.executable, "-m", "dbt_stripe_sync", "run", *gym.options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while gym.stripe.count("customer") < 60 and process.poll() is None:
        time.sleep(0.02)
    before = gym.stripe.count("customer")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "press Ctrl-C now to quit" in err
    assert gym.stripe.count("customer") - before < 60
    assert "not sent" in out
    gym.cli("run")
    assert gym.stripe.count("customer") == 364


def test_a_target_that_was_not_built_is_not_read(gym):
    ran = gym.cli("run", "--target", "prod")

    assert ran.exit_code == 2
    assert gym.stripe.count("customer") == 0


def test_mistakes_of_every_model_are_reported_at_once(gym):
    """Where dbt has the plugin, `dbt parse` itself says them."""
    shutil.copy(HERE / "many_yaml_mistakes.yml", gym.root / "models" / "schema.yml")

    text = gym.run_dbt("parse", exit_code=2)

    for mistake in ("emial", "prodct", "not one of the values", "limts", "cents", "contract_line"):
        assert mistake in text, mistake


def test_an_element_without_an_amount_a_percentage_or_a_currency_is_rejected_alone(gym):
    gym.sql("update raw.vouchers set percent = null where code = 'NEWYEAR'")
    gym.sql("update raw.extras set ccy = null where extra_id = 'X6'")
    gym.sql("update raw.contract_lines set seats = -2 where contract_no = 'C-2'")

    text = gym.cli("plan").out

    words = " ".join(text.split())
    assert "! NEWYEAR `percent_off` and `amount_off` are null, and Stripe requires one of them" in words
    assert "! X6 `amount` has no currency: column `ccy` is null" in words
    assert "! C-2 `items.0.quantity` must be at least 0" in words
    everything = gym.cli("plan", "--all").out
    assert everything.index("  + 2\n") < everything.index("  + 10\n")


def test_without_the_results_of_dbt_the_gate_says_so(gym):
    gym.cli("run")
    shutil.rmtree(gym.root / "target")
    gym.run_dbt("parse")

    assert "no current result is known of any test of `members`" in gym.cli("plan").text


def test_a_run_can_be_inspected_while_it_runs(open_gym):
    with open_state(open_gym.root / ".stripe_sync" / "dev.duckdb", identity=None, clock=SystemClock()) as state:
        state.start_run("20990101T000000-abcdef", command="run", target="dev")

        assert "running" in open_gym.cli("runs").out
        assert "still running" in open_gym.cli("report", "--output", "text").out
        assert "members" in open_gym.cli("state", "list").out
        ran = open_gym.cli("plan")
        assert "A run holds the state" in ran.err
        assert "760 unchanged" in ran.out
        assert "state-locked" in open_gym.cli("run").text
    assert not list((open_gym.root / ".stripe_sync").glob("*copy*"))


# ── the one on call ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_customer_that_somebody_deleted_is_not_a_dead_end(open_gym):
    """Every hint is followed literally, and the last run has the member and the contract in Stripe again."""
    (gone,) = [c for c in open_gym.stripe.objects("customer") if c["metadata"].get("member_no") == "12"]
    client = stripe_sdk.StripeClient(open_gym.stripe.api_key, base_addresses={"api": open_gym.stripe.url})
    client.v1.customers.delete(gone["id"])
    open_gym.sql("update raw.members set note = 'new' where member_no = 12")

    assert "resource_missing" in open_gym.cli("run").out
    open_gym.cli("state", "forget", "members", "12")
    ran = open_gym.cli("run")
    assert "`when_ended: restart` and `run --refresh`" in " ".join(ran.out.split())
    assert "left out" in open_gym.cli("runs").out
    open_gym.cli("state", "forget", "contracts", "C-12")
    assert "`when_ended: restart` and `run --refresh`" in " ".join(open_gym.cli("run").out.split())

    removal = "          on_removed: cancel_at_period_end\n"
    open_gym.schema(lambda text: text.replace(removal, removal + "          when_ended: restart\n"))
    assert "1 written" in open_gym.cli("run", "--refresh").out

    contracts = [s for s in open_gym.stripe.objects("subscription") if s["metadata"].get("contract_no") == "C-12"]
    assert sorted(s["status"] == "canceled" for s in contracts) == [False, True]
    assert "0 written, 11 rejected, 760 unchanged" in open_gym.cli("run").out


def test_every_mistake_is_reported_in_the_first_pass(gym):
    shutil.copy(HERE / "yaml_second_wave.yml", gym.root / "models" / "schema.yml")
    gym.run_dbt("parse", exit_code=2)

    text = gym.cli("parse").text

    for mistake in ("`synk`", "unknown sync `member`", "`stret`", "did you mean `street`?"):
        assert mistake in text, mistake


def test_a_run_that_continues_can_be_planned_and_inspected_meanwhile(gym):
    project = gym.root / "dbt_project.yml"
    project.write_text(project.read_text().replace("5000", "8"))
    gym.run_dbt("parse")
    command = [sys.executable, "-m", "dbt_stripe_sync", "run", *gym.options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while gym.stripe.count("customer") < 20 and process.poll() is None:
        time.sleep(0.1)

    looked = {name: gym.cli(*name.split()) for name in ("plan", "runs", "report --output text", "state list")}

    assert process.poll() is None
    began = gym.stripe.count("customer")
    process.send_signal(signal.SIGINT)
    signalled = time.monotonic()
    out, _ = process.communicate(timeout=120)
    assert [ran.exit_code for ran in looked.values()] == [1, 0, 0, 0], looked["plan"].text
    assert "state-behind" not in looked["plan"].text
    assert "A run holds the state" in looked["plan"].err
    assert "running" in looked["runs"].out
    assert "written so far" in looked["report --output text"].out
    assert "of an earlier run" not in looked["report --output text"].out
    assert "members" in looked["state list"].out
    assert "interrupted" in out
    assert gym.stripe.count("customer") - began <= 14
    assert time.monotonic() - signalled < 60


# ── the analyst ──────────────────────────────────────────────────────────────────────────────────────────────────

WITHOUT_SYNCS = """
version: 2
models:
  # The people who train with us
  - name: members
    columns:
      - name: member_no
        data_tests: [unique, not_null]
      - name: email
"""


def test_init_takes_the_key_from_a_test_and_refers_to_existing_syncs(gym):
    gym.schema(lambda _: WITHOUT_SYNCS)

    members = gym.cli("init", "members", "--resource", "customer").out
    unknown = gym.cli("init", "offers", "--resource", "product")
    gym.run_dbt("parse")
    extras = gym.cli("init", "extras", "--resource", "invoice_item").out
    contracts = gym.cli("init", "contracts", "--resource", "subscription").out
    gym.run_dbt("parse", exit_code=2)
    parsed = gym.cli("parse").text

    assert "key: member_no" in members
    assert '{template: "[[ given_name ]] [[ family_name ]]"}' in members
    assert "error[no-row-key]" in unknown.text
    assert "customer: {sync: members, key: member_no}" in extras
    assert "amount: {column: amount, as: minor_units, currency_column: ccy}" in extras
    assert "  currency: ccy" in extras
    assert "customer: {sync: members, key: member_no}" in contracts
    assert "Stripe requires `items` to create a subscription" in parsed
    assert "# The people who train with us" in (gym.root / "models" / "schema.yml").read_text()
