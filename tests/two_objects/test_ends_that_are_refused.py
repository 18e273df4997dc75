"""A replacement whose second call fails: the end of the old object is owed until it is done or a person drops it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from ended_shop import REPLACED, change_shop, everywhere, olds, open_shop, states

from dbt_stripe_sync.sandbox import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("without_waiting")


@dataclass(frozen=True)
class Refusal:
    """One way in which the end of an object fails. `acts` says that Stripe has done it all the same."""

    name: str
    fault: Callable[..., Fault]
    acts: bool = False


REFUSALS = (
    Refusal("400", lambda **match: Fault.status_code(400, **match)),
    Refusal("401", Fault.unauthorized),
    Refusal("403", Fault.forbidden),
    Refusal("409", Fault.conflict),
    Refusal("429", Fault.rate_limited),
    Refusal("lock timeout", Fault.lock_timeout),
    Refusal("500", lambda **match: Fault.status_code(500, **match)),
    Refusal("500 after the effect", lambda **match: Fault.status_code(500, after_effect=True, **match), acts=True),
    Refusal("502", lambda **match: Fault.status_code(502, **match)),
    Refusal("cut before the effect", lambda **match: Fault.cut(after_effect=False, **match)),
    Refusal("cut after the effect", lambda **match: Fault.cut(after_effect=True, **match), acts=True),
    Refusal("no answer", lambda **match: Fault.hang(0.1, after_effect=False, **match)),
)
each_refusal = pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)


def refuse_ends(shop, refusal):
    for each in REPLACED:
        method, path = each.end
        shop.stripe.inject(refusal.fault(count=None, method=method, path=path))


@each_refusal
def test_no_run_succeeds_until_the_old_objects_have_ended(shop, refusal):
    open_shop(shop)
    shop.succeeds()
    old = olds(shop)
    change_shop(shop)
    refuse_ends(shop, refusal)

    shop.fails()
    again = shop.fails()
    while_refused = states(shop, old)
    shop.stripe.clear_faults()
    shop.succeeds()

    if not refusal.acts and refusal.name != "401":
        # With a key that is refused a run stops at once, maybe before it has made the others.
        assert while_refused == everywhere("there, 1 new"), again.text
    assert states(shop, old) == everywhere("ended, 1 new")
    shop.check_settled()


def test_every_owed_end_is_shown_first_by_plan_with_the_reason_and_what_to_do(shop):
    open_shop(shop)
    shop.succeeds()
    old = olds(shop)
    change_shop(shop)
    refuse_ends(shop, REFUSALS[2])
    shop.fails()

    planned = shop.run("plan")
    as_json = json.loads(shop.run("plan", "--format", "json").out)
    as_markdown = shop.run("plan", "--format", "markdown")

    for sync, stripe_id in old.items():
        assert stripe_id in planned.out, sync
        assert stripe_id in as_markdown.out, sync
    assert {step["target"] for step in as_json["owed"]} == set(old.values())
    assert "owed" in planned.out.splitlines()[0]
    assert "more_permissions_required" in planned.out
    assert "state settle" in planned.text


def test_what_is_owed_is_counted_by_runs_and_in_the_results(shop):
    open_shop(shop)
    shop.succeeds()
    change_shop(shop)
    refuse_ends(shop, REFUSALS[2])
    ran = shop.fails()

    results = json.loads((shop.business.root / "target" / "stripe_sync_results.json").read_text())
    (last, *_) = [json.loads(line) for line in shop.run("runs", "--output", "json").out.splitlines()]

    assert shop.owed() == last["owed"] == len(results["owed"]) == len(REPLACED)
    assert "owed" in ran.text


def test_a_settled_step_is_never_sent_again(shop):
    open_shop(shop)
    shop.succeeds()
    old = olds(shop)
    change_shop(shop)
    refuse_ends(shop, REFUSALS[2])
    shop.fails()
    shop.stripe.clear_faults()

    for each in REPLACED:
        settled = shop.succeeds("state", "settle", each.name, each.after[0])
        assert old[each.name] in settled.out
    shop.check_settled()

    assert states(shop, old) == everywhere("there, 1 new")


def test_settling_a_row_that_owes_nothing_says_so(shop):
    open_shop(shop)
    shop.succeeds()

    ran = shop.run("state", "settle", "prices", "m")

    assert ran.exit_code == 2
    assert "owe" in ran.text
    assert "Traceback" not in ran.text


def test_an_old_object_removed_by_hand_is_no_longer_owed(shop):
    open_shop(shop)
    shop.succeeds()
    old = olds(shop)
    change_shop(shop)
    refuse_ends(shop, REFUSALS[2])
    shop.fails()
    shop.stripe.clear_faults()
    shop.hand.v1.subscriptions.cancel(old["subs"])
    shop.hand.v1.coupons.delete(old["coupons"])
    shop.hand.v1.invoice_items.delete(old["items"])
    shop.hand.v1.prices.update(old["prices"], {"active": False})

    shop.succeeds()

    assert states(shop, old) == everywhere("ended, 1 new")
    shop.check_settled()


def test_a_saved_plan_whose_ends_were_refused_owes_them_too(shop, tmp_path):
    open_shop(shop)
    shop.succeeds()
    old = olds(shop)
    change_shop(shop)
    plan = str(tmp_path / "plan.jsonl")
    shop.succeeds("plan", "--out", plan)
    refuse_ends(shop, REFUSALS[2])

    shop.fails("apply", plan)
    shop.stripe.clear_faults()
    shop.succeeds()

    assert states(shop, old) == everywhere("ended, 1 new")
    shop.check_settled()


def test_a_row_that_changes_again_before_its_old_object_ended_ends_both(shop):
    prices = REPLACED[0]
    shop.rows("products", ("p", "Desk"), columns="id text, name text")
    shop.sync("products", resource="product", fields={"name": "name"})
    shop.sync("prices", resource="price", fields=prices.fields)
    shop.rows("prices", ("m", "p", 1000), columns=prices.columns)
    shop.succeeds()
    shop.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/prices/"))
    for cents in (1200, 1400):
        shop.rows("prices", ("m", "p", cents), columns=prices.columns)
        shop.fails()
    shop.stripe.clear_faults()

    shop.succeeds()

    assert [(p["unit_amount"], p["active"]) for p in shop.objects("price")] == [
        (1000, False),
        (1200, False),
        (1400, True),
    ]
    shop.check_settled()


def test_a_row_that_leaves_the_model_still_owes_the_end_of_what_was_replaced(shop):
    prices: Any = REPLACED[0]
    shop.rows("products", ("p", "Desk"), columns="id text, name text")
    shop.sync("products", resource="product", fields={"name": "name"})
    shop.sync("prices", resource="price", fields=prices.fields, on_removed="archive")
    shop.rows("prices", ("m", "p", 1000), ("n", "p", 1), columns=prices.columns)
    shop.succeeds()
    shop.rows("prices", ("m", "p", 1200), ("n", "p", 1), columns=prices.columns)
    shop.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/prices/"))
    shop.fails()
    shop.stripe.clear_faults()
    shop.rows("prices", ("n", "p", 1), columns=prices.columns)

    shop.succeeds()

    assert [(p["unit_amount"], p["active"]) for p in shop.objects("price")] == [(1000, False), (1, True), (1200, False)]
    shop.check_settled()


@pytest.mark.telling
def test_a_row_that_reverts_its_change_has_one_object(shop):
    prices = REPLACED[0]
    shop.rows("products", ("p", "Desk"), columns="id text, name text")
    shop.sync("products", resource="product", fields={"name": "name"})
    shop.sync("prices", resource="price", fields=prices.fields)
    shop.rows("prices", ("m", "p", 1000), columns=prices.columns)
    shop.succeeds()
    shop.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/prices/"))
    shop.rows("prices", ("m", "p", 1200), columns=prices.columns)
    shop.fails()
    shop.stripe.clear_faults()
    shop.rows("prices", ("m", "p", 1000), columns=prices.columns)

    shop.succeeds()

    (price,) = shop.living("price")
    assert (price["unit_amount"], price["lookup_key"]) == (1000, "m")
    shop.check_settled()


def test_no_row_adopts_an_object_whose_end_is_owed(shop):
    """It would end in the same run."""
    rates = next(each for each in REPLACED if each.name == "tax_rates")
    fields = {**rates.fields, "display_name": "name"}
    shop.sync("rates", resource="tax_rate", fields=fields, match=["display_name"])
    columns = "id text, name text, pct int"
    shop.rows("rates", ("a", "VAT", 19), columns=columns)
    shop.succeeds()
    shop.rows("rates", ("a", "New VAT", 20), columns=columns)
    shop.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/tax_rates/"))
    shop.fails()
    shop.stripe.clear_faults()
    shop.rows("rates", ("a", "New VAT", 20), ("b", "VAT", 19), columns=columns)

    shop.succeeds()

    assert [rate["display_name"] for rate in shop.living("tax_rate")] == ["New VAT", "VAT"]
    shop.check_settled()


def test_an_object_that_its_row_uses_again_is_not_ended_with_others_that_are_owed(shop):
    """A person has deleted the coupons that replaced it, and the state was read back."""
    fields = {"id": "code", "percent_off": {"value": 10}, "duration": {"value": "once"}}
    shop.sync("coupons", resource="coupon", fields=fields)
    shop.stripe.inject(Fault.forbidden(count=None, method="DELETE", path="^/v1/coupons/"))
    for code in ("ONE", "TWO", "THREE"):
        shop.rows("coupons", ("a", code), columns="id text, code text")
        shop.run()
    shop.stripe.clear_faults()
    for code in ("TWO", "THREE"):
        shop.hand.v1.coupons.delete(code)
    shop.rows("coupons", ("a", "ONE"), columns="id text, code text")
    shop.succeeds("state", "rebuild")

    ran = shop.run()

    assert "held back: a row uses the object again" in ran.text
    assert (shop.only("coupon")["id"], shop.owed()) == ("ONE", 1)
    shop.succeeds("state", "settle", "coupons", "a")
    shop.check_settled()


def test_owed_steps_are_retried_without_a_read_if_no_reads_are_left(shop):
    open_shop(shop)
    shop.succeeds()
    old = olds(shop)
    change_shop(shop)
    refuse_ends(shop, REFUSALS[0])
    shop.fails()
    shop.business.set(max_reads=1)
    assert "owed" in shop.run("plan").out.splitlines()[0]
    shop.stripe.clear_faults()

    shop.succeeds()

    assert states(shop, old) == everywhere("ended, 1 new")
    assert shop.owed() == 0
