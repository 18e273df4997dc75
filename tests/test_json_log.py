"""With `--log-format json` every line is JSON, to the last one and in every failure, with its time, level and run."""

from __future__ import annotations

import json
import re

import pytest

RUN = r"\d{8}T\d{6}-[0-9a-f]{6}"


def checked(ran):
    """The lines of a log, each with what every one of them has."""
    lines = [json.loads(line) for line in (ran.out + ran.err).splitlines()]
    assert lines
    for line in lines:
        assert line["time"].endswith("+00:00")
        assert line["level"] in {"info", "warning", "error"}
        assert "run_id" in line
    return lines


def test_a_run_names_itself_in_every_line_once_it_has_begun(customers):
    lines = checked(customers.cli("run", "--log-format", "json"))

    (run_id,) = {line["run_id"] for line in lines} - {None}
    assert re.fullmatch(RUN, run_id)
    (ended,) = [line for line in lines if line["event"] == "run_ended"]
    assert ended["run_id"] == run_id


def test_what_is_rejected_and_why_is_json_of_that_run(customers):
    columns = "id int, email text, name text"
    customers.rows("customers", (1, "bad mail", "Ann"), (None, None, "Bob"), columns=columns)

    lines = checked(customers.cli("run", "--log-format", "json"))

    by_event = {line["event"]: line for line in lines}
    assert by_event["change_failed"]["code"] == "email_invalid"
    assert by_event["problem"]["code"] == "null-key"
    assert len({line["run_id"] for line in lines if line["event"] in {"change_failed", "problem", "run_ended"}}) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("plan", "--no-such-option"),
        ("retry",),
        ("parse",),
        ("runs", "--limit", "0"),
        ("show", "nothing"),
        ("report", "no-such-run"),
        ("state", "forget", "customers", "1"),
        ("state", "show", "customers", "99"),
        ("run", "--select", "nothing"),
    ],
)
def test_every_other_command_logs_json_too(customers, command):
    customers.cli()

    checked(customers.cli(*command, "--log-format", "json"))


@pytest.mark.parametrize("command", [("plan",), ("run", "--dry-run")])
def test_with_json_logs_a_plan_is_a_json_document(customers, command):
    ran = customers.cli(*command, "--log-format", "json")

    assert len(json.loads(ran.out)["changes"]) == 3
    assert all(json.loads(line)["level"] == "info" for line in ran.err.splitlines())


@pytest.mark.parametrize(
    "command",
    [
        ("ls",),
        ("show", "customers"),
        ("debug",),
        ("runs",),
        ("report",),
        ("state", "list"),
        ("state", "list", "customers"),
        ("state", "show", "customers", "1"),
        ("state", "rebuild"),
    ],
)
def test_data_commands_print_json_with_either_option(customers, command):
    customers.cli()
    if command == ("state", "rebuild"):
        customers.state.unlink()

    for option in (("--log-format", "json"), ("--output", "json")):
        ran = customers.cli(*command, *option)
        lines = [json.loads(line) for line in (ran.out + ran.err).splitlines() if line]
        assert lines or "report" in command, option
        if command == ("state", "rebuild"):
            customers.state.unlink()


def test_parse_prints_its_problems_as_data(customers):
    customers.sync("customers", resource="customer", key="id", fields={"email": "e_mail"})

    ran = customers.cli("parse", "--output", "json")

    document = json.loads(ran.out)
    assert document["syncs"] == ["customers"]
    assert [problem["code"] for problem in document["problems"]] == ["unknown-column"]
    assert ran.err == ""


@pytest.mark.parametrize(
    "break_it",
    [
        lambda shop: (shop.root / "profiles.yml").write_text("shop: {target: dev"),
        lambda shop: (shop.root / "profiles.yml").unlink(),
        lambda shop: (shop.root / "dbt_project.yml").unlink(),
        lambda shop: (shop.root / "target" / "manifest.json").write_text("{"),
        lambda shop: shop.warehouse.write_bytes(b"no database"),
        lambda shop: shop.stripe.stop(),
    ],
)
def test_every_error_is_reported_as_json(customers, break_it):
    break_it(customers)

    ran = customers.cli("run", "--log-format", "json")

    assert ran.exit_code != 0
    checked(ran)


def test_an_unexpected_error_is_a_json_line_without_its_message(customers, monkeypatch):
    words = f"{customers.root} holds a@example.com"

    def fail(_):
        raise RuntimeError(words)

    monkeypatch.setattr("dbt_stripe_sync.api.Project.check", fail)

    ran = customers.cli("parse", "--log-format", "json")

    (line,) = checked(ran)
    assert (ran.exit_code, line["code"], line["summary"]) == (2, "unexpected", "RuntimeError")
    assert "example.com" not in ran.text
    assert "in fail" in line["traceback"]


def test_quiet_prints_nothing_but_errors(customers):
    assert customers.cli("run", "--quiet").text.strip() == ""
    assert customers.cli("parse", "-q").text.strip() == ""
    assert "Nothing to change" in customers.cli("plan", "--quiet").out
    customers.rows("customers", (1, "bad mail", "Ann"), columns="id int, email text, name text")

    ran = customers.cli("run", "--quiet")

    assert ran.exit_code == 1
    assert "email_invalid" in ran.out
    assert ran.err == ""


def test_quiet_prints_no_warning_beside_an_error(customers, monkeypatch):
    monkeypatch.setenv("ALERT_URL", "http://127.0.0.1:1/")
    customers.set(alerts=[{"url_env": "ALERT_URL"}])
    customers.rows("customers", (1, "bad mail", "Ann"), columns="id int, email text, name text")
    assert "warning[alert-not-sent]" in customers.cli("run").out

    ran = customers.cli("run", "--quiet")

    assert ran.exit_code == 1
    assert "rejected[email_invalid]" in ran.out
    assert "warning[" not in ran.text
