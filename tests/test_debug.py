"""`debug` finds the usual beginners' mistakes, with a hint for each."""

from __future__ import annotations

import json
import re

import duckdb
import pytest
from business import run_cli
from on_terminal import in_a_terminal

from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.state.access import open_state


def failed(ran):
    return [line.split()[1] for line in ran.out.splitlines() if line.startswith("FAIL")]


def test_a_correct_project_passes_every_check(customers):
    customers.cli()

    ran = customers.cli("debug")

    assert ran.exit_code == 0, ran.err
    assert [line.split()[:2] for line in ran.out.splitlines()] == [
        ["ok", name] for name in ("project", "syncs", "warehouse", "stripe", "permissions", "state")
    ]


def no_project(customers, _monkeypatch):
    (customers.root / "dbt_project.yml").unlink()
    return "project", "error[no-project]", "name it with `--project-dir`"


def no_profiles(customers, _monkeypatch):
    (customers.root / "profiles.yml").unlink()
    return "project", "error[no-profiles]", "name its folder with `--profiles-dir`"


def no_profile(customers, _monkeypatch):
    (customers.root / "profiles.yml").write_text(json.dumps({"other": {}}))
    return "project", "error[no-profile]: unknown profile `shop`", "available: `other`"


def no_target(_customers, monkeypatch):
    monkeypatch.setenv("DBT_TARGET", "prod")
    return "project", "error[no-target]: the profile `shop` has no target `prod`", "available: `dev`"


def no_manifest(customers, _monkeypatch):
    (customers.root / "target" / "manifest.json").unlink()
    return "project", "error[no-manifest]", "run `dbt build` first"


def no_syncs(customers, _monkeypatch):
    customers.models["customers"].pop("meta")
    customers.write_manifest()
    return "syncs", "warning[no-syncs]", "`dbt-stripe-sync init MODEL --resource customer` writes a first one"


def no_key(_customers, monkeypatch):
    monkeypatch.delenv("STRIPE_API_KEY")
    return "stripe", "error[no-stripe-key]", "export STRIPE_API_KEY=sk_test_…"


