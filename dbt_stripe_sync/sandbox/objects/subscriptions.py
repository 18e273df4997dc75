"""Subscriptions: from creation through trials, periods and changes to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.errors import no_such
from dbt_stripe_sync.sandbox.family import Ask, Family, refuse
from dbt_stripe_sync.sandbox.listing import in_list, in_range, list_objects
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects import cycles
from dbt_stripe_sync.sandbox.objects.clocks import enter_time_of
from dbt_stripe_sync.sandbox.objects.discounts import apply_discounts
from dbt_stripe_sync.sandbox.objects.invoice_items import charge_of
from dbt_stripe_sync.sandbox.objects.invoicing import add_line, total_up
from dbt_stripe_sync.sandbox.objects.periods import DAY
from dbt_stripe_sync.sandbox.objects.rates import read_rates
from dbt_stripe_sync.sandbox.objects.subscription_items import price_for, put_items, render_item

if TYPE_CHECKING:
    from collections.abc import Callable

    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

ENDED = frozenset({"canceled", "incomplete_expired"})
# The first invoice has 23 hours to be paid (docs.stripe.com/billing/subscriptions/overview).
INCOMPLETE_SECONDS = 23 * 3600
_AFTER_END = frozenset({"metadata", "cancellation_details"})
_PUT_BY_HAND = (
    "items",
    "add_invoice_items",
    "billing_cycle_anchor",
    "billing_cycle_anchor_config",
    "billing_mode",
    "billing_schedules",
    "backdate_start_date",
    "cancel_at",
    "cancel_at_period_end",
    "cancellation_details",
    "currency",
    "customer",
    "customer_account",
    "default_tax_rates",
    "discounts",
    "invoice_settings",
    "automatic_tax",
    "off_session",
    "pause_collection",
    "payment_behavior",
    "payment_settings",
    "proration_behavior",
    "proration_date",
    "trial_end",
    "trial_period_days",
    "trial_from_plan",
    "trial_settings",
)
_MERGED = ("automatic_tax", "invoice_settings", "payment_settings", "cancellation_details")


def create_subscription(work: Work, params: dict[str, Any]) -> Body:
    """A subscription with its first invoice. Raises `ApiError`."""
    if not params.get("customer"):
        raise refuse("Missing required param: customer.", "customer", "parameter_missing")
    customer = core.reference(work, "customer", params["customer"], "customer")
    enter_time_of(work, customer)
    given = params.get("items")
    if not given:
        raise refuse("Missing required param: items.", "items", "parameter_missing")
    body = core.new_body(FAMILY, work)
    body.update(customer=customer["id"], test_clock=customer["test_clock"], status=None)
    body["start_date"] = int(params.get("backdate_start_date") or work.now)
    body["billing_mode"] = {"type": "flexible", **(params.get("billing_mode") or {})}
    first = price_for(work, given[0], "items[0]", params.get("currency"))
    if first is None:
        raise refuse("Missing required param: items[0][price].", "items[0][price]", "parameter_missing")
    body["currency"] = (params.get("currency") or first["currency"]).lower()
    body["billing_cycle_anchor"] = int(params.get("billing_cycle_anchor") or work.now)
    _start_trial(work, body, params, first)
    work.add(FAMILY.kind, body)
    put_items(work, body, [{**given[0], "price": first["id"]}, *given[1:]])
    _put(work, body, params)
    _check_collection(body)
    invoice = cycles.bill(work, body, "subscription_create")
    _add_extra_lines(work, body, invoice, params)
    cycles.collect_first(work, body, invoice, params.get("payment_behavior") or "allow_incomplete")
    return body


def _start_trial(work: Work, body: Body, params: dict[str, Any], price: Body) -> None:
    end = params.get("trial_end")
    days = params.get("trial_period_days")
    if end not in (None, "") and days not in (None, ""):
        raise refuse("You may only specify one of these parameters: trial_end, trial_period_days.", "trial_end")
    if params.get("trial_from_plan") and days in (None, ""):
        days = price["recurring"]["trial_period_days"]
    if days not in (None, "", 0):
        end = work.now + int(days) * DAY  # type: ignore[arg-type]
    if end in (None, "", "now"):
        return
    if int(end) <= work.now:  # type: ignore[arg-type]
        raise refuse("Invalid timestamp: must be an integer Unix timestamp in the future.", "trial_end")
    body["trial_start"], body["trial_end"] = work.now, int(end)  # type: ignore[arg-type]
    body["billing_cycle_anchor"] = int(end)  # type: ignore[arg-type]
    body["status"] = "trialing"


def _check_collection(body: Body) -> None:
    if body["collection_method"] == "send_invoice" and body["days_until_due"] is None:
        raise refuse(
            "You must provide `days_until_due` when `collection_method` is `send_invoice`.",
            "days_until_due",
            "parameter_missing",
        )
    if body["collection_method"] == "charge_automatically" and body["days_until_due"] is not None:
        raise refuse("You can only set `days_until_due` when `collection_method` is `send_invoice`.", "days_until_due")


def _add_extra_lines(work: Work, body: Body, invoice: Body, params: dict[str, Any]) -> None:
    for item in params.get("add_invoice_items") or []:
        given = {**item, "pricing": {"price": item["price"]}} if item.get("price") else item
        charge = charge_of(work, given, body["currency"])
        line = add_line(invoice, charge.pop("amount"))
        line.update({key: value for key, value in charge.items() if key in line})
        line["subtotal"] = line["amount"]
    if params.get("add_invoice_items"):
        total_up(work, invoice)


def _put(work: Work, body: Body, params: dict[str, Any]) -> None:
    apply_params(body, params, leave=_PUT_BY_HAND)
    for name in _MERGED:
        if name in params:
            body[name] = {**(body[name] or {}), **(params[name] or {})}
    if "trial_settings" in params:
        body["trial_settings"] = params["trial_settings"] or body["trial_settings"]
    if "default_tax_rates" in params:
        body["default_tax_rates"] = read_rates(work, params["default_tax_rates"], "default_tax_rates")
    if "discounts" in params:
        body["discounts"] = apply_discounts(
            work, params["discounts"], body["discounts"], customer=body["customer"], subscription=body["id"]
        )
    if "pause_collection" in params:
        paused = params["pause_collection"]
        body["pause_collection"] = {"resumes_at": None, **paused} if paused else None
    if body["collection_method"] == "charge_automatically" and "days_until_due" not in params:
        body["days_until_due"] = None
    _put_end(work, body, params)


def _put_end(work: Work, body: Body, params: dict[str, Any]) -> None:
    """`cancel_at` and `cancel_at_period_end` are two ways to say the same; one replaces the other."""
    at_period_end, at = params.get("cancel_at_period_end"), params.get("cancel_at")
    if at_period_end and at not in (None, ""):
        raise refuse("You may only specify one of these parameters: cancel_at, cancel_at_period_end.", "cancel_at")
    ends = [item["current_period_end"] for item in cycles.items_of(work, body["id"])]
    if at_period_end is not None and at_period_end != body["cancel_at_period_end"]:
        body["cancel_at_period_end"] = at_period_end
        body["cancel_at"] = max(ends) if at_period_end else None
        body["canceled_at"] = work.now if at_period_end else None
    if at == "":
        body.update(cancel_at=None, cancel_at_period_end=False, canceled_at=None)
    elif at is not None:
        named = {"max_period_end": max(ends), "min_period_end": min(ends)}
        body["cancel_at"] = named[at] if at in named else int(at)
        body["canceled_at"] = work.now
        body["cancel_at_period_end"] = False
    reason = "cancellation_requested" if body["canceled_at"] is not None else None
    body["cancellation_details"] = {**body["cancellation_details"], "reason": reason}


def _create(work: Work, ask: Ask) -> Body:
    return create_subscription(work, ask.params)


def _update(work: Work, ask: Ask) -> Body:
    body = work.edit(FAMILY.kind, ask.id)
    enter_time_of(work, work.get("customer", body["customer"]))
    if body["status"] in ENDED and set(ask.params) - _AFTER_END:
        raise refuse("A canceled subscription can only update its cancellation_details and metadata.", None)
    update_subscription(work, body, ask.params)
    return body


def update_subscription(work: Work, body: Body, params: dict[str, Any]) -> None:
    """Change a subscription that is being edited. Raises `ApiError`."""
    before = cycles.snapshot(work, body)
    _change_trial(work, body, params)
    if params.get("billing_cycle_anchor") == "now":
        body["billing_cycle_anchor"] = work.now
    if params.get("items"):
        intervals = _intervals(work, body)
        put_items(work, body, params["items"])
        if body["status"] == "active" and not intervals & _intervals(work, body):
            # Another interval starts a new cycle now (docs.stripe.com/billing/subscriptions/change-price).
            body["billing_cycle_anchor"] = work.now
    if body["status"] not in ENDED:
        _put(work, body, params)
        _check_collection(body)
    else:
        apply_params(body, {k: v for k, v in params.items() if k == "metadata"})
    _restart_or_prorate(work, body, before, params)


def _restart_or_prorate(work: Work, body: Body, before: dict[str, Body], params: dict[str, Any]) -> None:
    restarted = (
        body["billing_cycle_anchor"] == work.now and body["status"] == "active" and body["start_date"] < work.now
    )
    cycles.refresh_periods(work, body)
    if restarted and any(state["start"] != work.now for state in before.values()):
        unused = {"proration_behavior": params.get("proration_behavior"), "proration_date": work.now}
        cycles.credit_unused(work, body, before, unused)
        invoice = cycles.bill(work, body, "subscription_update")
        cycles.collect_later(work, body, invoice, at_once=True)
    elif params.get("items"):
        cycles.prorate(work, body, before, params)


def _intervals(work: Work, body: Body) -> set[tuple[str, int]]:
    prices = [work.get("price", item["price"])["recurring"] for item in cycles.items_of(work, body["id"])]
    return {(recurring["interval"], recurring["interval_count"]) for recurring in prices}


def _change_trial(work: Work, body: Body, params: dict[str, Any]) -> None:
    end = params.get("trial_end")
    if end in (None, ""):
        return
    if end == "now":
        if body["status"] == "trialing":
            body.update(status="active", trial_end=work.now, billing_cycle_anchor=work.now)
        return
    if int(end) <= work.now:  # type: ignore[arg-type]
        raise refuse("Invalid timestamp: must be an integer Unix timestamp in the future.", "trial_end")
    body["trial_start"] = body["trial_start"] or work.now
    body.update(trial_end=int(end), billing_cycle_anchor=int(end), status="trialing")  # type: ignore[arg-type]


def _cancel(work: Work, ask: Ask) -> Body:
    """Cancel at once (docs.stripe.com/api/subscriptions/cancel). A canceled one is no longer found."""
    body = work.edit(FAMILY.kind, ask.id)
    if body["status"] in ENDED:
        raise no_such("subscription", ask.id, "id")
    enter_time_of(work, work.get("customer", body["customer"]))
    if ask.get("cancellation_details"):
        body["cancellation_details"] = {**body["cancellation_details"], **ask.params["cancellation_details"]}
    if ask.get("prorate"):
        cycles.credit_unused(work, body, cycles.snapshot(work, body), {})
    end_subscription(work, body)
    if ask.get("invoice_now"):
        invoice = cycles.bill(work, body, "manual", [])
        cycles.collect_later(work, body, invoice, at_once=True)
    return body


def end_subscription(work: Work, body: Body) -> None:
    """Cancel a subscription that is being edited."""
    body["status"] = "canceled"
    body["ended_at"] = work.now
    body["canceled_at"] = body["canceled_at"] or work.now
    body["cancellation_details"] = {**body["cancellation_details"], "reason": "cancellation_requested"}


def _pause(work: Work, ask: Ask) -> Body:
    body = work.edit(FAMILY.kind, ask.path["subscription"])
    if body["status"] not in {"active", "trialing"}:
        raise refuse(f"Only active or trialing subscriptions can be paused. This one is {body['status']}.")
    body["status"] = "paused"
    return body


def _resume(work: Work, ask: Ask) -> Body:
    body = work.edit(FAMILY.kind, ask.path["subscription"])
    if body["status"] != "paused":
        raise refuse("Only paused subscriptions can be resumed.")
    body["status"] = "active"
    if (ask.get("billing_cycle_anchor") or {"type": "now"})["type"] == "now":
        body["billing_cycle_anchor"] = work.now
    cycles.refresh_periods(work, body)
    invoice = cycles.bill(work, body, "subscription_update")
    cycles.collect_later(work, body, invoice, at_once=True)
    return body


def _migrate(work: Work, ask: Ask) -> Body:
    body = work.edit(FAMILY.kind, ask.path["subscription"])
    body["billing_mode"] = {**body["billing_mode"], **ask.params["billing_mode"]}
    return body


def _delete_discount(work: Work, ask: Ask) -> Body:
    body = work.edit(FAMILY.kind, ask.id)
    if not body["discounts"]:
        raise refuse("No active discount for subscription: " + ask.id, None, "resource_missing")
    gone, body["discounts"] = body["discounts"][0], []
    return {**(work.shown("discount", gone) or {"id": gone, "object": "discount"}), "deleted": True}


def _list(work: Work, ask: Ask) -> Body:
    """Without a status, those that have not ended (docs.stripe.com/api/subscriptions/list)."""
    if not ask.get("status"):
        ask.params["status"] = "not_canceled"
    return list_objects(FAMILY, work, ask)


def _has_status(_work: Work, body: Body, status: str) -> bool:
    if status == "all":
        return True
    if status == "ended":
        return body["status"] in ENDED
    if status == "not_canceled":
        return bool(body["status"] != "canceled")
    return bool(body["status"] == status)


def _render(work: Work, body: Body) -> Body:
    items = [render_item(work, item) for item in cycles.items_of(work, body["id"])]
    return {**body, "items": in_list(items, f"/v1/subscription_items?subscription={body['id']}")}


def _tick(work: Work, body: Body) -> None:
    """Live through the time that passed: trials end, periods start, ends come."""
    if body["status"] in ENDED:
        return
    target = work.now
    held = work.edit(FAMILY.kind, body["id"])
    while held["status"] not in ENDED:
        moment = _next_event(work, held)
        if moment is None or moment > target:
            break
        work.now = moment
        _pass(work, held, target)
    work.now = target


def _next_event(work: Work, body: Body) -> int | None:
    if body["status"] == "incomplete":
        return int(body["created"] + INCOMPLETE_SECONDS)
    ends = [item["current_period_end"] for item in cycles.items_of(work, body["id"])]
    resumes = (body["pause_collection"] or {}).get("resumes_at")
    return min([m for m in (body["cancel_at"], resumes, *ends) if m is not None], default=None)


def _pass(work: Work, body: Body, target: int) -> None:
    if body["status"] == "incomplete":
        body.update(status="incomplete_expired", ended_at=work.now)
        return
    paused = body["pause_collection"]
    if paused is not None and paused["resumes_at"] is not None and paused["resumes_at"] <= work.now:
        body["pause_collection"] = None
    if body["cancel_at"] is not None and body["cancel_at"] <= work.now:
        end_subscription(work, body)
        return
    due = [item for item in cycles.items_of(work, body["id"]) if item["current_period_end"] <= work.now]
    if not due:
        return
    if body["status"] == "trialing":
        body["status"] = "active"
    cycles.refresh_periods(work, body)
    ids = {item["id"] for item in due}
    renewed = [item for item in cycles.items_of(work, body["id"]) if item["id"] in ids]
    if body["status"] != "paused":
        invoice = cycles.bill(work, body, "subscription_cycle", renewed)
        cycles.collect_later(work, body, invoice, at_once=work.now + cycles.HOUR <= target)


def _has_price(work: Work, body: Body, price: str) -> bool:
    return any(item["price"] == price for item in cycles.items_of(work, body["id"]))


def _in_period(field: str) -> Callable[[Work, Body, Any], bool]:
    def holds(work: Work, body: Body, bounds: Any) -> bool:
        moments = [item[field] for item in cycles.items_of(work, body["id"])]
        return any(in_range(moment, bounds) for moment in moments)

    return holds


FAMILY = Family(
    kind="subscription",
    object="subscription",
    prefix="sub",
    blank={
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": 0,
        "billing_cycle_anchor_config": None,
        "billing_mode": None,
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": 0,
        "currency": None,
        "customer": None,
        "days_until_due": None,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "latest_invoice": None,
        "metadata": {},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": 0,
        "status": None,
        "test_clock": None,
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
    },
    operations={
        "create": _create,
        "update": _update,
        "cancel": _cancel,
        "pause": _pause,
        "resume": _resume,
        "migrate": _migrate,
        "delete_discount": _delete_discount,
        "list": _list,
    },
    filters={
        "status": _has_status,
        "price": _has_price,
        "plan": _has_price,
        "current_period_start": _in_period("current_period_start"),
        "current_period_end": _in_period("current_period_end"),
    },
    render=_render,
    tick=_tick,
)
FAMILIES = (FAMILY,)
