"""What a sync never does on its own: permanent removals without approval, or more than its limits allow."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from business import ROOT

from dbt_stripe_sync import Project, ProjectOptions, SyncError
from dbt_stripe_sync.sandbox import Fault

NEEDS_AGREEMENT = """\
error[confirmation-required]: `delete` of 2 customer objects of `customers` can't be undone and isn't approved: \
nothing was sent
  at models/schema.yml: customers.meta.stripe_sync.on_removed

hint: review it with `dbt-stripe-sync plan`, then add `--yes`; in a scheduled job, `limits: {max_removed: 10%}` on the \
sync approves removals up to that limit, and `on_removed: ignore` keeps the objects in Stripe
"""
SECONDS_FOR_A_RUN = 60


def tag(customers, **meta):
    customers.sync("customers", **{**customers.models["customers"]["meta"]["stripe_sync"], **meta})


def leave(customers, condition):
    customers.table("customers", f"SELECT * FROM customers WHERE {condition}")


@pytest.fixture
def two_removed(customers):
    """Three customers that were written, of whom two have left a model whose rows are deleted for good."""
    tag(customers, on_removed="delete")
    customers.cli()
    leave(customers, "id = 1")
    customers.write_calls()
    return customers


# ── where a person must agree ────────────────────────────────────────────────────────────────────────────────────


def test_a_refused_run_is_listed_as_failed(two_removed):
    assert two_removed.cli().exit_code == 2

    runs = [json.loads(line) for line in two_removed.cli("runs", "--output", "json").out.splitlines()]
    assert [run["status"] for run in runs] == ["failed", "succeeded"]
    assert "confirmation-required" in two_removed.cli("report", "--text").text


def test_permanent_removals_are_refused_if_nobody_can_be_asked(two_removed):
    ran = two_removed.cli()

    assert (ran.exit_code, ran.out) == (2, "")
    assert ran.err.endswith(NEEDS_AGREEMENT)
    assert two_removed.write_calls() == []


def test_the_plan_says_that_a_run_will_ask(two_removed):
    ran = two_removed.cli("plan")

    assert ran.exit_code == 0
    assert "note: `delete` can't be undone: `run` asks first unless you pass `--yes`" in ran.text
    assert "can't be undone" not in two_removed.cli("run", "--yes").text


def test_every_sync_that_needs_confirmation_is_named_with_its_count(two_removed):
    two_removed.rows("plans", ("solo", "Solo"), ("team", "Team"), columns="code text, name text")
    two_removed.sync("plans", resource="product", key="code", fields={"name": "name"}, on_removed="delete")
    assert two_removed.cli("run", "--select", "plans").exit_code == 0
    two_removed.table("plans", "SELECT * FROM plans WHERE code = 'solo'")
    two_removed.write_calls()

    ran = two_removed.cli()

    assert ran.exit_code == 2
    assert "`delete` of 2 customer objects of `customers` can't be undone" in ran.text
    assert "`delete` of 1 product object of `plans` can't be undone" in ran.text
    assert two_removed.write_calls() == []


def test_yes_pre_approves_the_plan(two_removed):
    ran = two_removed.cli("run", "--yes")

    assert ran.exit_code == 0, ran.err
    assert two_removed.stripe.count("customer") == 1


@pytest.mark.parametrize(
    ("meta", "condition"),
    [
        ({"on_removed": "delete", "limits": {"max_removed": "70%"}}, "id = 1"),
        ({"on_removed": "delete", "limits": {"max_removed": 2}}, "id = 1"),
        ({"on_removed": "ignore"}, "id = 1"),
        ({"on_removed": "delete"}, "true"),
    ],
    ids=["within a percentage", "within a number", "nothing is removed", "nothing has left"],
)
def test_pre_approved_or_disabled_removals_need_no_confirmation(customers, meta, condition):
    tag(customers, **meta)
    customers.cli()
    leave(customers, condition)

    ran = customers.cli()

    assert ran.exit_code == 0, ran.err


def test_reversible_removals_need_no_confirmation(business):
    business.rows("plans", ("solo", "Solo"), ("team", "Team"), columns="code text, name text")
    business.sync("plans", resource="product", key="code", fields={"name": "name"}, on_removed="archive")
    business.cli()
    business.table("plans", "SELECT * FROM plans WHERE code = 'solo'")

    ran = business.cli()

    assert ran.exit_code == 0, ran.err
    assert sorted(p["active"] for p in business.stripe.objects("product")) == [False, True]


def test_yes_does_not_lift_a_limit(customers):
    tag(customers, on_removed="delete", limits={"max_removed": 1})
    customers.cli()
    leave(customers, "id = 1")

    ran = customers.cli("run", "--yes")

    assert ran.exit_code == 1
    assert "error[max-removed]" in ran.text
    assert customers.stripe.count("customer") == 3


def test_a_retry_needs_the_same_confirmation(two_removed):
    two_removed.table("customers", "SELECT 1 AS id, 'no address' AS email, 'Ann' AS name")
    assert two_removed.cli("run", "--yes").exit_code == 1
    two_removed.table("customers", "SELECT 5 AS id, 'e@example.com' AS email, 'Eve' AS name")
    two_removed.write_calls()

    refused = two_removed.cli("retry", first_run(two_removed))
    after = two_removed.write_calls()
    agreed = two_removed.cli("retry", first_run(two_removed), "--yes")

    assert refused.exit_code == 2
    assert "error[confirmation-required]: `delete` of 1 customer object of `customers`" in refused.text
    assert after == []
    assert agreed.exit_code == 0, agreed.err
    assert two_removed.stripe.count("customer") == 0


def test_a_refused_retry_is_sent_by_the_next_one(two_removed):
    two_removed.stripe.inject(Fault.status_code(400, method="DELETE", count=2))
    assert two_removed.cli("run", "--yes").exit_code == 1

    refused = two_removed.cli("retry")
    agreed = two_removed.cli("retry", "--yes")

    assert refused.exit_code == 2
    assert "error[confirmation-required]: `delete` of 2 customer objects of `customers`" in refused.text
    assert agreed.exit_code == 0, agreed.err
    assert two_removed.stripe.count("customer") == 1


def first_run(business):
    """The run that rejected something."""
    lines = business.cli("runs").out.splitlines()
    return next(line.split()[0] for line in lines if "partial" in line)


def test_a_saved_plan_is_sent_without_confirmation(two_removed, tmp_path):
    plan = tmp_path / "plan.jsonl"
    two_removed.cli("plan", "--out", str(plan))

    ran = two_removed.cli("apply", str(plan))

    assert ran.exit_code == 0, ran.err
    assert two_removed.stripe.count("customer") == 1


def test_a_dry_run_asks_nobody(two_removed):
    assert two_removed.cli("run", "--dry-run").exit_code == 0


def test_python_confirms_by_a_value_or_by_a_function_that_sees_the_plan(two_removed):
    project = Project(
        ProjectOptions(project_dir=two_removed.root, profiles_dir=two_removed.root, stripe_url=two_removed.stripe.url)
    )
    asked = []

    def agree(plan, removals):
        asked.append(([change.key for change in plan.changes], [(r.sync, r.removal.value, r.count) for r in removals]))
        return len(asked) > 1

    with pytest.raises(SyncError) as by_default:
        project.run()
    with pytest.raises(SyncError) as refused:
        project.run(agreed=agree)
    left = two_removed.stripe.count("customer")
    report = project.run(agreed=agree)

    assert [problem.code for problem in (*by_default.value.problems, *refused.value.problems)] == [
        "confirmation-required"
    ] * 2
    assert asked == [(["2", "3"], [("customers", "delete", 2)])] * 2
    assert (left, report.done["succeeded"], two_removed.stripe.count("customer")) == (3, 2, 1)


# ── a person at a terminal ───────────────────────────────────────────────────────────────────────────────────────


class Terminal:
    """The real command line in a process of its own, on a terminal."""

    def __init__(self, business, *arguments: str) -> None:
        self._mine, its = pty.openpty()
        root = str(business.root)
        options = ["--project-dir", root, "--profiles-dir", root, "--stripe-url", business.stripe.url]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dbt_stripe_sync", *arguments, *options],
            stdin=its,
            stdout=its,
            stderr=its,
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(its)
        self.text = ""

    def wait_for(self, words: str) -> None:
        """Read until some words have come."""
        while words not in self.text:
            assert self._read(), self.text

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._mine, keys.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        os.close(self._mine)
        return self._process.wait(SECONDS_FOR_A_RUN)

    def _read(self) -> bool:
        try:
            more = os.read(self._mine, 65536).decode(errors="replace")
        except OSError:  # Linux's word for the end of a terminal
            return False
        self.text += more
        return bool(more)


def test_on_a_terminal_the_plan_is_shown_for_confirmation(two_removed):
    terminal = Terminal(two_removed, "run")
    terminal.wait_for("Send 2 changes, including `delete` of 2 in `customers`, which can't be undone? [y/N]")
    shown = terminal.text
    terminal.type("y\n")

    assert terminal.end() == 0
    assert "2 to change" in shown
    assert "`delete` can't be undone" in " ".join(shown.split())
    assert two_removed.stripe.count("customer") == 1


def test_a_first_run_without_a_command_asks_until_something_is_recorded(customers):
    refused = Terminal(customers)
    refused.wait_for("Send 3 changes? [y/N]")
    refused.type("n\n")

    assert refused.end() == 2
    assert "a@example.com" in refused.text
    assert customers.write_calls() == []

    agreed = Terminal(customers)
    agreed.wait_for("Send 3 changes? [y/N]")
    agreed.type("y\n")

    assert agreed.end() == 0
    assert customers.stripe.count("customer") == 3
    assert Terminal(customers).end() == 0


@pytest.mark.parametrize("answer", ["n\n", "\n"], ids=["no", "nothing"])
def test_on_a_terminal_anything_but_a_yes_sends_nothing(two_removed, answer):
    terminal = Terminal(two_removed, "run")
    terminal.wait_for("[y/N]")
    terminal.type(answer)

    assert terminal.end() == 2
    assert "error[not-confirmed]:" in terminal.text
    assert "nothing was sent, because the answer was no" in terminal.text
    assert two_removed.write_calls() == []
    (status, *_) = json.loads(two_removed.cli("runs", "--output", "json").out.splitlines()[0])["status"].split()
    assert status == "declined"
    assert "Nothing was sent, because the answer was no (exit 2)." in two_removed.cli("report", "--text").out


def test_ctrl_c_at_the_question_ends_the_run_at_once(two_removed):
    terminal = Terminal(two_removed, "run")
    terminal.wait_for("[y/N]")
    time.sleep(0.1)
    terminal.interrupt()

    assert terminal.end() == 130
    assert two_removed.write_calls() == []
    assert two_removed.cli("run", "--yes").exit_code == 0


def test_on_a_terminal_a_pre_approved_removal_needs_no_confirmation(two_removed):
    tag(two_removed, limits={"max_removed": "70%"})
    terminal = Terminal(two_removed, "run")

    assert terminal.end() == 0
    assert "[y/N]" not in terminal.text
    assert two_removed.stripe.count("customer") == 1


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────

RAISE = "hint: if this is intended, raise the limit; until then nothing is sent for this sync"
CHANGED = "SELECT * REPLACE (name || '!' AS name) FROM customers"
LEFT = "SELECT * FROM customers WHERE id = 1"
TOO_LONG = "SELECT * REPLACE (CASE WHEN id > 1 THEN repeat('x', 600) ELSE name END AS name) FROM customers"
MIXED = (
    "SELECT * FROM (SELECT * REPLACE (CASE id WHEN 1 THEN 'Bea' ELSE name END AS name) FROM customers WHERE id <> 3) "
    "UNION ALL SELECT 4, 'd@example.com', 'Dee'"
)
FIELDS = {"email": "email", "metadata.note": "name"}
HELD = [
    ("max_changes", 2, CHANGED, "3 rows to change, 100.0% of 3 records: `limits.max_changes` of `customers` is 2"),
    (
        "max_changes",
        "66%",
        CHANGED,
        "3 rows to change, 100.0% of 3 records: `limits.max_changes` of `customers` is 66%",
    ),
    ("max_changes", 2, MIXED, "3 rows to change, 100.0% of 3 records: `limits.max_changes` of `customers` is 2"),
    ("max_removed", 1, LEFT, "2 rows to remove, 66.7% of 3 records: `limits.max_removed` of `customers` is 1"),
    ("max_removed", "50%", LEFT, "2 rows to remove, 66.7% of 3 records: `limits.max_removed` of `customers` is 50%"),
    ("max_removed", "0%", LEFT, "2 rows to remove, 66.7% of 3 records: `limits.max_removed` of `customers` is 0%"),
    ("max_rejected", 1, TOO_LONG, "2 rows rejected, 66.7% of 3 records: `limits.max_rejected` of `customers` is 1"),
    (
        "max_rejected",
        "50%",
        TOO_LONG,
        "2 rows rejected, 66.7% of 3 records: `limits.max_rejected` of `customers` is 50%",
    ),
]
EMPTY = ["SELECT * FROM customers WHERE false", "SELECT NULL::INT AS id, email, name FROM customers"]
ALLOWED = [
    ("max_changes", 3, CHANGED),
    ("max_changes", "100%", CHANGED),
    ("max_removed", 2, LEFT),
    ("max_removed", "67%", LEFT),
    ("max_rejected", 2, TOO_LONG),
    ("max_rejected", "67%", TOO_LONG),
]


@pytest.mark.parametrize(("name", "limit", "select", "told"), HELD)
def test_beyond_a_limit_nothing_of_the_sync_is_sent_and_the_numbers_are_reported(customers, name, limit, select, told):
    tag(customers, on_removed="delete", fields=FIELDS)
    customers.cli()
    tag(customers, limits={name: limit})
    customers.table("customers", select)
    customers.write_calls()

    planned = customers.cli("plan")
    ran = customers.cli("run", "--yes")

    assert planned.exit_code == ran.exit_code == 1
    text = (
        f"error[{name.replace('_', '-')}]: {told}\n  at models/schema.yml: customers.meta.stripe_sync.limits.{name}\n"
    )
    assert text in ran.out + ran.err
    assert RAISE in ran.text
    assert customers.write_calls() == []


@pytest.mark.parametrize(("name", "limit", "select"), ALLOWED)
def test_up_to_a_limit_everything_is_sent(customers, name, limit, select):
    tag(customers, on_removed="delete", limits={name: limit}, fields=FIELDS)
    customers.cli()
    customers.table("customers", select)
    customers.write_calls()

    ran = customers.cli("run", "--yes")

    assert "limits." not in ran.text
    assert ran.exit_code == (1 if name == "max_rejected" else 0)
    assert len(customers.write_calls()) == {"max_changes": 3, "max_removed": 2, "max_rejected": 0}[name]


def test_an_absolute_limit_applies_to_the_first_sync_too(customers):
    tag(customers, limits={"max_changes": 2})

    ran = customers.cli()

    assert ran.exit_code == 1
    assert "3 rows to change, and no records yet: `limits.max_changes` of `customers` is 2" in ran.text
    assert customers.stripe.count("customer") == 0


def test_a_percentage_does_not_apply_to_the_first_sync(customers):
    tag(customers, limits={"max_changes": "10%"})

    assert customers.cli().exit_code == 0
    assert customers.stripe.count("customer") == 3


@pytest.mark.parametrize("yes", [False, True])
@pytest.mark.parametrize("limits", [{}, {"max_removed": "100%"}], ids=["no limit", "every row allowed"])
@pytest.mark.parametrize(
    "empty", ["SELECT * FROM customers WHERE false", "SELECT NULL::INT AS id, email, name FROM customers"]
)
def test_a_model_without_rows_never_removes_everything(customers, empty, limits, yes):
    tag(customers, on_removed="delete", limits=limits)
    customers.cli()
    customers.table("customers", empty)
    customers.write_calls()

    ran = customers.cli("run", *(["--yes"] if yes else []))

    assert ran.exit_code == 1
    assert "error[empty-model]: `customers` has no rows, and 3 objects in Stripe came from it" in ran.text
    assert customers.write_calls() == []


def typed(business, keys, type_):
    business.rows(
        "things", *((key, f"{n}@example.com") for n, key in enumerate(keys)), columns=f"id {type_}, email text"
    )


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ((("1", "20"), "int"), (("1", "20"), "decimal(9, 2)"), "2 new rows have the key of a row"),
        ((("1", "20"), "text"), ((1.0, 20.0), "double"), "[1.0] was [1]"),
        ((("1.5", "2"), "text"), (("1.5", "2"), "decimal(9, 2)"), "[1.50] was [1.5]"),
        ((("a", "b"), "text"), (("a ", "b"), "text"), "a new row has the key of a row"),
        ((("caf\u00e9", "b"), "text"), (("cafe\u0301", "b"), "text"), "a new row has the key of a row"),
        ((("2027-03-28", "b"), "text"), (("2027-03-28 00:00:00", "b"), "text"), "a new row has the key of a row"),
        (
            (("2027-03-28 01:30:00+00",), "timestamptz"),
            (("2027-03-28 01:30:00",), "timestamp"),
            "[2027-03-28 01:30:00] was [2027-03-28 01:30:00+00]",
        ),
        (
            (("2027-03-28 01:30:00.25",), "timestamp"),
            (("2027-03-28T01:30:00.250Z",), "text"),
            "[2027-03-28T01:30:00.250Z] was [2027-03-28 01:30:00.25]",
        ),
    ],
)
@pytest.mark.parametrize("on_removed", ["ignore", "delete"])
def test_keys_that_are_only_spelled_differently_create_and_remove_nothing(business, before, after, said, on_removed):
    typed(business, *before)
    business.sync("things", resource="customer", key="id", fields={"email": "email"}, on_removed=on_removed)
    assert business.cli().exit_code == 0
    business.write_calls()
    typed(business, *after)

    ran = business.cli("run", "--yes")

    assert ran.exit_code == 1
    assert "error[keys-respelled]" in ran.text
    assert said in ran.text
    assert business.write_calls() == []


def test_keys_of_several_columns_that_are_only_spelled_differently_are_found_too(business):
    business.rows("things", (1, "x"), columns="id int, part text")
    business.sync("things", resource="customer", key=["id", "part"], fields={"name": "part"})
    assert business.cli().exit_code == 0
    business.rows("things", ("1", "x "), columns="id decimal(9, 2), part text")

    ran = business.cli()

    assert "error[keys-respelled]" in ran.text
    assert business.stripe.count("customer") == 1


@pytest.mark.parametrize(("old", "new"), [("1", "1.01"), ("v1", "v1.0"), ("007", "7"), ("a", "A"), ("1.0.0", "1.0")])
def test_keys_that_really_differ_are_other_rows(business, old, new):
    typed(business, [old, "other"], "text")
    business.sync("things", resource="customer", key="id", fields={"email": "email"}, on_removed="delete")
    assert business.cli().exit_code == 0
    typed(business, [new, "other"], "text")

    ran = business.cli("run", "--yes")

    assert ran.exit_code == 0, ran.text
    assert business.stripe.count("customer") == 2
