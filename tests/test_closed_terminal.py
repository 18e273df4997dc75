"""Closing the terminal ends a run as Ctrl-C does: calls in flight are finished and recorded."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from business import ROOT

from dbt_stripe_sync.engine.apply.turns import MAX_IN_FLIGHT
from dbt_stripe_sync.sandbox import Fault

# More than may be between their intent and their outcome, so that something is left when a run has to end.
ROWS = MAX_IN_FLIGHT + 20


@pytest.fixture
def slow(business):
    business.table("people", f"SELECT i AS id, 'n' || i AS name FROM range({ROWS}) AS t(i)")
    business.sync("people", resource="customer", key="id", fields={"name": "name"})
    business.set(concurrency=1)
    business.stripe.inject(Fault.latency(0.1, method="POST", count=None))
    return business


def start(business, **streams):
    root = str(business.root)
    options = ["--project-dir", root, "--profiles-dir", root, "--stripe-url", business.stripe.url]
    # What is started with `nohup`, as the tests may be, doesn't hear of a terminal that is closed.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "dbt_stripe_sync", "run", *options], cwd=ROOT, start_new_session=True, **streams
        )
    finally:
        signal.signal(signal.SIGHUP, before)


def wait_for_writes(business, process, number):
    until = time.monotonic() + 120
    while len(business.stripe.writes()) < number:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)


def check_that_it_stopped_cleanly(business, process):
    assert process.wait(timeout=120) not in {-signal.SIGHUP, -signal.SIGKILL}
    business.stripe.clear_faults()
    made = business.stripe.count("customer")
    assert made > 0
    again = business.cli()
    assert again.exit_code == 0, again.text
    assert "unresolved" not in again.text
    assert business.stripe.count("customer") == ROWS
    assert len(business.stripe.writes()) == ROWS, "something was sent twice"


def test_a_second_sighup_is_ignored(slow):
    process = start(slow, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for_writes(slow, process, 3)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 1, told
    check_that_it_stopped_cleanly(slow, process)


def test_closing_the_terminal_loses_nothing(slow):
    ours, theirs = pty.openpty()
    process = start(slow, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    wait_for_writes(slow, process, 3)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    check_that_it_stopped_cleanly(slow, process)
