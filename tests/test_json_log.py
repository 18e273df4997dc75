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
def test_a_plan_is_the_document_then(customers, command):
    ran = customers.cli(*command, "--log-format", "json")

    assert len(json.loads(ran.out)["changes"]) == 3
    assert all(json.loads(line)["level"] == "info" for line in ran.err.splitlines())
