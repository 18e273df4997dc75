"""Subscription schedules: phases that change a subscription when they start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, Family, refuse
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects import cycles, limits
from dbt_stripe_sync.sandbox.objects.phases import build_phase, build_phases
from dbt_stripe_sync.sandbox.objects.subscription_changes import (
    create_subscription,
    end_subscription,
    update_subscription,
)

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

_LIVE = frozenset({"not_started", "active"})
DEFAULT_DAYS_UNTIL_DUE = 30
_SET_SEPARATELY = (
    "customer",
    "from_subscription",
    "phases",
    "start_date",
    "default_settings",
    "billing_mode",
    "proration_behavior",
)
_TO_SUBSCRIPTION = ("collection_method", "default_payment_method", "description", "metadata", "discounts")


def _create(work: Work, request: ApiRequest) -> Body:
    body = core.new_body(FAMILY, work)
    source = request.get("from_subscription")
    if source:
        _adopt(work, body, source)
    else:
        _plan(work, body, request)
    work.add(FAMILY.kind, body)
    _put(work, body, request.params)
    if body["status"] == "not_started":
        _start_if_due(work, body)
    return body


def _adopt(work: Work, body: Body, source: str) -> None:
    """Build a single phase with the subscription's current settings."""
    held = core.reference(work, "subscription", source, "from_subscription")
    if held["schedule"] is not None:
        raise refuse(f"You cannot migrate a subscription that is already attached to a schedule: {held['schedule']}.")
    work.edit("subscription", source)["schedule"] = body["id"]
    items = cycles.items_of(work, source)
    start = min(item["current_period_start"] for item in items)
    end = max(item["current_period_end"] for item in items)
    given = [{"price": i["price"], **({"quantity": i["quantity"]} if "quantity" in i else {})} for i in items]
    phase = build_phase(work, {"items": given, "end_date": end}, start, held["currency"])
    body.update(customer=held["customer"], subscription=source, status="active", phases=[phase])
    body["billing_mode"] = held["billing_mode"]
    body["current_phase"] = {"start_date": start, "end_date": end}


def _plan(work: Work, body: Body, request: ApiRequest) -> None:
    customer = core.customer_of(work, request.params)
    body.update(customer=customer["id"], status="not_started", test_clock=customer["test_clock"])
    body["billing_mode"] = {"type": "flexible", **(request.get("billing_mode") or {})}
    start = request.get("start_date", "now")
    limits.check_subscription_count(work, customer["id"])
    body["phases"] = build_phases(work, request.params["phases"], work.now if start == "now" else int(start))
    limits.check_currency(work, customer["id"], body["phases"][0]["currency"])


def _put(work: Work, body: Body, params: dict[str, Any]) -> None:
    apply_params(body, params, leave=_SET_SEPARATELY)
    settings = params.get("default_settings")
    for phase in (settings or {}, *(params.get("phases") or [])):
        method = phase.get("default_payment_method")
        limits.check_payment_method(work, method, body["customer"], "default_payment_method")
    if settings:
        merged = {**body["default_settings"], **{k: v if v != "" else None for k, v in settings.items()}}
        merged["invoice_settings"] = {"issuer": {"type": "self"}, **(merged.get("invoice_settings") or {})}
        body["default_settings"] = merged


