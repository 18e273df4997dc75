"""A run's result on a terminal."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from made import email_failure, make_change, make_counts, make_outcome, make_report, row_problem
from rich.cells import cell_len

from dbt_stripe_sync.model.calls import StripeFailure
from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.plan import Note
from dbt_stripe_sync.model.run import RunStatus, Status
from dbt_stripe_sync.report.run_text import render_run


def render(report, **given) -> str:
    return "\n".join(render_run(report, **given))


def test_a_successful_run_is_summarized_in_three_lines():
    outcomes = [
        make_outcome(make_change("1")),
        make_outcome(make_change("2", Action.CREATE)),
        make_outcome(make_change("3", Action.DELETE)),
    ]
    report = make_report(outcomes, [make_counts(rows=12400, same=12398)])

    assert render(report, artifacts=[Path("target/stripe_sync_results.json")]) == (
        "✓ customers -> customer                  12,400 rows   1 created, 1 updated, 1\n"
        "                                                       deleted\n"
        "\n"
        "12,400 rows and 1 removal: 3 written, 12,398 unchanged; 3 requests in 1.4 s.\n"
        "Run 20260301T120000-abc123, target dev, account acct_1AbCdEfGhIjKlMn0, test\n"
        "mode.\n"
        "Run succeeded (exit 0).\n"
        "  target/stripe_sync_results.json"
    )


def test_figures_are_in_the_same_columns_after_a_long_name():
    counts = [make_counts(rows=12, same=12), make_counts("usage_events_of_last_year", rows=6, resource="meter_event")]

    lines = render(make_report([], counts), width=200).splitlines()[:2]

    assert [line.index("rows") for line in lines] == [50, 50]


def test_failures_are_reported_by_cause_with_what_stripe_said_and_what_to_do():
    rejected = [
        make_outcome(
            make_change(str(n), changed={"email": ("a@x.com", f"jo{n}@@x")}),
            Status.REJECTED,
            failure=email_failure(message=f"Invalid email address: jo{n}@@x"),
        )
        for n in range(1, 1210)
    ]
    report = make_report(rejected, [make_counts(rows=1209)], status=RunStatus.PARTIAL)
    text = render(report, width=100)

    assert (
        "rejected[email_invalid]: 1,209 rows of `customers` at `email`\n"
        "  the email address is not valid.\n"
        "  Stripe: Invalid email address: …\n"
        "  rows 1, 2, 3, 4, 5, and 1,204 more; requests req_1, req_2, req_3\n"
        "hint: fix it in the model, or make it null; a dbt test on the column's pattern finds such rows\n"
    ) in text
    assert "@" not in text
    assert "Some rows or models were not synced (exit 1)." in text


def test_stripes_message_is_shown_verbatim_if_values_were_requested():
    report = make_report([make_outcome(make_change("1"), Status.REJECTED)], [make_counts(rows=1)])

    assert "Invalid email address: jo@@example" in render(report, show_values=True)


def test_an_unknown_outcome_is_not_reported_as_failed():
    outcomes = [
        make_outcome(make_change("1"), Status.UNKNOWN, failure=StripeFailure(type="connection", message="reset")),
        make_outcome(make_change("2"), Status.SKIPPED, reason="customers/1 was not written", request_id=None),
    ]
    text = render(make_report(outcomes, [make_counts(rows=2)], status=RunStatus.PARTIAL))

    assert "! customers -> customer                       2 rows   1 unresolved, 1 skipped\n" in text
    assert (
        "unresolved[connection]: 1 row of `customers`\n  Stripe didn't answer, so the change may have been made."
        in text
    )
    assert "  the connection: reset\n" in text
    assert "skipped: 1 row of `customers`" in text
    assert "another row has to be written first: customers/1 was not written." in text
    assert "`dbt-stripe-sync retry` sends what was skipped or is unresolved" in text


def test_rows_rejected_before_they_were_sent_are_reported_too():
    report = make_report([], [make_counts(rows=2, rejected=2)], [row_problem("1"), row_problem("2")], RunStatus.PARTIAL)
    text = render(report)

    assert "2 rejected" in text
    assert "  in 2 rows: 1, 2\n" in text


def test_changes_left_open_by_an_earlier_run_are_reported_even_without_their_sync():
    text = render(make_report([make_outcome(make_change("1", sync="old"))], [make_counts(rows=1, same=1)]))

    assert "? old: of an earlier run, 1 written" in text


def test_a_held_sync_says_why():
    text = render(make_report([], [make_counts(held="model `x` failed in dbt")], status=RunStatus.PARTIAL))

    assert "held back\n" in text
    assert "`customers` is held back: model `x` failed in dbt" in text


def test_causes_beyond_the_first_ones_are_only_counted():
    outcomes = [
        make_outcome(make_change(str(n)), Status.REJECTED, failure=email_failure(code=f"c{n}", message=None))
        for n in range(30)
    ]
    assert "… and 20 more causes" in render(make_report(outcomes, [make_counts(rows=30)]))


TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)


@given(key=TEXTS, message=TEXTS, reason=TEXTS, width=st.integers(40, 160), color=st.booleans())
def test_no_text_from_stripe_or_a_row_can_move_the_cursor(key, message, reason, width, color):
    outcomes = [
        make_outcome(make_change(key), Status.REJECTED, failure=email_failure(message=message, code=message or None)),
        make_outcome(make_change(key), Status.SKIPPED, reason=reason),
    ]
    report = make_report(outcomes, [make_counts(rows=1, notes=(Note(text=reason),))], status=RunStatus.PARTIAL)

    for line in render_run(report, width=width, color=color):
        bare = line
        for code in ("1", "2", "31", "32", "33", "35", "36", "0"):
            bare = bare.replace(f"\x1b[{code}m", "")
        assert cell_len(bare) <= width
        assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in bare)
