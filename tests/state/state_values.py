"""The state's values, as tests need them: whole, with only what matters named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dbt_stripe_sync.model.change import Action, Change, FieldChange, PlannedCall
from dbt_stripe_sync.model.plan import Note, PlanHeader, SyncCounts
from dbt_stripe_sync.model.record import Record
from dbt_stripe_sync.model.run import Intent, Outcome, RunReport, RunStatus, Status
from dbt_stripe_sync.state.store import StateIdentity

MINE = StateIdentity(project="shop", account="acct_1", livemode=False)


class StoppedClock:
    """Time that moves only when a test says so."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def change_of(key="1", sync="customers", action=Action.CREATE, **more):
    params = {"email": f"{key}@example.com", "metadata": {"tag": f"shop/{sync}/{key}"}}
    values = {
        "id": f"{sync}/{key}",
        "action": action,
        "sync": sync,
        "key": key,
        "resource": "customer",
        "stripe_id": None,
        "calls": (PlannedCall(operation="create", target=None, params=params),),
        "desired": params,
        "changed": (FieldChange(path="email", before=None, after=params["email"]),),
        "depends_on": (),
        "source_hash": 2**64 - 1,
        "refs": None,
    }
    return Change(**{**values, **more})


def intent_of(change, **more):
    return Intent(**{"id": f"intent-{change.id}", "run_id": "run-1", "change": change, "keys": ("key-1",), **more})


def record_of(key="1", sync="customers", **more):
    values = {
        "sync": sync,
        "key": key,
        "resource": "customer",
        "stripe_id": f"cus_{key}",
        "params": {"email": f"{key}@example.com", "metadata": {"b": "2", "a": "1"}},
        "payload_hash": "abc",
        "source_hash": 2**64 - 1,
        "refs": None,
    }
    return Record(**{**values, **more})


def outcome_of(change, status=Status.SUCCEEDED, record="made", **more):
    if record == "made":
        record = record_of(change.key, change.sync) if status is Status.SUCCEEDED else None
    values = {
        "intent_id": f"intent-{change.id}",
        "run_id": "run-1",
        "change": change,
        "status": status,
        "record": record,
        "stripe_id": f"cus_{change.key}",
        "request_id": "req_1",
        "attempts": 1,
    }
    return Outcome(**{**values, **more})


def report_of(clock, run_id="run-1", problems=(), **more):
    header = PlanHeader(
        plan_id="p",
        created_at=clock.now(),
        project="shop",
        target="dev",
        account="acct_1",
        livemode=False,
        api_version="2026-10-28.endive",
        state_id="s",
        state_serial=1,
        manifest_digest="m",
        version="0.1.0",
    )
    counts = SyncCounts(
        sync="customers",
        model="dim_customers",
        resource="customer",
        rows=3,
        by_action={"create": 1},
        notes=(Note(text="a note"),),
    )
    values = {
        "run_id": run_id,
        "header": header,
        "status": RunStatus.PARTIAL,
        "started_at": clock.now(),
        "finished_at": clock.now() + timedelta(seconds=5),
        "counts": (counts,),
        "problems": problems,
        "outcomes": (),
        "done": {"succeeded": 1, "rejected": 1},
        "requests": 7,
    }
    return RunReport(**{**values, **more})
