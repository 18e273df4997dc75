"""The real command line, killed with SIGKILL at one instant of its life: `python doomed.py POINT NTH -- ARGUMENTS`.

`python doomed.py` alone reads such runs from standard input, one JSON object a line, and forks a process for each,
which spares it the second that imports take; it answers each with the process's exit status.

The production code has no hooks for this: here its parts are wrapped from outside before the command line starts. What
is killed is the whole process, so nothing of it can clean up. `none` kills nothing. For `at a random time`, NTH is in
milliseconds. With CRASH_NEXT_FORMAT in the environment it is a version of ours whose state has one more format, and
CRASH_SECONDS_LATER is by how much the machine's clock is ahead.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dbt_stripe_sync import warehouse_log
from dbt_stripe_sync.cli import main
from dbt_stripe_sync.engine.plan.plan_file import PlanWriter
from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.state import migrations, opening
from dbt_stripe_sync.state.remote import replica
from dbt_stripe_sync.state.remote.objects import Objects
from dbt_stripe_sync.state.remote.replica import Replica
from dbt_stripe_sync.state.session import Session
from dbt_stripe_sync.state.store import StateStore
from dbt_stripe_sync.stripe_api import gateway
from dbt_stripe_sync.stripe_api.catalog import read_catalog
from dbt_stripe_sync.warehouse.log_duckdb import DuckDBLog
from dbt_stripe_sync.warehouse.log_postgres import PostgresLog
from dbt_stripe_sync.warehouse.plain_writer import PlainWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

# Stands for the table that a later version will add, so that a real migration with its backup can be killed.
NEXT_STEP = "CREATE TABLE killed_here(id VARCHAR)"
# Seconds. The sandbox is on this machine: it has acted on a request by then, unless a fault holds it back.
ON_ITS_WAY = 0.25
PUT = "after an object is put"
LOGGING, LOGGED = "before a statement of the log", "after a statement of the log"
BEFORE_STEP, AFTER_STEP = "before a format's step", "after a format's step"


@dataclass
class Point:
    """Where to die: the `nth` time that the instant `name` is reached."""

    name: str
    nth: int

    def reached(self, name: str) -> None:
        """The process is at an instant; it ends here if it is the chosen one."""
        if name == self.name:
            self.nth -= 1
            if self.nth <= 0:
                die()


def die() -> None:
    """End as nothing can be prepared for."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def around(owner: object, name: str, before, after=lambda *_: None) -> None:
    """Run something before and after a method."""
    original = getattr(owner, name)

    def wrapped(*args, **kwargs):
        before(*args)
        result = original(*args, **kwargs)
        after(*args)
        return result

    setattr(owner, name, wrapped)


def watch_state(point: Point) -> None:
    """Intents, outcomes and records as they become durable."""
    busy = threading.local()

    def before(_store, intents, outcomes) -> None:
        busy.committing = True
        if intents:
            point.reached("before the intent is durable")
        if outcomes:
            point.reached("before the outcome is durable")

    def after(_store, intents, outcomes) -> None:
        busy.committing = False
        if intents:
            point.reached("after the intent is durable")
        if outcomes:
            point.reached("after the outcome is durable")

    def inside(*_args) -> None:
        if getattr(busy, "committing", False):
            point.reached("in the middle of a commit")

    around(StateStore, "commit", before, after)
    around(StateStore, "put_records", lambda *_: None, lambda *_: point.reached("after hashes were refreshed"))
    around(Session, "execute", inside)


def watch_calls(point: Point) -> None:
    """Writes on their way to Stripe and back."""
    original = gateway._request

    async def request(client, method, *args):
        if method == "get":
            reply = await original(client, method, *args)
            point.reached("after a read was answered")
            return reply
        point.reached("before the call leaves")
        call = asyncio.ensure_future(original(client, method, *args))
        if point.name in {"before the effect", "after the effect"}:
            point.nth -= 1
            if point.nth <= 0:
                await asyncio.sleep(ON_ITS_WAY)
                die()
        reply = await call
        point.reached("after the answer")
        return reply

    gateway._request = request


