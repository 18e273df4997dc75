"""Kills the real command line again and again, lets it end, and counts what Stripe and the state then hold."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from business import ROOT, Business
from crash_shop import GENERATIONS, KINDS, SYNCS, write_generation

from dbt_stripe_sync.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Sequence

DOOMED = Path(__file__).parent / "crash" / "doomed.py"
SECONDS_FOR_A_RUN = 120
RUN = ("run", "--yes")
# A Stripe that holds a request back for this long, before or after it has acted, so that the client dies meanwhile.
HELD_BACK = 1.0
SENT, ACTED, ANY_TIME = "before the effect", "after the effect", "at a random time"
POINTS = (
    "before the plan is written",
    "in the middle of the plan",
    "after the plan is written",
    "after a read was answered",
    "before the intent is durable",
    "in the middle of a commit",
    "after the intent is durable",
    "before the call leaves",
    SENT,
    ACTED,
    "after the answer",
    "before the outcome is durable",
    "after the outcome is durable",
)
# Those of a plan that is made already.
SENDING = POINTS[POINTS.index("before the intent is durable") :]
# Those of a state on an object store.
STORING = (
    "before an object is put",
    "after an object is put",
    "after a snapshot is uploaded",
    "before the head is moved",
    "before old objects are removed",
)
MAKING_THE_STATE = ("before the state is made", "before a format's step", "after a format's step")
CHANGING_THE_STATE = ("before the backup", "before a format's step", "after a format's step")
# These are reached even by a run that has nothing to send.
WITHOUT_A_CALL = ("before the plan is written", "after the plan is written")
# Which of such instants to die at. Most often it is the first: many calls are under way at once, a few commits carry
# them all, and a run that does not reach its instant ends normally.
NTH = (1, 1, 1, 1, 2, 5)
MOST_MILLISECONDS = 1500
# The lease, the entries of the log, a snapshot, the head: each of them is an object that is put.
NTH_OBJECT = (1, 2, 3, 4, 5, 6, 8, 11, 15, 20)
# A dead runner's lease has ended by then.
LEASE_SECONDS = 70.0
# Stripe keeps a key for 24 hours.
A_DAY_AND_AN_HOUR = 25 * 3600.0


class SandboxProcess:
    """A sandbox in a process of its own, steered over HTTP."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "dbt_stripe_sync.sandbox"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.url = self._process.stdout.readline().strip()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def control(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """One control request."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_sandbox{path}", data, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read())

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """Live objects of a resource."""
        return list(self.control(f"/objects/{kind}")["data"])

    def writes(self) -> list[dict[str, Any]]:
        """All that could have changed something."""
        return list(self.control("/requests?writes=1")["data"])