def publishable_key(_customers, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", "pk_test_0123456789")
    return "stripe", "a publishable key (`pk_`)", "use a secret or restricted key"


def live_key(_customers, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_0123456789")
    return "stripe", "error[live-key]", "add `live_targets: [dev]`"


def no_state_folder(customers, _monkeypatch):
    (customers.root / ".stripe_sync").write_text("a file in the place of the folder")
    return "state", "error[state-readonly]: the state can't be written: permission denied", "make its folder writable"


def no_sandbox(customers, _monkeypatch):
    customers.stripe.stop()
    return "stripe", "error[", "hint:"


def no_warehouse(customers, _monkeypatch):
    customers.warehouse.unlink()
    return "warehouse", "error[", "hint:"


def no_relation(customers, _monkeypatch):
    with duckdb.connect(str(customers.warehouse)) as warehouse:
        warehouse.execute("DROP TABLE customers")
    return "warehouse", "customers", "hint:"


def no_column(customers, _monkeypatch):
    customers.table("customers", "SELECT id, email FROM customers")
    return "warehouse", "error[unknown-column]", "columns are `id`, `email`"


@pytest.mark.parametrize(
    "mistake",
    [
        no_project,
        no_profiles,
        no_profile,
        no_target,
        no_manifest,
        no_syncs,
        no_key,
        publishable_key,
        live_key,
        no_state_folder,
        no_sandbox,
        no_warehouse,
        no_relation,
        no_column,
    ],
    ids=lambda mistake: mistake.__name__.replace("_", " "),
)
def test_each_common_mistake_is_found_with_a_hint(customers, monkeypatch, mistake):
    monkeypatch.setenv("HOME", str(customers.root / "nobody"))
    monkeypatch.chdir(customers.root.parent)
    check, what, hint = mistake(customers, monkeypatch)

    options = ["--project-dir", str(customers.root), "--stripe-url", customers.stripe.url]
    ran = run_cli("debug", *options)

    assert ran.exit_code == 2
    assert check in failed(ran), ran.text
    assert what in ran.text
    assert hint in ran.text
    assert "Traceback" not in ran.text


def checked(ran):
    return [line.split()[:2] for line in ran.out.splitlines() if line[:4] in {"ok  ", "FAIL", "skip"}]


def test_the_state_is_checked_even_if_stripe_cannot_be_reached(customers):
    customers.cli()
    customers.stripe.stop()

    ran = customers.cli("debug")

    assert ran.exit_code == 2
    assert checked(ran)[3:] == [["FAIL", "stripe"], ["skip", "permissions"], ["ok", "state"]]
    assert "permissions  skipped, because the check of Stripe failed" in ran.out
    assert "dev.duckdb, 3 records; whether it belongs to the key's account is unknown" in ran.out


def test_a_damaged_state_is_found_without_a_key(customers, monkeypatch):
    customers.cli()
    customers.state.write_bytes(b"nothing that DuckDB knows" * 1000)
    monkeypatch.delenv("STRIPE_API_KEY")

    ran = customers.cli("debug")

    assert failed(ran) == ["stripe", "state"]
    assert "error[state-damaged]" in ran.text


def test_a_check_that_was_skipped_is_null_in_json(customers, monkeypatch):
    monkeypatch.delenv("STRIPE_API_KEY")

    ran = customers.cli("debug", "--output", "json")

    results = {line["check"]: line["ok"] for line in map(json.loads, ran.out.splitlines())}
    assert (ran.exit_code, results["stripe"], results["permissions"], results["state"]) == (2, False, None, True)


def test_debug_creates_no_state(customers):
    ran = customers.cli("debug")

    assert ran.exit_code == 0
    assert "dev.duckdb, which the first run creates" in ran.out
    assert not customers.state.exists()


def test_a_state_locked_by_another_run_is_reported_with_that_run(customers):
    customers.cli()
    with open_state(customers.state, identity=None, clock=SystemClock()):
        ran = customers.cli("debug")

    assert failed(ran) == ["state"]
    assert "error[state-locked]" in ran.text
    assert "process" in ran.text


def test_run_without_any_sync_says_how_to_create_one(customers):
    customers.models["customers"].pop("meta")
    customers.write_manifest()

    ran = customers.cli()

    assert ran.exit_code == 0
    assert "warning[no-syncs]" in ran.text


def test_a_missing_key_and_missing_syncs_are_both_reported(customers, monkeypatch):
    monkeypatch.delenv("STRIPE_API_KEY")
    customers.models["customers"].pop("meta")
    customers.write_manifest()

    ran = customers.cli()

    assert ran.exit_code == 2
    assert ran.err.count("error[no-stripe-key]") == 1
    assert ran.err.count("warning[no-syncs]") == 1


def test_on_a_terminal_every_line_fits_and_an_empty_line_follows_a_problem(business):
    business.rows("people", (1, "Ann"), columns="id int, name text")
    business.sync("people", resource="customer", key="id", fields={"name": "the_name_of_a_person_as_printed"})

    shown, code = in_a_terminal(business, ["debug"])
    warned, _ = in_a_terminal(business, ["parse"])

    assert code == 2
    assert max(map(len, shown.splitlines())) <= 80, shown
    assert re.search(r"^FAIL  warehouse    .*\n {19}\S", shown, re.MULTILINE), shown
    assert re.search(r"hint: .*\n(  .*\n)*\nok    stripe ", shown), shown
    assert warned.endswith("\n\n1 sync is well formed, with 1 warning.\n")


def test_in_a_pipe_a_check_is_one_line_of_any_length(business):
    business.rows("people", (1, "Ann"), columns="id int, name text")
    business.sync("people", resource="customer", key="id", fields={"name": "the_name_of_a_person_as_printed"})

    lines = business.cli("debug").out.splitlines()

    assert [line.split()[1] for line in lines] == ["project", "syncs", "warehouse", "stripe", "permissions", "state"]
