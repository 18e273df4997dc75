"""Usage: meters, the events that they count, and the credits that pay for it."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, ExtraRoute, Family, refuse
from dbt_stripe_sync.sandbox.listing import in_list
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects.periods import DAY
from dbt_stripe_sync.stripe_api.catalog import EVENT_SUMMARY as EVENT_SUMMARIES
from dbt_stripe_sync.stripe_api.rules.numbers import VALUE_DIGITS

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

# Within this time, Stripe rejects a second event with the same identifier.
UNIQUE_SECONDS = DAY
DEFAULT_PRIORITY = 50
MINUTE = 60


def _create_meter(work: Work, request: ApiRequest) -> Body:
    name = request.params["event_name"]
    if any(meter["status"] == "active" for meter in work.find(METER.kind, {"event_name": name})):
        raise refuse(f"An active meter already exists with event_name {name}.", "event_name", "resource_already_exists")
    body = core.new_body(METER, work)
    apply_params(body, request.params)
    body["updated"] = work.now
    return work.add(METER.kind, body)


def _update_meter(work: Work, request: ApiRequest) -> Body:
    body = work.edit(METER.kind, request.id)
    apply_params(body, request.params)
    body["updated"] = work.now
    return body


def _deactivate(work: Work, request: ApiRequest) -> Body:
    body = work.edit(METER.kind, request.id)
    if body["status"] != "active":
        raise refuse("This meter is already inactive.")
    body.update(status="inactive", updated=work.now, status_transitions={"deactivated_at": work.now})
    return body


def _reactivate(work: Work, request: ApiRequest) -> Body:
    body = work.edit(METER.kind, request.id)
    if body["status"] != "inactive":
        raise refuse("This meter is already active.")
    if any(meter["status"] == "active" for meter in work.find(METER.kind, {"event_name": body["event_name"]})):
        raise refuse("Another active meter has the same event_name.", None, "resource_already_exists")
    body.update(status="active", updated=work.now, status_transitions={"deactivated_at": None})
    return body


def _create_event(work: Work, request: ApiRequest) -> Body:
    return count_event(work, {**request.params, "timestamp": int(request.get("timestamp", work.now))})


def count_event(work: Work, params: dict[str, Any]) -> Body:
    """Count an event, whose time is in Unix seconds. Raises `ApiError` for an invalid event."""
    name = params["event_name"]
    meter = next((m for m in work.find(METER.kind, {"event_name": name}) if m["status"] == "active"), None)
    if meter is None:
        raise refuse(f"No active meter found for event_name {name}.", "event_name", "no_meter")
    moment = params["timestamp"]
    # A guess: `event-customers`.
    _check_payload(meter, params["payload"])
    body = core.new_body(METER_EVENT, work)
    identifier = params.get("identifier") or body["id"]
    before = _newest_event(work, identifier)
    if before is not None and before["created"] > work.now - UNIQUE_SECONDS:
        raise refuse(f"An event already exists with identifier {identifier}.", "identifier", "resource_already_exists")
    body.update(event_name=name, identifier=identifier, payload=params["payload"], timestamp=moment)
    # Each event has an id of its own, so an event that is sent again after its identifier has expired counts again.
    return work.add(METER_EVENT.kind, body)


def _summaries(work: Work, request: ApiRequest) -> Body:
    """Return what a meter has counted for a customer (docs.stripe.com/api/billing/meter-event-summary/list)."""
    meter = work.get(METER.kind, request.id)
    start, end = int(request.params["start_time"]), int(request.params["end_time"])
    for name, moment in (("start_time", start), ("end_time", end)):
        if moment % MINUTE:
            raise refuse(f"{name} must be aligned with minute boundaries.", name)
    customer, key = request.params["customer"], meter["customer_mapping"]["event_payload_key"]
    events = [
        event
        for event in work.find(METER_EVENT.kind, {"event_name": meter["event_name"]})
        if event["payload"].get(key) == customer and start <= event["timestamp"] < end
    ]
    shown = core.new_body(EVENT_SUMMARY, work)
    del shown["created"]
    shown.update(aggregated_value=_aggregated(meter, events), end_time=end, meter=meter["id"], start_time=start)
    return in_list([shown] if events else [], f"/v1/billing/meters/{meter['id']}/event_summaries")


def _aggregated(meter: Body, events: list[Body]) -> float:
    formula, key = meter["default_aggregation"]["formula"], meter["value_settings"]["event_payload_key"]
    if formula == "count":
        return len(events)
    values = [Decimal(event["payload"][key]) for event in sorted(events, key=lambda event: event["timestamp"])]
    total = values[-1] if formula == "last" and values else sum(values)
    return float(total)


def _newest_event(work: Work, identifier: str) -> Body | None:
    return next(iter(work.find(METER_EVENT.kind, {"identifier": identifier})), None)


def _check_payload(meter: Body, payload: dict[str, str]) -> None:
    customer_key = meter["customer_mapping"]["event_payload_key"]
    if not payload.get(customer_key):
        raise refuse(f"The payload must contain `{customer_key}`.", "payload", "meter_event_no_customer_defined")
    value_key = meter["value_settings"]["event_payload_key"]
    if meter["default_aggregation"]["formula"] == "count" and value_key not in payload:
        return
    try:
        value = Decimal(payload.get(value_key, ""))
    except InvalidOperation:
        value = Decimal("nan")
    if not value.is_finite():
        raise refuse(f"The payload's `{value_key}` must be a number.", "payload", "meter_event_invalid_value")
    # A guess: `event-digits`.
    if len("".join(map(str, value.as_tuple().digits)).strip("0")) > VALUE_DIGITS:
        raise refuse(
            f"The value in the event payload can have at most {VALUE_DIGITS} digits. Received {value}.",
            "payload",
            "meter_event_value_too_many_digits",
        )


def _render_event(_work: Work, body: Body) -> Body:
    return {key: value for key, value in body.items() if key != "id"}


def _create_grant(work: Work, request: ApiRequest) -> Body:
    params = request.params
    customer = core.customer_of(work, params)
    monetary = params["amount"]["monetary"]
    body = core.new_body(CREDIT_GRANT, work)
    apply_params(body, params)
    body["amount"] = {"monetary": {**monetary, "currency": monetary["currency"].lower()}, "type": "monetary"}
    body.update(test_clock=customer["test_clock"], updated=work.now)
    if body["effective_at"] is None:
        body["effective_at"] = work.now
    return work.add(CREDIT_GRANT.kind, body)


def _update_grant(work: Work, request: ApiRequest) -> Body:
    body = work.edit(CREDIT_GRANT.kind, request.id)
    if body["voided_at"] is not None and "expires_at" in request.params:
        raise refuse("A voided credit grant can't be updated.", "expires_at")
    apply_params(body, request.params)
    body["updated"] = work.now
    return body


def _expire_grant(work: Work, request: ApiRequest) -> Body:
    body = work.edit(CREDIT_GRANT.kind, request.id)
    if body["voided_at"] is not None or (body["expires_at"] is not None and body["expires_at"] <= work.now):
        raise refuse("This credit grant is already expired or voided.")
    body.update(expires_at=work.now, updated=work.now)
    return body


def _void_grant(work: Work, request: ApiRequest) -> Body:
    body = work.edit(CREDIT_GRANT.kind, request.id)
    if body["voided_at"] is not None:
        raise refuse("This credit grant is already voided.")
    body.update(voided_at=work.now, updated=work.now)
    return body


def _adjust(work: Work, request: ApiRequest) -> Body:
    identifier = str((request.get("cancel") or {}).get("identifier", ""))
    event = _newest_event(work, identifier)
    if event is None or event["event_name"] != request.params["event_name"]:
        raise refuse(f"No event found with identifier {identifier}.", "cancel[identifier]", "resource_missing")
    if event["created"] <= work.now - UNIQUE_SECONDS:
        raise refuse("Events can only be canceled within 24 hours.", "cancel[identifier]")
    work.remove(METER_EVENT.kind, event["id"])
    shown: dict[str, Any] = {"object": ADJUSTMENT.object, "cancel": {"identifier": identifier}}
    shown.update(event_name=event["event_name"], livemode=work.livemode, status="pending", type=request.params["type"])
    return shown


METER = Family(
    kind="billing.meter",
    object="billing.meter",
    prefix="mtr",
    blank={
        "customer_mapping": {"event_payload_key": "stripe_customer_id", "type": "by_id"},
        "default_aggregation": None,
        "display_name": None,
        "event_name": None,
        "event_time_window": None,
        "status_transitions": {"deactivated_at": None},
        "value_settings": {"event_payload_key": "value"},
    },
    operations={
        "create": _create_meter,
        "update": _update_meter,
        "deactivate": _deactivate,
        "reactivate": _reactivate,
    },
    routes=(
        ExtraRoute(
            name="list_event_summaries",
            method="get",
            path="/v1/billing/meters/{id}/event_summaries",
            handler=_summaries,
            params={
                name: param
                for name, param in EVENT_SUMMARIES.operations["list"].params.items()
                if name not in EVENT_SUMMARIES.operations["list"].path_params
            },
        ),
    ),
)
EVENT_SUMMARY = Family(
    kind="billing.meter_event_summary",
    object="billing.meter_event_summary",
    prefix="mtrsum",
    blank={"aggregated_value": 0.0, "end_time": 0, "meter": "", "start_time": 0, "created": None},
)
METER_EVENT = Family(
    kind="billing.meter_event",
    object="billing.meter_event",
    prefix="evt",
    blank={"event_name": None, "identifier": None},
    operations={"create": _create_event},
    render=_render_event,
)
ADJUSTMENT = Family(
    kind="billing.meter_event_adjustment",
    object="billing.meter_event_adjustment",
    prefix="mea",
    operations={"create": _adjust},
)
CREDIT_GRANT = Family(
    kind="billing.credit_grant",
    object="billing.credit_grant",
    prefix="credgr",
    blank={
        "amount": None,
        "applicability_config": None,
        "customer": None,
        "effective_at": None,
        "expires_at": None,
        "name": None,
        "priority": DEFAULT_PRIORITY,
        "test_clock": None,
        "voided_at": None,
    },
    operations={
        "create": _create_grant,
        "update": _update_grant,
        "expire": _expire_grant,
        "void_grant": _void_grant,
    },
)
FAMILIES = (METER, METER_EVENT, ADJUSTMENT, CREDIT_GRANT)
