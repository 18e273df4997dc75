"""Converts values to JSON for reports: without secrets, references by name, times in UTC."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.change import Fingerprint, NotStored, Ref
from dbt_stripe_sync.model.nested import map_leaves
from dbt_stripe_sync.report.redact import NOT_KEPT, hide_secrets, hide_values

if TYPE_CHECKING:
    from datetime import datetime

    from dbt_stripe_sync.model.calls import StripeFailure
    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.plan import PlanHeader

# JSON parsers read integers of up to 64 bits; a longer one is written as text.
_LARGEST = 2**63 - 1
_LOCATION = ("file", "model", "sync", "field", "key")


def json_time(moment: datetime | None) -> str | None:
    """A time as dbt writes it: `2026-11-24T02:44:53.123456Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def json_header(header: PlanHeader) -> dict[str, Any]:
    """What a plan was made for."""
    return {
        "plan_id": header.plan_id,
        "created_at": json_time(header.created_at),
        "project": header.project,
        "target": header.target,
        "account": header.account,
        "livemode": header.livemode,
        "api_version": header.api_version,
        "version": header.version,
    }


def json_problem(problem: Problem) -> dict[str, Any]:
    """What is wrong, where, and how to fix it."""
    where = {name: value for name in _LOCATION if (value := getattr(problem.where, name)) is not None}
    return {
        "code": problem.code,
        "severity": problem.severity.value,
        "summary": problem.summary,
        "where": where,
        "hint": problem.hint,
    }


def json_failure(failure: StripeFailure | None, change: Change, *, with_values: bool) -> dict[str, Any] | None:
    """Stripe's error. Row values in its message are hidden, unless `with_values`."""
    if failure is None:
        return None
    return {
        "type": failure.type,
        "status": failure.status,
        "code": failure.code,
        "param": failure.param,
        "decline_code": failure.decline_code,
        "message": message_of(failure, change, with_values=with_values),
        "doc_url": failure.doc_url,
    }


def message_of(failure: StripeFailure, change: Change, *, with_values: bool) -> str | None:
    """Stripe's message without secrets and, unless `with_values`, without row values."""
    if failure.message is None:
        return None
    if with_values or failure.is_ours:
        return str(json_params(failure.message))
    return str(json_params(hide_values(failure.message, [change.desired, *(call.params for call in change.calls)])))


def json_field(path: str, value: Any) -> Any:
    """The value of the parameter at a dotted path, as JSON."""
    parent, name = ["", "", *path.split(".")][-2:]
    return json_params({name: value}, parent)[name]


def json_params(value: Any, parent: str = "") -> Any:
    """Parameters as JSON values, with secrets hidden.

    `Ref` becomes `{"$ref": [sync, key]}`, and types that JSON lacks become text.
    """
    return map_leaves(hide_secrets(value, parent), _json, str)


def _json(value: Any) -> Any:
    if isinstance(value, Ref):
        return {"$ref": [value.sync, value.key]}
    if isinstance(value, Fingerprint | NotStored):
        return NOT_KEPT
    if isinstance(value, bool | float) or value is None or (isinstance(value, int) and abs(value) <= _LARGEST):
        return value
    # A text that is not valid Unicode (half of a surrogate pair) has no JSON.
    return str(value).encode(errors="replace").decode()
