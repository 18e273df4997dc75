"""The messages for mistakes say what, where, and how to fix it. Never a traceback, a key or a value."""

from __future__ import annotations

import json
import subprocess
import sys

import duckdb
import pytest

from dbt_stripe_sync.sandbox import Fault, FaultKind

CUSTOMER = {"resource": "customer", "key": "id", "fields": {"email": "email"}}


def problem_of(ran):
    """The first error as it is printed, in one piece."""
    assert ran.exit_code == 2, ran.out + ran.err
    assert "Traceback" not in ran.err
    return " ".join(ran.err.split())


def test_a_missing_manifest_is_reported_with_a_hint(business):
    problem = problem_of(business.cli())

    assert "error[no-manifest]: dbt's manifest was not found here" in problem
    assert "hint: run `dbt build` first, or name the project with `--project-dir`" in problem


def test_a_broken_manifest_is_reported(customers):
    manifest = customers.root / "target" / "manifest.json"
    manifest.write_text(manifest.read_text()[:100])

    problem = problem_of(customers.cli())

    assert "error[broken-manifest]: dbt's artifact can't be read: it is not valid JSON, or it is truncated" in problem
    assert "target/manifest.json" in problem
    assert "hint: remove it and run `dbt build` again" in problem


def test_a_missing_project_is_reported(business):
    (business.root / "dbt_project.yml").unlink()

    problem = problem_of(business.cli())

    assert "error[no-project]: no dbt_project.yml was found here" in problem


def test_an_unset_environment_variable_in_the_profile_is_reported(customers):
    profiles = customers.root / "profiles.yml"
    profiles.write_text(profiles.read_text().replace(str(customers.warehouse), "{{ env_var('NO_SUCH_PATH') }}"))

    problem = problem_of(customers.cli())

    assert "error[no-env-var]: the environment variable NO_SUCH_PATH is not set" in problem
    assert "profiles.yml: shop.outputs.dev.path" in problem


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (
            {"resource": "custmer"},
            ["error[unknown-resource]: unknown Stripe resource `custmer`", "did you mean `customer`?"],
        ),
        (
            {"fields": {"emial": "email"}},
            ["error[unknown-parameter]: unknown parameter `emial`", "did you mean `email`?"],
        ),
        (
            {"resource": "price", "fields": {"unit_amount": "id"}},
            ["error[missing-parameter]: `currency` is not mapped, and Stripe requires it to create a price"],
        ),
        (
            {"fields": {"email": "e_mail"}},
            [
                "error[unknown-column]: sync `customers` reads column `e_mail`, which `customers` lacks",
                "at models/schema.yml: customers.meta.stripe_sync.fields.email",
                "did you mean `email`? columns are `id`, `email`, `name`",
            ],
        ),
        (
            {"fields": {"tax_exempt": {"value": "sometimes"}}},
            ["error[bad-constant]", "one of `exempt`, `none`, `reverse`"],
        ),
        (
            {"fields": {"balance": {"column": "id", "as": "minor_units", "currency": "xyz"}}},
            ["error[unknown-currency]: `xyz` is not a currency that Stripe supports"],
        ),
        (
            {"fields": {"description": {"value": "sk_live_" + "abcdefgh12345678"}}},
            ["error[secret-in-meta]", "roll the key at https://dashboard.stripe.com/apikeys now"],
        ),
        ({"on_removed": "archive"}, ["error[removal-not-allowed]", "`ignore`, `delete`"]),
        ({"key": None}, ["error[no-key]: the sync has no key, so its rows can't be identified"]),
    ],
)
def test_wrong_meta_is_reported(customers, change, texts):
    customers.sync("customers", **{**CUSTOMER, **change})

    problem = problem_of(customers.cli())

    for text in texts:
        assert text in problem
    assert "abcdefgh12345678" not in problem


def test_all_problems_are_reported_at_once(customers):
    customers.sync("customers", resource="customer", key="id", fields={"emial": "email", "nme": "name"}, modes="upsert")

    problem = problem_of(customers.cli("parse"))

    assert all(text in problem for text in ("`emial`", "`nme`", "`modes`"))


def test_a_key_that_is_not_unique_rejects_its_rows_alone(customers):
    customers.table("customers", "SELECT * FROM customers UNION ALL SELECT 3, 'z@example.com', 'Zoe'")

    ran = customers.cli()

    assert ran.exit_code == 1
    assert {c["metadata"]["user_id"] for c in customers.stripe.objects("customer")} == {"1", "2"}
    assert "2 rows of `customers` have the same `id`" in ran.text
    assert "z@example.com" not in ran.text


def test_a_null_key_rejects_its_row_alone(customers):
    customers.table("customers", "SELECT * FROM customers UNION ALL SELECT NULL, 'z@example.com', 'Zoe'")

    ran = customers.cli()

    assert ran.exit_code == 1
    assert customers.stripe.count("customer") == 3
    assert "1 row of `customers` has no `id`" in ran.text


def test_text_in_a_number_rejects_its_row_alone(customers):
    customers.table("customers", "SELECT *, CASE id WHEN 2 THEN 'lots' ELSE '5' END AS credit FROM customers")
    customers.sync("customers", **{**CUSTOMER, "fields": {"email": "email", "balance": "credit"}})

    ran = customers.cli()

    assert ran.exit_code == 1
    assert customers.stripe.count("customer") == 2
    assert "`balance` is text, but Stripe expects a whole number" in ran.text
    assert "lots" not in ran.text


