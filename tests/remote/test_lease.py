"""Two runners on one state: one writes, the other waits or fails, and one that lost it stops before its next call."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from business import ROOT

from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.model.errors import StateError
from dbt_stripe_sync.sandbox import Fault, Sandbox
from dbt_stripe_sync.state.access import open_state
from dbt_stripe_sync.state.place import RemotePlace, StatePlace
from dbt_stripe_sync.state.remote import replica

ROWS = 120
DOOMED = Path(__file__).parent.parent / "crash" / "doomed.py"


class LateClock(SystemClock):
    """A clock that is ahead."""

    def __init__(self, seconds):
        self.seconds = seconds

    def now(self):
        return super().now() + timedelta(seconds=self.seconds)


def other_machine(shop, tmp_path, *, ahead=0.0, name="other", **options):
    """The state, opened by somebody else's machine."""
    place = StatePlace(
        path=tmp_path / name / "dev.remote.duckdb", remote=RemotePlace(url=shop.settings["state"], target="dev")
    )
    return open_state(place, identity=None, clock=LateClock(ahead), **options)


def many(shop, rows=ROWS):
    shop.rows("customers", *[(i, f"{i}@example.com") for i in range(rows)], columns="id int, email text")


def runner(shop, copy, *arguments, **environment):
    """The command line in a process of its own, with a disk of its own."""
    shop.set(state_path=str(copy))
    options = ["--project-dir", str(shop.root), "--profiles-dir", str(shop.root), "--stripe-url", shop.stripe.url]
    command = [sys.executable, str(DOOMED), "none", "0", "--", "run", "--yes", *options, *arguments]
    environment = {**os.environ, "STRIPE_API_KEY": Sandbox.api_key, "PYTHONPATH": str(ROOT), **environment}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_holder_of_the_lease_is_reported_with_its_start_time(shop, tmp_path):
    with other_machine(shop, tmp_path) as theirs:
        theirs.start_run("20260101T000000-abcdef", command="run", target="dev")
        ran = shop.cli()

    assert ran.exit_code == 2
    assert "error[state-leased]" in ran.text
    assert f"process {os.getpid()} of" in ran.text
    assert "for the run 20260101T000000-abcdef, since 20" in ran.text
    assert shop.cli().exit_code == 0


def test_a_run_waits_for_the_lease_as_long_as_the_option_says(shop, tmp_path):
    released = threading.Event()

    def hold():
        with other_machine(shop, tmp_path):
            released.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    until((tmp_path / "other" / "dev.remote.duckdb").exists)
    threading.Timer(2, released.set).start()
    ran = shop.cli("run", "--wait-for-lock", "60")
    holder.join()

    assert ran.exit_code == 0, ran.text


def test_two_racing_runners_create_each_object_once(shop, stripe, tmp_path):
    many(shop, 60)
    runners = [runner(shop, tmp_path / f"m{n}" / "dev.duckdb", "--wait-for-lock", "200") for n in range(2)]
    said = [process.communicate()[0] for process in runners]

    assert [process.returncode for process in runners] == [0, 0], said
    assert stripe.count("customer") == 60
    assert len(shop.write_calls()) == 60


def test_a_dead_runners_lease_is_taken_over_only_after_it_has_ended(shop, tmp_path, objects):
    shop.cli()
    lease = json.loads(bytes(objects.get("lease.json").bytes()))
    objects.put("lease.json", json.dumps(lease | {"released": False}).encode())

    with pytest.raises(StateError) as refused, other_machine(shop, tmp_path, must_exist=True):
        pass
    assert refused.value.problems[0].code == "state-leased"
    with other_machine(shop, tmp_path, ahead=70, must_exist=True) as state:
        assert state.summary() == [("customers", "customer", 2)]


def test_a_runner_that_lost_the_lease_stops_before_its_next_call(shop, stripe, tmp_path):
    """The winner knows every call of the loser: none leaves whose intent it has not read."""
    many(shop)
    stripe.inject(Fault.latency(15.0, method="POST", path="^/v1/customers", count=None))
    known: set[str] = set()

    def take_over():
        until(lambda: len(stripe.writes()) > 0)
        with other_machine(shop, tmp_path, ahead=70) as theirs:
            known.update(key for intent in theirs.open_intents() for key in intent.keys)

    winner = threading.Thread(target=take_over)
    winner.start()
    ran = shop.cli()
    winner.join()
    stripe.clear_faults()

    assert ran.exit_code == 2, ran.text
    assert "error[state-lease-lost]" in ran.text
    sent = {line.idempotency_key for line in stripe.writes()}
    assert sent
    assert sent <= known
    assert len(sent) < ROWS
    # The next one settles what was under way, and does the rest.
    again = shop.cli("run", "--wait-for-lock", "100")
    assert again.exit_code == 0, again.text
    assert stripe.count("customer") == ROWS


def test_a_machine_that_slept_has_lost_its_lease(shop, stripe, tmp_path):
    """Stopped in the middle of its calls, it wakes up after another runner has done everything."""
    many(shop)
    stripe.inject(Fault.latency(0.3, method="POST", count=None))
    sleeper = runner(shop, tmp_path / "m1" / "dev.duckdb")
    until(lambda: len(stripe.writes()) > 20)
    os.kill(sleeper.pid, signal.SIGSTOP)
    other = runner(shop, tmp_path / "m2" / "dev.duckdb", CRASH_SECONDS_LATER="70")
    said = other.communicate()[0]
    assert other.returncode == 0, said
    assert stripe.count("customer") == ROWS
    os.kill(sleeper.pid, signal.SIGCONT)
    said = sleeper.communicate()[0]

    assert sleeper.returncode == 2, said
    assert "state-lease-lost" in said
    assert stripe.count("customer") == ROWS


