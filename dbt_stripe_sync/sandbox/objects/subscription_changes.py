"""Creates, changes and ends subscriptions, for every request that does so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import refuse
from dbt_stripe_sync.sandbox.merging import apply_params, plain
from dbt_stripe_sync.sandbox.objects import cycles, limits
from dbt_stripe_sync.sandbox.objects.clocks import use_clock_of
from dbt_stripe_sync.sandbox.objects.discounts import apply_discounts
from dbt_stripe_sync.sandbox.objects.invoice_items import charge_of
from dbt_stripe_sync.sandbox.objects.invoice_totals import total_up
from dbt_stripe_sync.sandbox.objects.invoicing import add_line
from dbt_stripe_sync.sandbox.objects.periods import DAY
from dbt_stripe_sync.sandbox.objects.rates import read_rates
from dbt_stripe_sync.sandbox.objects.subscription_items import price_for, put_items
from dbt_stripe_sync.sandbox.objects.subscription_shape import ENDED, SHAPE
from dbt_stripe_sync.stripe_api.rules.named_prices import latest_anchor

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

_SET_SEPARATELY = (
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
    """Create a subscription with its first invoice. Raises `ApiError`."""
    customer = core.customer_of(work, params)
    use_clock_of(work, customer)
    given = params["items"]
    body = core.new_body(SHAPE, work)
    body.update(customer=customer["id"], test_clock=customer["test_clock"], status=None)
    body["start_date"] = int(params.get("backdate_start_date") or work.now)
    body["billing_mode"] = {"type": "flexible", **(params.get("billing_mode") or {})}
    first = price_for(work, given[0], "items[0]", params.get("currency"))
    body["currency"] = (params.get("currency") or first["currency"]).lower()
    limits.check_currency(work, customer["id"], body["currency"])
    limits.check_subscription_count(work, customer["id"])
    body["billing_cycle_anchor"] = int(params.get("billing_cycle_anchor") or work.now)
    _check_anchor(work, params, first)
    _start_trial(work, body, params, first)
    work.add(SHAPE.kind, body)
    put_items(work, body, [{**given[0], "price": first["id"]}, *given[1:]])
    _put(work, body, params)
    invoice = cycles.bill(work, body, "subscription_create")
    _add_extra_lines(work, body, invoice, params)
    cycles.collect_first(work, body, invoice, params.get("payment_behavior") or "allow_incomplete")
    return body


def _check_anchor(work: Work, params: dict[str, Any], price: Body) -> None:
    """The anchor must be within the first period (stripe/stripe-java#454), which starts after a trial."""
    anchor = params.get("billing_cycle_anchor")
    natural = latest_anchor(params, price["recurring"], work.now)
    if anchor and int(anchor) > natural:
        raise refuse(
            f"billing_cycle_anchor cannot be later than next natural billing date ({natural}) for plan",
            "billing_cycle_anchor",
        )


def _start_trial(work: Work, body: Body, params: dict[str, Any], price: Body) -> None:
    end = params.get("trial_end")
    days = params.get("trial_period_days")
    if params.get("trial_from_plan") and days in (None, ""):
        days = price["recurring"]["trial_period_days"]
    if days not in (None, "", 0):
        end = work.now + int(days) * DAY  # type: ignore[arg-type]
    if end in (None, "", "now"):
        return
    body["trial_start"], body["trial_end"] = work.now, int(end)  # type: ignore[arg-type]
    body["billing_cycle_anchor"] = int(end)  # type: ignore[arg-type]
    body["status"] = "trialing"


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
    limits.check_payment_method(work, params.get("default_payment_method"), body["customer"], "default_payment_method")
    apply_params(body, params, leave=_SET_SEPARATELY)
    for name in _MERGED:
        if name in params:
            body[name] = {**(body[name] or {}), **plain(params[name] or {})}
    if body["pending_invoice_item_interval"] is not None:
        body["pending_invoice_item_interval"].setdefault("interval_count", 1)
    if "trial_settings" in params:
        body["trial_settings"] = params["trial_settings"] or body["trial_settings"]
    if "default_tax_rates" in params:
        body["default_tax_rates"] = read_rates(
            work, params["default_tax_rates"], "default_tax_rates", body["default_tax_rates"]
        )
    if "discounts" in params:
        body["discounts"] = apply_discounts(
            work, params["discounts"], body["discounts"], customer=body["customer"], subscription=body["id"]
        )
    if "pause_collection" in params:
        paused = params["pause_collection"]
        body["pause_collection"] = {"resumes_at": None, **paused} if paused else None
    # SDK's description of the object's `days_until_due`: null if it charges automatically.
    if body["collection_method"] == "charge_automatically":
        body["days_until_due"] = None
    _put_end(work, body, params)


def _put_end(work: Work, body: Body, params: dict[str, Any]) -> None:
    """Set when the subscription ends. `cancel_at` and `cancel_at_period_end` mean the same; one replaces the other."""
    at_period_end, at = params.get("cancel_at_period_end"), params.get("cancel_at")
    if at_period_end not in (None, body["cancel_at_period_end"]) or at is not None:
        _check_unmanaged(body)
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


def _check_unmanaged(body: Body) -> None:
    """Raise `ApiError` if a schedule controls when its subscription ends (dust-tt/dust#32051)."""
    if body["schedule"] is not None:
        raise refuse(
            f"The subscription is managed by the subscription schedule `{body['schedule']}`, and updating any "
            "cancelation behavior directly is not allowed. Please update the schedule instead."
        )


def update_subscription(work: Work, body: Body, params: dict[str, Any]) -> None:
    """Update a subscription that is being edited. Raises `ApiError`."""
    before = cycles.snapshot(work, body)
    _change_trial(work, body, params)
    if params.get("billing_cycle_anchor") == "now":
        body["billing_cycle_anchor"] = work.now
    if params.get("items"):
        intervals = _intervals(work, body)
        put_items(work, body, params["items"])
        if body["status"] == "active" and not intervals & _intervals(work, body):
            # A different interval starts a new cycle now (docs.stripe.com/billing/subscriptions/change-price).
            body["billing_cycle_anchor"] = work.now
    if body["status"] not in ENDED:
        _put(work, body, params)
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
    body["trial_start"] = body["trial_start"] or work.now
    body.update(trial_end=int(end), billing_cycle_anchor=int(end), status="trialing")  # type: ignore[arg-type]


def end_subscription(work: Work, body: Body) -> None:
    """Cancel a subscription that is being edited."""
    body["status"] = "canceled"
    body["ended_at"] = work.now
    body["canceled_at"] = body["canceled_at"] or work.now
    body["cancellation_details"] = {**body["cancellation_details"], "reason": "cancellation_requested"}
