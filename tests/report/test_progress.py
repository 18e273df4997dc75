"""The progress of a run, for a terminal, a log and a machine."""

from __future__ import annotations

import io
import json
from datetime import datetime

from made import make_change, make_counts, make_outcome

from dbt_stripe_sync.model.run import Status
from dbt_stripe_sync.report.progress import NoDisplay
from dbt_stripe_sync.report.progress_bar import Bars
from dbt_stripe_sync.report.progress_lines import JsonLines, PlainLines, open_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Hands:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self):
        return self.now


def follow(progress, *, clock=None, changes=100, rows=3):
    progress.begin_sync("customers")
    for _ in range(rows):
        progress.rows_read(1000)
        progress.rows_compared(40)
    progress.planned(make_counts(rows=3000, rejected=2, by_action={"update": changes}, read_seconds=1.0))
    progress.begin_apply(changes)
    for number in range(changes):
        if clock:
            clock.now += 0.5
        status = Status.REJECTED if number == 7 else Status.SUCCEEDED
        progress.on_outcome(make_outcome(make_change(str(number)), status))
    progress.end()
    progress.end()


def test_a_log_gets_a_line_every_ten_seconds():
    stream, clock = io.StringIO(), Hands()
    follow(PlainLines(stream, clock=clock), clock=clock)

    assert stream.getvalue().splitlines() == [
        "customers: 3,000 rows, 100 to change, 2 rejected (1.0 s)",
        "sending 100 changes",
        "20 of 100 changes, 2/s, 1 failure, about 40 seconds left",
        "40 of 100 changes, 2/s, 1 failure, about 30 seconds left",
        "60 of 100 changes, 2/s, 1 failure, about 20 seconds left",
        "80 of 100 changes, 2/s, 1 failure, about 10 seconds left",
        "100 of 100 changes, 2/s, 1 failure",
    ]


def test_a_program_gets_one_event_per_line_and_every_failure():
    stream, clock = io.StringIO(), Hands()
    follow(JsonLines(stream, clock=clock), clock=clock, changes=40)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert [event["event"] for event in events] == [
        "sync_started",
        "sync_planned",
        "apply_started",
        "change_failed",
        "apply_progress",
        "apply_progress",
        "ended",
    ]
    assert all(datetime.fromisoformat(event.pop("time")).tzinfo for event in events)
    assert events[3] == {
        "event": "change_failed",
        "level": "error",
        "elapsed": 4.0,
        "sync": "customers",
        "key": "7",
        "action": "update",
        "status": "rejected",
        "run_id": None,
        "code": "email_invalid",
        "request_id": "req_7",
    }
    assert events[-1]["done"] == 40


def test_a_long_table_reports_while_it_is_read_and_compared():
    said = {}
    for name, form in (("text", PlainLines), ("json", JsonLines)):
        stream, clock = io.StringIO(), Hands()
        progress = form(stream, clock=clock)
        progress.begin_sync("customers")
        for _ in range(25):
            clock.now += 1
            progress.rows_read(50_000)
        for _ in range(12):
            clock.now += 1
            progress.rows_compared(2_000)
        said[name] = stream.getvalue().splitlines()

    assert said["text"] == [
        "customers: 500,000 rows read",
        "customers: 1,000,000 rows read",
        "customers: 10,000 rows compared in full",
    ]
    events = [json.loads(line) for line in said["json"]][1:]
    assert [(event["event"], event["rows"]) for event in events] == [
        ("rows_read", 500_000),
        ("rows_read", 1_000_000),
        ("rows_compared", 10_000),
    ]


def test_many_failures_do_not_hide_the_progress():
    stream, clock = io.StringIO(), Hands()
    progress = JsonLines(stream, clock=clock)
    progress.begin_apply(60)
    for number in range(30):
        clock.now += 0.5
        progress.on_outcome(make_outcome(make_change(str(number)), Status.REJECTED))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]

    (told,) = [event for event in events if event["event"] == "apply_progress"]
    assert (told["done"], told["failed"], told["rate"], told["seconds_left"]) == (20, 20, 2.0, 20)


def test_a_terminal_gets_a_temporary_bar_and_a_permanent_line():
    stream = Terminal()
    with open_progress("text", stream) as progress:
        assert isinstance(progress, Bars)
        follow(progress)

    assert "customers" in stream.getvalue()
    assert "100 to change" in stream.getvalue()


def test_an_outcome_is_counted_even_before_anything_is_sent():
    for stream in (io.StringIO(), Terminal()):
        with open_progress("text", stream) as progress:
            progress.on_outcome(make_outcome(make_change("1")))
    lines = io.StringIO()
    with open_progress("json", lines) as progress:
        progress.on_outcome(make_outcome(make_change("1"), Status.REJECTED))

    failed, ended = map(json.loads, lines.getvalue().splitlines())
    assert (failed["event"], failed["key"]) == ("change_failed", "1")
    assert (ended["event"], ended["done"], ended["failed"]) == ("ended", 1, 1)


def test_a_closed_progress_stream_does_not_end_a_run():
    stream = io.StringIO()
    stream.close()
    follow(PlainLines(stream))
    follow(JsonLines(stream))


def test_progress_can_be_turned_off(capsys):
    with NoDisplay() as progress:
        follow(progress)

    assert capsys.readouterr() == ("", "")


def test_progress_never_shows_a_row_value():
    stream = io.StringIO()
    for progress in (PlainLines(stream), JsonLines(stream)):
        progress.begin_apply(1)
        progress.on_outcome(make_outcome(make_change("1", changed={"email": ("a@x.com", "b@x.com")}), Status.REJECTED))
        progress.end()

    assert "@" not in stream.getvalue()