@pytest.mark.slow
def test_runners_whose_clocks_differ_create_each_object_once(shop, stripe, tmp_path):
    """One is two minutes behind, one right, one two minutes ahead: that one takes a live run's lease for an old one."""
    many(shop, 60)
    stripe.inject(Fault.latency(0.2, method="POST", count=None))
    clocks = ("-120", "0", "120")
    runners = [
        runner(shop, tmp_path / f"m{n}" / "dev.duckdb", "--wait-for-lock", "150", CRASH_SECONDS_LATER=seconds)
        for n, seconds in enumerate(clocks)
    ]
    said = [process.communicate()[0] for process in runners]
    stripe.clear_faults()

    ended = [process.returncode for process in runners]
    assert ended.count(0) >= 1, said
    assert all(code == 0 or "state-lease" in text for code, text in zip(ended, said, strict=True)), said
    assert shop.cli("run", "--wait-for-lock", "200").exit_code == 0
    assert stripe.count("customer") == 60


def test_a_store_that_stops_answering_ends_the_run_before_the_lease_expires(shop, server, stripe, monkeypatch):
    if server.process is None:
        pytest.skip("a folder always answers")
    from dbt_stripe_sync.state.remote import objects

    monkeypatch.setattr(objects, "RETRY_SECONDS", 2)
    monkeypatch.setattr(objects, "REQUEST_SECONDS", 2)
    monkeypatch.setattr(objects, "ATTEMPTS", 1)
    monkeypatch.setattr(objects, "WRITE_SECONDS", 2)
    many(shop)
    stripe.inject(Fault.latency(0.5, method="POST", count=None))

    def freeze():
        until(lambda: len(stripe.writes()) > 0)
        server.pause()

    freezer = threading.Thread(target=freeze)
    freezer.start()
    try:
        ran = shop.cli()
    finally:
        freezer.join()
        server.resume()
    stripe.clear_faults()

    assert ran.exit_code == 2, ran.text
    assert "error[state-store-unreachable]" in ran.text
    assert stripe.count("customer") < ROWS
    again = shop.cli("run", "--wait-for-lock", "100")
    assert again.exit_code == 0, again.text
    assert stripe.count("customer") == ROWS


LOOKING = [
    ("plan",),
    ("state", "list"),
    ("state", "list", "customers"),
    ("state", "show", "customers", "1"),
    ("runs",),
    ("report", "--output", "text"),
]


def test_a_state_that_another_machine_holds_can_be_read(shop, tmp_path, objects):
    """Its run is under way, and has written since the last snapshot."""
    shop.cli()
    shutil.rmtree(shop.root / ".stripe_sync")
    with other_machine(shop, tmp_path) as held:
        held.start_run("20990101T000000-abc123", command="run", target="dev")
        held.forget("customers", ["2"])
        before = contents(objects)

        said = {command: shop.cli(*command) for command in LOOKING}

        assert {command: ran.exit_code for command, ran in said.items()} == dict.fromkeys(LOOKING, 0), said
        assert "A run holds the state: this plan is made from a copy of it" in said["plan",].text
        assert "20990101T000000-abc123" in said["runs",].out
        assert "running" in said["runs",].out
        assert [
            line.split()[0] for line in said["state", "list", "customers"].out.splitlines()[1:] if line.strip()
        ] == ["1"]
        assert contents(objects) == before
        assert not list((shop.root / ".stripe_sync").glob("*copy-*"))
        assert "error[state-leased]" in shop.cli("run").text
        assert "error[state-leased]" in shop.cli("state", "forget", "customers", "1").text


def test_a_state_whose_first_run_has_written_nothing_yet_cannot_be_read(shop, tmp_path):
    with other_machine(shop, tmp_path):
        ran = shop.cli("runs")

    assert (ran.exit_code, "error[state-leased]" in ran.text) == (2, True)


def test_a_snapshot_that_disappears_while_it_is_read_is_read_again(shop, tmp_path, monkeypatch):
    """The run that holds the state takes a snapshot of it during a run, again and again."""
    monkeypatch.setattr(replica, "ENTRIES_PER_SNAPSHOT", 1)
    monkeypatch.setattr(replica, "SHARE_OF_SNAPSHOT", 0.0)
    shop.cli()
    shutil.rmtree(shop.root / ".stripe_sync")
    with other_machine(shop, tmp_path) as held:
        ending = threading.Event()

        def write_on():
            number = 0
            while not ending.wait(0.2):
                number += 1
                held.start_run(f"20990101T{number:06}-abc123", command="run", target="dev")

        writing = threading.Thread(target=write_on)
        writing.start()
        try:
            seen = [shop.cli("state", "list") for _ in range(5)]
        finally:
            ending.set()
            writing.join()

    assert [ran.exit_code for ran in seen] == [0] * 5, [ran.text for ran in seen]


def contents(objects):
    return sorted((meta["path"], meta["e_tag"]) for batch in objects.list() for meta in batch)