def test_a_missing_stripe_key_is_reported(customers, monkeypatch):
    monkeypatch.delenv("STRIPE_API_KEY")

    problem = problem_of(customers.cli())

    assert "error[no-stripe-key]: the environment variable STRIPE_API_KEY is not set" in problem
    assert "hint: export STRIPE_API_KEY=sk_test_" in problem
    monkeypatch.setenv("STRIPE_API_KEY", " ")
    assert "the environment variable STRIPE_API_KEY is empty" in problem_of(customers.cli())


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_missing_key_and_a_missing_column_are_reported_together_and_each_once(customers, monkeypatch, command):
    monkeypatch.delenv("STRIPE_API_KEY")
    customers.sync("customers", **{**CUSTOMER, "fields": {"email": "emial"}, "match": ["email"]})

    ran = customers.cli(command)

    assert ran.exit_code == 2
    assert "error[no-stripe-key]" in ran.text
    assert ran.text.count("reads column `emial`, which `customers` lacks") == 1


def test_a_live_key_is_rejected_on_a_target_that_is_not_live(customers, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_" + "a" * 24)

    problem = problem_of(customers.cli())

    assert "error[live-key]: the key is a live one, and target `dev` is not in `live_targets`" in problem
    assert "live_targets: [dev]" in problem
    assert "a" * 24 not in problem


def test_a_live_key_works_for_a_target_listed_as_live(customers, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_" + "a" * 24)
    customers.set(live_targets=["dev"])

    ran = customers.cli()

    assert ran.exit_code == 0, ran.err
    assert customers.stripe.count("customer", livemode=True) == 3


def test_an_unreachable_stripe_is_reported(customers):
    customers.stripe.stop()

    problem = problem_of(customers.cli())

    assert "error[stripe-unreachable]: http://127.0.0.1:" in problem
    assert "hint: check the network and its proxy" in problem


def test_a_wrong_key_is_reported(customers, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_wrong_key_0000")

    problem = problem_of(customers.cli())

    assert "error[stripe-auth]: Stripe does not know the key" in problem
    assert "wrong_key" not in problem


def test_a_key_is_not_sent_to_an_unknown_host(customers):
    ran = customers.cli("run", "--stripe-url", "https://stripe.example.org")

    # The option is given twice, and the last one counts; the project's own address is loopback.
    customers.set(api_base="https://stripe.example.org")
    assert ran.exit_code == 0
    from business import run_cli

    folder = str(customers.root)
    problem = problem_of(run_cli("run", "--project-dir", folder, "--profiles-dir", folder))
    assert "error[foreign-address]: https://stripe.example.org is neither Stripe nor this machine" in problem


def test_an_unreachable_warehouse_is_reported(customers):
    customers.warehouse.unlink()

    problem = problem_of(customers.cli())

    assert "error[warehouse-missing]" in problem
    assert "dbt build" in problem


def test_a_relation_that_dbt_has_not_built_is_reported(customers):
    with duckdb.connect(str(customers.warehouse)) as warehouse:
        warehouse.execute("DROP TABLE customers")

    problem = problem_of(customers.cli())

    assert "error[relation-missing]" in problem


def test_a_state_that_another_run_holds_is_reported(customers):
    customers.cli()
    holder = (
        "import sys, time; from pathlib import Path; from dbt_stripe_sync.state.access import open_state;"
        "from dbt_stripe_sync.model.clock import SystemClock\n"
        "with open_state(Path(sys.argv[1]), identity=None, clock=SystemClock()):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", holder, str(customers.state)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        problem = problem_of(customers.cli())
    finally:
        process.kill()
        process.communicate()

    assert f"error[state-locked]: another run holds the state: process {process.pid} on " in problem
    assert "--wait-for-lock SECONDS" in problem
    assert customers.cli().exit_code == 0


@pytest.mark.slow
def test_the_state_of_another_account_is_refused(customers):
    customers.cli()
    with duckdb.connect(str(customers.state)) as state:
        state.execute("UPDATE meta SET value = 'acct_other' WHERE key = 'account'")

    problem = problem_of(customers.cli())

    assert "error[state-other-account]: the state was made for account `acct_other`, and this is `acct_" in problem


@pytest.mark.slow
def test_the_state_of_another_mode_is_refused(customers):
    customers.cli()
    with duckdb.connect(str(customers.state)) as state:
        state.execute("UPDATE meta SET value = 'live' WHERE key = 'mode'")

    problem = problem_of(customers.cli())
    assert "error[state-other-mode]: the state was made for mode `live`, and this is `test`" in problem


def test_a_damaged_state_is_not_reset(customers):
    customers.cli()
    customers.state.write_bytes(b"not a database" * 1000)
    before = customers.state.read_bytes()

    problem = problem_of(customers.cli())

    assert "error[state-damaged]: the state can't be read" in problem
    assert customers.state.read_bytes() == before


def test_a_selector_that_selects_nothing_is_reported(customers):
    ran = customers.cli("ls", "--select", "customer")

    assert "warning[nothing-selected]: the selector `customer` matches no sync" in ran.err
    assert "did you mean `customers`?" in ran.err


def test_a_rejection_is_reported_in_stripes_own_words(customers):
    customers.stripe.inject(Fault(kind=FaultKind.STATUS, method="POST", path="/v1/customers", status=402, count=1))

    ran = customers.cli()

    assert ran.exit_code == 1
    assert customers.stripe.count("customer") == 2


def test_errors_are_json_on_request(customers):
    ran = customers.cli("ls", "--output", "json")

    assert json.loads(ran.out)["sync"] == "customers"