class Nursery:
    """Where the processes come from that run the command line and are killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, point: str, nth: int, arguments: list[str], environment: dict[str, str], output: Path) -> int:
        """Run the command line in a process forked from one that has imported it; its exit status."""
        if self._process is None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                [sys.executable, str(DOOMED)], stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=_environment()
            )
        wanted = {
            "point": point,
            "nth": nth,
            "arguments": arguments,
            "environment": environment,
            "output": str(output),
        }
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.communicate()


class ColdNursery(Nursery):
    """Starts each process as a person does, with a second of imports."""

    def run(self, point: str, nth: int, arguments: list[str], environment: dict[str, str], output: Path) -> int:
        """Run the command line in a process of its own; its exit status."""
        command = [sys.executable, str(DOOMED), point, str(nth), "--", *arguments]
        with output.open("w") as file:
            done = subprocess.run(
                command,
                env={**_environment(), **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=SECONDS_FOR_A_RUN,
                check=False,
            )
        return done.returncode


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


@dataclass
class Counts:
    """What a chain of kills came to, for the end of the test run."""

    kills: int = 0
    by_point: dict[str, int] = field(default_factory=dict)
    runs: int = 0
    objects: int = 0
    calls: int = 0
    records: int = 0
    duplicates: int = 0
    lost: int = 0
    unknown_to_stripe: int = 0


@dataclass
class Shop:
    """A project and a Stripe of its own, on which the command line is run and killed."""

    business: Business
    stripe: SandboxProcess
    nursery: Nursery
    scratch: Path
    counts: Counts = field(default_factory=Counts)
    syncs: tuple[str, ...] = tuple(SYNCS)
    next_format: bool = False
    passes_days: bool = False
    seconds_later: float = 0.0
    refuses: str = ""
    # Additional environment of the commands, and whether each second run begins on a new machine.
    environment: dict[str, str] = field(default_factory=dict)
    forgets: bool = False
    clock_ahead: float = 0.0

    @property
    def state(self) -> Path:
        """The file of the state, or the copy of one on an object store."""
        file = self.business.state
        return file.with_name("dev.remote.duckdb") if "state" in self.business.settings else file

    @classmethod
    def made_in(cls, folder: Path, stripe: SandboxProcess, nursery: Nursery) -> Shop:
        business = Business(root=folder / "shop", stripe=stripe)
        business.set(account_per_second=100_000, endpoint_per_second=100_000)
        scratch = folder / "scratch"
        scratch.mkdir()
        return cls(business, stripe, nursery, scratch)

    def run(self, point: str = "none", nth: int = 0, command: Sequence[str] = RUN) -> bool:
        """One run; whether it came to its end. One that was not killed and did not succeed fails the test."""
        self.stripe.control("/faults", "DELETE")
        if point == SENT:
            self._inject(Fault.latency(HELD_BACK, method="POST", skip=nth - 1))
        elif point == ACTED:
            self._inject(Fault.hang(HELD_BACK, method="POST", skip=nth - 1, after_effect=True))
        if self.refuses:
            self._inject(Fault.forbidden(path=self.refuses, method="POST", count=None))
            self._inject(Fault.forbidden(path=self.refuses, method="DELETE", count=None))
        root = str(self.business.root)
        arguments = [*command, "--project-dir", root, "--profiles-dir", root, "--stripe-url", self.stripe.url]
        environment = {
            "STRIPE_API_KEY": Sandbox.api_key,
            "TMPDIR": str(self.scratch),
            "CRASH_NEXT_FORMAT": "yes" if self.next_format else "",
            "CRASH_SECONDS_LATER": str(self.seconds_later + self.clock_ahead),
            **self.environment,
        }
        output = self.scratch.with_name("output.txt")
        status = self.nursery.run(point, nth, arguments, environment, output)
        self.counts.runs += 1
        if status == -signal.SIGKILL:
            self.counts.kills += 1
            self.counts.by_point[point] = self.counts.by_point.get(point, 0) + 1
            self.clock_ahead += LEASE_SECONDS if "state" in self.business.settings else 0
            if self.forgets and self.counts.kills % 2:
                shutil.rmtree(self.state.parent, ignore_errors=True)
            return False
        assert status == (1 if self.refuses else 0), output.read_text()
        return True

    def run_refused(self, path: str) -> None:
        """One run in which Stripe refuses every write to some objects: it ends, and leaves something undone."""
        self.refuses = path
        assert self.run()
        self.refuses = ""

    def pass_time(self, seconds: float) -> None:
        """Let Stripe's clock and that of the next runs be later."""
        self.seconds_later += seconds
        self.stripe.control("/clock", "POST", {"advance": seconds})

    def until_done(self) -> None:
        """Run it until it says that all is done."""
        self.stripe.control("/faults", "DELETE")
        assert self.run()

    def rows(self, generation: int) -> int:
        """How many rows all tables have in a generation."""
        return sum(len(SYNCS[name]["rows"][generation]) for name in self.syncs)

    def write(self, generation: int) -> None:
        """Let the tables hold what they hold in a generation."""
        write_generation(self.business, generation, self.syncs)

    def _inject(self, fault: Fault) -> None:
        self.stripe.control("/faults", "POST", fault.as_json())

    # ── what is there in the end ─────────────────────────────────────────────────────────────────────────────────

    def objects(self) -> dict[str, list[str]]:
        """Every live object of every kind, without what differs from one Stripe to the next."""
        return {kind: sorted(_plain(body) for body in self.stripe.objects(kind)) for kind in KINDS}

    def effects(self) -> Counter[str]:
        """How many times each kind of write has acted: once for each key, however often Stripe was asked."""
        acted = [line for line in self.stripe.writes() if line["status"] == 200]
        # Where the answer was cut off, the log has no status; the answer that was saved under the key came later.
        keys = {(line["idempotency_key"] or number): line for number, line in enumerate(acted)}
        return Counter(f"{line['method']} {_without_ids(line['path'])}" for line in keys.values())

    def records(self) -> list[tuple[Any, ...]]:
        """Every record of the state."""
        with duckdb.connect(str(self.state), read_only=True) as state:
            rows = state.execute("SELECT sync, key, resource, stripe_id, params, removed FROM records").fetchall()
            assert state.execute("SELECT count(*) FROM intents").fetchall() == [(0,)]
            assert state.execute("SELECT count(*) FROM owed").fetchall() == [(0,)]
        return sorted(rows)

    def check_like(self, control: Shop, *, refused: bool = False) -> None:
        """Whether all is as it would be had nothing ever been killed, and a further run has nothing to do.

        Where calls were `refused`, the plans after that were others, and so were their calls.
        """
        before = len(self.stripe.writes())
        self.until_done()
        assert len(self.stripe.writes()) == before
        self._count(control)
        counts = self.counts
        mine, theirs = self.objects(), control.objects()
        odd = [f"{kind}: {line}" for kind in KINDS for line in set(mine[kind]) ^ set(theirs[kind])]
        assert (counts.duplicates, counts.lost, counts.unknown_to_stripe) == (0, 0, 0), f"{counts}\n" + "\n".join(odd)
        assert [_record(row) for row in self.records()] == [_record(row) for row in control.records()]
        effects, expected = self.effects(), control.effects()
        # A key that Stripe has forgotten is not used again, so that an update may be sent twice, to the same effect.
        assert self.seconds_later or refused or effects == expected, (
            f"many: {effects - expected}, few: {expected - effects}"
        )
        assert list(self.scratch.rglob("*")) == []

    def _count(self, control: Shop) -> None:
        counts, records = self.counts, self.records()
        mine, theirs = self.objects(), control.objects()
        counts.objects = sum(map(len, mine.values()))
        counts.calls = len(self.stripe.writes())
        counts.records = len(records)
        for kind in KINDS:
            have, want = Counter(mine[kind]), Counter(theirs[kind])
            counts.duplicates += sum((have - want).values())
            counts.lost += sum((want - have).values())
        counts.lost += len({row[:2] for row in control.records()} - {row[:2] for row in records})
        ids = {str(body.get("id")) for kind in KINDS for body in self.stripe.objects(kind)}
        # A meter event has no id: the record names the row instead.
        named = [row[3] for row in records if row[2] != "billing.meter_event"]
        counts.unknown_to_stripe = len([name for name in named if name not in ids])