def _update(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    limits.check_frozen(FAMILY.kind, body, request.params)
    if request.get("phases"):
        _check_anchor(body, request.params["phases"])
        first = body["phases"][0]["start_date"] if body["phases"] else work.now
        body["phases"] = build_phases(work, request.params["phases"], first)
        if body["status"] == "active":
            _enter_phase(work, body)
    _put(work, body, request.params)
    if body["status"] == "not_started":
        _start_if_due(work, body)
    return body


def _check_anchor(body: Body, phases: list[Body]) -> None:
    """Past phases are fixed: a request's first phase must start when one of the schedule's phases started.

    SDK's description of `phases`: past phases can be omitted; tierrun/tier#297: the error for any other start. Raises
    `ApiError`.
    """
    starts = {phase["start_date"] for phase in body["phases"]}
    first = phases[0].get("start_date")
    # A guess: `schedule-anchors`.
    if body["status"] == "active" and first not in starts:
        raise refuse("You can not modify the start date of the current phase.", "phases[0][start_date]")


def _check_live(body: Body, verb: str) -> None:
    if body["status"] not in _LIVE:
        raise refuse(
            f"You cannot {verb} a subscription schedule that is currently in the `{body['status']}` status. It must be "
            "in the `not_started` or `active` status."
        )


def _start_if_due(work: Work, body: Body) -> None:
    if body["phases"][0]["start_date"] > work.now:
        return
    phase = body["phases"][0]
    subscription = create_subscription(work, {"customer": body["customer"], **_as_params(body, phase)})
    subscription["schedule"] = body["id"]
    body.update(status="active", subscription=subscription["id"])
    body["current_phase"] = {"start_date": phase["start_date"], "end_date": phase["end_date"]}


def _as_params(body: Body, phase: Body) -> dict[str, Any]:
    defaults = body["default_settings"]
    params: dict[str, Any] = {
        "items": [
            {
                **{key: item[key] for key in ("price", "quantity", "metadata") if key in item},
                "tax_rates": [rate["id"] for rate in item["tax_rates"]],
            }
            for item in phase["items"]
        ],
        "default_tax_rates": [rate["id"] for rate in phase["default_tax_rates"]],
        "currency": phase["currency"],
        "proration_behavior": phase["proration_behavior"],
    }
    for name in _TO_SUBSCRIPTION:
        value = phase.get(name) or defaults.get(name)
        if value:
            params[name] = value
    settings = phase.get("invoice_settings") or defaults.get("invoice_settings") or {}
    if params.get("collection_method") == "send_invoice":
        due = settings.get("days_until_due")
        params["days_until_due"] = DEFAULT_DAYS_UNTIL_DUE if due is None else due
    if phase["trial_end"] is not None:
        params["trial_end"] = phase["trial_end"]
    return params


def _enter_phase(work: Work, body: Body) -> None:
    """Apply the settings of the current phase to the subscription."""
    # A guess: `schedule-phases`.
    current = next((p for p in body["phases"] if p["start_date"] <= work.now < p["end_date"]), None)
    if current is None or not work.has("subscription", body["subscription"]):
        return
    body["current_phase"] = {"start_date": current["start_date"], "end_date": current["end_date"]}
    subscription = work.edit("subscription", body["subscription"])
    params = _as_params(body, current)
    by_price = {item["price"]: item["id"] for item in cycles.items_of(work, subscription["id"])}
    wanted = [
        {**item, "id": by_price.pop(item["price"])} if item["price"] in by_price else item for item in params["items"]
    ]
    params["items"] = [*wanted, *({"id": id_, "deleted": True} for id_ in by_price.values())]
    params.pop("currency")
    update_subscription(work, subscription, params)


def _cancel(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    _check_live(body, "cancel")
    if body["subscription"] is not None and work.has("subscription", body["subscription"]):
        subscription = work.edit("subscription", body["subscription"])
        if subscription["status"] not in {"canceled", "incomplete_expired"}:
            end_subscription(work, subscription)
    body.update(status="canceled", canceled_at=work.now, current_phase=None)
    return body


def _release(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    _check_live(body, "release")
    _release_subscription(work, body)
    return body


def _release_subscription(work: Work, body: Body) -> None:
    if body["subscription"] is not None and work.has("subscription", body["subscription"]):
        work.edit("subscription", body["subscription"])["schedule"] = None
    body.update(
        status="released",
        released_at=work.now,
        released_subscription=body["subscription"],
        subscription=None,
        current_phase=None,
    )


def _tick(work: Work, body: Body) -> None:
    if body["status"] not in _LIVE:
        return
    held = work.edit(FAMILY.kind, body["id"])
    if held["status"] == "not_started":
        _start_if_due(work, held)
        return
    if held["phases"][-1]["end_date"] > work.now:
        _enter_phase(work, held)
    elif held["end_behavior"] == "cancel":
        if work.has("subscription", held["subscription"]):
            end_subscription(work, work.edit("subscription", held["subscription"]))
        held.update(status="completed", completed_at=work.now, current_phase=None)
    else:
        _release_subscription(work, held)


FAMILY = Family(
    kind="subscription_schedule",
    object="subscription_schedule",
    prefix="sub_sched",
    blank={
        "application": None,
        "billing_mode": None,
        "canceled_at": None,
        "completed_at": None,
        "current_phase": None,
        "customer": None,
        "default_settings": {
            "application_fee_percent": None,
            "billing_cycle_anchor": "automatic",
            "billing_thresholds": None,
            "collection_method": "charge_automatically",
            "default_payment_method": None,
            "description": None,
            "invoice_settings": {"issuer": {"type": "self"}},
            "on_behalf_of": None,
            "transfer_data": None,
        },
        "end_behavior": "release",
        "metadata": {},
        "released_at": None,
        "released_subscription": None,
        "status": "not_started",
        "subscription": None,
        "test_clock": None,
    },
    operations={"create": _create, "update": _update, "cancel": _cancel, "release": _release},
    filters={"scheduled": lambda _work, body, wanted: (body["status"] == "not_started") is wanted},
    test_clock_filters=("customer", "customer_account"),
    tick=_tick,
)
FAMILIES = (FAMILY,)