def watch_plan(point: Point) -> None:
    """The plan as it is written."""
    around(PlanWriter, "__init__", lambda *_: point.reached("before the plan is written"))
    around(PlanWriter, "add", lambda *_: point.reached("in the middle of the plan"))
    around(PlanWriter, "finish", lambda *_: None, lambda *_: point.reached("after the plan is written"))


def watch_migration(point: Point) -> None:
    """A state that is made, and one that is brought to a newer format."""
    migrate = opening.migrate
    steps = (*migrations.MIGRATIONS, NEXT_STEP) if os.environ.get("CRASH_NEXT_FORMAT") else migrations.MIGRATIONS
    opening.migrate = partial(migrate, steps=steps)
    around(opening, "_create", lambda *_: point.reached("before the state is made"))
    around(migrations, "_apply", lambda *_: point.reached(BEFORE_STEP), lambda *_: point.reached(AFTER_STEP))
    around(migrations.shutil, "copy2", lambda *_: point.reached("before the backup"))


def watch_objects(point: Point) -> None:
    """A state on an object store: what is put there, and what is removed."""

    def put(*_args) -> None:
        point.reached(PUT)

    for name in ("create", "replace"):
        around(Objects, name, lambda *_: point.reached("before an object is put"), put)
    around(Objects, "upload", lambda *_: None, lambda *_: point.reached("after a snapshot is uploaded"))
    around(Objects, "remove", lambda *_: point.reached("before old objects are removed"))
    around(Replica, "_put_head", lambda *_: point.reached("before the head is moved"))


def watch_log(point: Point) -> None:
    """What is written to the warehouse, the log and the hashes: each statement of it, and each commit."""
    for kind in (DuckDBLog, PostgresLog, PlainWriter):
        for name in {"execute", "read", "stage", "commit", "_rows"} & vars(kind).keys():
            around(kind, name, lambda *_: point.reached(LOGGING), lambda *_: point.reached(LOGGED))
    if most := os.environ.get("CRASH_LOG_RUNS_AT_ONCE"):
        warehouse_log.RUNS_AT_ONCE = int(most)


def set_clock(_point: Point) -> None:
    """Let time have passed since the last run."""
    later = timedelta(seconds=float(os.environ.get("CRASH_SECONDS_LATER") or 0))
    now = SystemClock.now
    SystemClock.now = lambda self: now(self) + later


def fold_often(_point: Point) -> None:
    """Let a snapshot of a state on an object store be taken after a few entries, and during a run."""
    if os.environ.get("CRASH_FOLDS_OFTEN"):
        replica.ENTRIES_PER_SNAPSHOT, replica.SHARE_OF_SNAPSHOT = 5, 0.0


def watch_time(point: Point) -> None:
    """Any instant: a thread that waits and kills."""
    if point.name == "at a random time":
        milliseconds = point.nth
        threading.Thread(target=lambda: (time.sleep(milliseconds / 1000), die()), daemon=True).start()


def run(point: Point, arguments: Sequence[str]) -> None:
    """Be the command line until the point is reached."""
    for watch in (
        watch_state,
        watch_calls,
        watch_plan,
        watch_migration,
        watch_objects,
        watch_log,
        watch_time,
        set_clock,
        fold_often,
    ):
        watch(point)
    main(list(arguments))


def serve() -> None:
    """Fork a process for each line of standard input, and answer with its exit status."""
    import_all()
    for line in sys.stdin:
        wanted = json.loads(line)
        child = os.fork()
        if child == 0:
            with Path(wanted["output"]).open("w") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                os.environ.update(wanted["environment"])
                run(Point(wanted["point"], wanted["nth"]), wanted["arguments"])
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def import_all() -> None:
    """Import all that a run imports, so that no forked process has to; nothing of it starts a thread."""
    for name in (
        "api",
        "cli.sync",
        "cli.log",
        "warehouse.duckdb",
        "stripe_api.gateway",
        "stripe_api.lifecycles",
        "report.html",
    ):
        import_module(f"dbt_stripe_sync.{name}")
    for resource in read_catalog().resources.values():
        assert resource.params is not None
    assert threading.active_count() == 1


if __name__ == "__main__":
    if len(sys.argv) == 1:
        serve()
    else:
        run(Point(sys.argv[1], int(sys.argv[2])), sys.argv[4:])