def kill_until(shop: Shop, kills: int, coin: random.Random, points: Sequence[str] = POINTS) -> None:
    """Kill it at chosen instants, one run after another, until it has ended or has died this often."""
    while shop.counts.kills < kills:
        point = coin.choice(points)
        nth = coin.choice(NTH_OBJECT if point in STORING[:2] else NTH)
        if point == ANY_TIME:
            nth = coin.randint(1, MOST_MILLISECONDS)
        if shop.run(point, nth):
            return
        if shop.passes_days and coin.random() < 1 / 2:
            shop.pass_time(A_DAY_AND_AN_HOUR)


def kill_all_along(shop: Shop, kills: int, *, seed: int, points: Sequence[str] = POINTS) -> None:
    """All generations, with kills spread over them."""
    coin = random.Random(seed)  # noqa: S311 - the same kills each time
    for number in range(GENERATIONS):
        shop.write(number)
        kill_until(shop, kills * (number + 1) // GENERATIONS, coin, points)
        if number < GENERATIONS - 1:
            shop.until_done()
    while shop.counts.kills < kills:
        shop.run(coin.choice(WITHOUT_A_CALL), 1)
    shop.until_done()


def kill_saved_plans(shop: Shop, points: Sequence[str]) -> None:
    """All generations, each one a saved plan whose `apply` dies again and again until the same file is done."""
    plan = shop.scratch.with_name("plan.jsonl")
    for number in range(GENERATIONS):
        shop.write(number)
        assert shop.run(command=("plan", "--out", str(plan)))
        for nth, point in enumerate(points, 1):
            # Each a bit further on: what is done by then grows.
            if shop.run(point, nth, ("apply", str(plan))):
                break
        assert shop.run(command=("apply", str(plan)))


def run_uninterrupted(shop: Shop) -> None:
    """All generations without a kill."""
    for number in range(GENERATIONS):
        shop.write(number)
        shop.until_done()


_ID = re.compile(r"\b[a-z]+(?:_[a-z]+)*_(?:test_)?[A-Za-z0-9]{8,}\b|\b[A-Za-z0-9]{8}\b")
_VOLATILE = {"created", "effective_at", "next_pending_invoice_item_invoice", "billing_cycle_anchor"}


def _plain(body: Any) -> str:
    return json.dumps(_simple(body), sort_keys=True)


def _simple(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _simple(item) for name, item in sorted(value.items()) if name not in _VOLATILE}
    if isinstance(value, list):
        return [_simple(item) for item in value]
    if isinstance(value, str):
        return _ID.sub("ID", value)
    # Times, in Unix seconds.
    return "TIME" if isinstance(value, int) and value > 1_000_000_000 else value


def _record(row: tuple[Any, ...]) -> tuple[Any, ...]:
    sync, key, resource, stripe_id, params, removed = row
    return sync, key, resource, bool(stripe_id), _ID.sub("ID", params), removed


def _without_ids(path: str) -> str:
    return _ID.sub("ID", path)
