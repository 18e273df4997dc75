"""Plans and reports built by hand from the engine's types."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from dbt_stripe_sync.model.calls import StripeFailure
from dbt_stripe_sync.model.change import Action, Change, FieldChange, PlannedCall
from dbt_stripe_sync.model.errors import Location, Problem
from dbt_stripe_sync.model.plan import Plan, PlanHeader, SyncCounts
from dbt_stripe_sync.model.run import Outcome, RunReport, RunStatus, Status

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HEADER = PlanHeader(
    plan_id="p1",
    created_at=NOW,
    project="shop",
    target="dev",
    account="acct_1AbCdEfGhIjKlMn0",
    livemode=False,
    api_version="2026-10-28.endive",
    state_id="s1",
    state_serial=7,
    manifest_digest="d",
    version="0.1.0",
)


class ListedChanges(list[Change]):
    """`Changes` in memory. `walked` counts how many were read."""

    walked = 0

    def of(self, sync):
        for change in self:
            if change.sync == sync:
                self.walked += 1
                yield change


def make_change(key: str, action: Action = Action.UPDATE, **given: Any) -> Change:
    changed = given.pop("changed", {})
    sync = given.pop("sync", "customers")
    resource = given.pop("resource", "customer")
    is_new = action is Action.CREATE
    stripe_id = given.pop("stripe_id", None if is_new else f"cus_Nf3KAbCdEfGh{key}")
    after = {path: new for path, (_, new) in changed.items()}
    calls = given.pop(
        "calls",
        (
            PlannedCall(
                operation="create" if is_new else "update" if action is Action.UPDATE else action.value,
                target=stripe_id,
                params=given.pop("params", after),
            ),
        ),
    )
    return Change(
        id=f"{sync}/{key}",
        action=action,
        sync=sync,
        key=key,
        resource=resource,
        stripe_id=stripe_id,
        calls=calls,
        desired=given.pop("desired", after),
        changed=tuple(FieldChange(path=path, before=old, after=new) for path, (old, new) in changed.items()),
        depends_on=given.pop("depends_on", ()),
        source_hash=1,
        refs=None,
        **given,
    )


def row_problem(key: str | None, *, field: str = "metadata.note", **given: Any) -> Problem:
    return Problem(
        code=given.pop("code", "too-long"),
        summary=given.pop("summary", f"{field} has 612 characters, Stripe accepts 500"),
        where=Location(
            file="models/schema.yml",
            model="stripe_customers",
            sync=given.pop("sync", "customers"),
            field=f"meta.stripe_sync.fields.{field}",
            key=key,
        ),
        hint=given.pop("hint", "shorten it in the model"),
        **given,
    )


def make_counts(sync: str = "customers", **given: Any) -> SyncCounts:
    given.setdefault("model", f"stripe_{sync}")
    given.setdefault("resource", sync.removesuffix("s"))
    return SyncCounts(sync=sync, **given)


def make_plan(changes=(), counts=(), problems=(), **header: Any) -> Plan:
    return Plan(
        header=replace(HEADER, **header),
        changes=changes if hasattr(changes, "of") else ListedChanges(changes),
        counts=tuple(counts),
        problems=tuple(problems),
    )


def make_outcome(change: Change, status: Status = Status.SUCCEEDED, **given: Any) -> Outcome:
    if status is Status.REJECTED:
        given.setdefault("failure", email_failure())
    return Outcome(
        intent_id="i",
        run_id="r1",
        change=change,
        status=status,
        record=None,
        stripe_id=given.pop("stripe_id", change.stripe_id),
        request_id=given.pop("request_id", f"req_{change.key}"),
        attempts=given.pop("attempts", 1),
        finished_at=given.pop("finished_at", NOW + timedelta(seconds=1)),
        **given,
    )


def email_failure(**given: Any) -> StripeFailure:
    usual: dict[str, Any] = {
        "type": "invalid_request_error",
        "status": 400,
        "code": "email_invalid",
        "param": "email",
        "message": "Invalid email address: jo@@example",
    }
    return StripeFailure(**usual | given)


def make_report(outcomes=(), counts=(), problems=(), status=RunStatus.SUCCEEDED, **given: Any) -> RunReport:
    outcomes = list(outcomes)
    done: dict[str, int] = {}
    for outcome in outcomes:
        done[outcome.status.value] = done.get(outcome.status.value, 0) + 1
    return RunReport(
        run_id="20260301T120000-abc123",
        header=replace(HEADER, **given.pop("header", {})),
        status=status,
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=given.pop("seconds", 1.4)),
        counts=tuple(with_ends(one, outcomes) for one in counts),
        problems=tuple(problems),
        outcomes=outcomes,
        done=done,
        requests=given.pop("requests", len(outcomes)),
        **given,
    )


def with_ends(counts: SyncCounts, outcomes: list[Outcome]) -> SyncCounts:
    """Counts as a run leaves them: with what became of the rows."""
    ended: dict[str, int] = {}
    by_action: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.change.sync == counts.sync:
            ended[outcome.status.value] = ended.get(outcome.status.value, 0) + 1
            by_action[outcome.change.action.value] = by_action.get(outcome.change.action.value, 0) + 1
    return replace(counts, ended=ended, by_action=counts.by_action or by_action)
