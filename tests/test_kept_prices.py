"""`when_replaced: keep`: existing subscribers keep the old price, and new ones pay the new price."""

from __future__ import annotations

import pytest
import stripe

from dbt_stripe_sync.sandbox import Fault

PRICE = {"sync": "prices", "key": "plan", "when_replaced": "keep"}
ITEMS_OF_THE_ROW = [{"price": PRICE, "quantity": "seats"}]
ITEMS_OF_CHILD_ROWS = {"model": "subs_lines", "on": "id", "fields": {"price": PRICE, "quantity": "seats"}}


def run(business, *arguments):
    ran = business.cli(*arguments)
    assert ran.exit_code == 0, ran.out + ran.err
    return ran


def prices(business, **amounts):
    rows = [(plan, "office", amount) for plan, amount in ({"desk": "10.00", "lamp": "4.00"} | amounts).items()]
    business.rows("prices", *rows, columns="plan text, product text, amount decimal(10, 2)")


def subscriptions(business, *rows):
    """Rows of an id, a plan and a number of seats; the customer is always the same."""
    business.rows("subs", *[(id_, "c1", plan, seats) for id_, plan, seats in rows], columns=SUBSCRIPTION)
    business.rows(
        "subs_lines", *[(id_, plan, seats) for id_, plan, seats in rows], columns="id text, plan text, seats int"
    )


SUBSCRIPTION = "id text, customer text, plan text, seats int"


def bought(business):
    """The amount in cents and the seats of the only item of each subscription that has not ended."""
    found = {}
    for subscription in business.stripe.objects("subscription"):
        if subscription["status"] == "canceled":
            continue
        (item,) = subscription["items"]["data"]
        found[subscription["metadata"]["id"]] = (item["price"]["unit_amount"], item["quantity"])
    return found


def sync_subscriptions(business, items):
    business.sync(
        "subs",
        resource="subscription",
        key="id",
        fields={
            "customer": {"sync": "customers", "key": "customer"},
            "items": items,
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            "metadata.id": "id",
        },
    )


@pytest.fixture(
    params=[ITEMS_OF_THE_ROW, pytest.param(ITEMS_OF_CHILD_ROWS, marks=pytest.mark.long)],
    ids=["items of the row", "items of child rows"],
)
def shop(request, business):
    """One subscription to a desk at 10 USD, which is then 12 USD."""
    business.rows("products", ("office", "Office"), columns="id text, name text")
    business.sync("products", resource="product", key="id", fields={"name": "name"})
    business.rows("customers", ("c1", "a@example.com"), columns="id text, email text")
    business.sync("customers", resource="customer", key="id", fields={"email": "email"})
    prices(business)
    business.sync(
        "prices",
        resource="price",
        key="plan",
        fields={
            "product": {"sync": "products", "key": "product"},
            "currency": {"value": "usd"},
            "unit_amount": {"column": "amount", "as": "minor_units", "currency": "usd"},
            "recurring.interval": {"value": "month"},
            "lookup_key": "plan",
        },
    )
    subscriptions(business, ("s1", "desk", 2))
    sync_subscriptions(business, request.param)
    run(business)
    prices(business, desk="12.00")
    business.write_calls()
    return business


def test_a_subscription_keeps_its_price_and_costs_no_call(shop):
    run(shop)

    assert bought(shop) == {"s1": (1000, 2)}
    assert shop.write_calls() == ["POST /v1/prices", f"POST /v1/prices/{old_price(shop)['id']}"]
    run(shop)
    run(shop, "run", "--full-refresh")
    assert shop.write_calls() == []


def test_new_subscriptions_get_the_new_price(shop):
    subscriptions(shop, ("s1", "desk", 2), ("s2", "desk", 1))

    run(shop)

    assert bought(shop) == {"s1": (1000, 2), "s2": (1200, 1)}


def test_more_seats_are_billed_at_the_kept_price(shop):
    run(shop)
    (item,) = shop.stripe.objects("subscription")[0]["items"]["data"]
    subscriptions(shop, ("s1", "desk", 5))

    run(shop)

    assert bought(shop) == {"s1": (1000, 5)}
    assert shop.stripe.objects("subscription")[0]["items"]["data"][0]["id"] == item["id"]


def test_switching_plans_uses_the_current_price(shop):
    prices(shop, desk="12.00", lamp="5.00")
    subscriptions(shop, ("s1", "lamp", 2))

    run(shop)

    assert bought(shop) == {"s1": (500, 2)}


def test_a_price_is_kept_through_many_replacements(shop):
    run(shop)
    prices(shop, desk="14.00")
    subscriptions(shop, ("s1", "desk", 2), ("s2", "desk", 1))
    run(shop)
    prices(shop, desk="16.00")

    run(shop)

    assert bought(shop) == {"s1": (1000, 2), "s2": (1400, 1)}


def test_without_keep_a_subscription_moves_to_the_new_price(shop):
    follows = {"sync": "prices", "key": "plan"}
    sync_subscriptions(shop, [{"price": follows, "quantity": "seats"}])

    run(shop)

    assert bought(shop) == {"s1": (1200, 2)}


def test_a_lost_state_moves_no_subscription_until_it_is_rebuilt(shop):
    run(shop)
    shop.state.unlink()
    shop.write_calls()

    refused = shop.cli()

    assert refused.exit_code == 1
    assert (
        "error[kept-objects-unknown]: the row's object exists, but the state no longer knows which replaced"
        in refused.text
    )
    run(shop, "state", "rebuild")
    run(shop)
    assert bought(shop) == {"s1": (1000, 2)}
    assert shop.write_calls() == []


def test_a_state_that_is_rebuilt_at_once_keeps_the_price(shop):
    run(shop)
    shop.state.unlink()

    run(shop, "state", "rebuild")
    prices(shop, desk="14.00")
    subscriptions(shop, ("s1", "desk", 3))
    run(shop)

    assert bought(shop) == {"s1": (1000, 3)}


def test_a_price_is_kept_under_its_syncs_new_name_and_in_an_export(shop, tmp_path):
    run(shop)
    run(shop, "state", "mv", "prices", "plan_prices")
    shop.models["prices"]["meta"]["stripe_sync"]["name"] = "plan_prices"
    for item in ITEMS_OF_THE_ROW, ITEMS_OF_CHILD_ROWS:
        if shop.models["subs"]["meta"]["stripe_sync"]["fields"]["items"] == item:
            renamed = {**PRICE, "sync": "plan_prices"}
            sync_subscriptions(
                shop,
                [{"price": renamed, "quantity": "seats"}]
                if isinstance(item, list)
                else {**item, "fields": {"price": renamed, "quantity": "seats"}},
            )
    run(shop, "state", "export", str(tmp_path / "export"))
    shop.state.unlink()
    run(shop, "state", "import", str(tmp_path / "export"))

    run(shop)

    assert bought(shop) == {"s1": (1000, 2)}


def resync(business, model, **meta):
    business.sync(model, **{**business.models[model]["meta"]["stripe_sync"], **meta})


def client(business):
    return stripe.StripeClient(business.stripe.api_key, base_addresses={"api": business.stripe.url}).v1


def go_and_come_back(business, meanwhile=lambda: None):
    """The row of the first subscription leaves the model and is there again, while another one stays."""
    subscriptions(business, ("s2", "lamp", 1))
    run(business)
    meanwhile()
    subscriptions(business, ("s1", "desk", 2), ("s2", "lamp", 1))
    run(business)


def test_a_subscription_whose_cancellation_was_undone_keeps_its_price(shop):
    resync(shop, "subs", on_removed="cancel_at_period_end")
    run(shop)

    go_and_come_back(shop)

    assert bought(shop)["s1"] == (1000, 2)
    run(shop, "run", "--full-refresh")
    assert bought(shop)["s1"] == (1000, 2)


def test_a_subscription_that_ended_and_returns_gets_the_current_price_and_keeps_it(shop):
    resync(shop, "subs", on_removed="cancel_at_period_end")
    run(shop)
    (first,) = shop.stripe.objects("subscription")

    go_and_come_back(shop, lambda: client(shop).subscriptions.cancel(first["id"]))

    assert bought(shop)["s1"] == (1200, 2)
    prices(shop, desk="15.00")
    run(shop)
    assert bought(shop)["s1"] == (1200, 2)
    assert shop.stripe.count("subscription") == 3


def test_a_row_that_returns_after_its_sync_was_renamed_keeps_its_price(shop):
    run(shop)

    def rename():
        run(shop, "state", "mv", "subs", "desks")
        resync(shop, "subs", name="desks")
        run(shop)

    go_and_come_back(shop, rename)

    assert bought(shop)["s1"] == (1000, 2)


def test_a_price_that_the_state_has_forgotten_is_kept_when_it_is_replaced(shop):
    run(shop, "state", "forget", "prices", "desk")

    run(shop)

    assert bought(shop) == {"s1": (1000, 2)}
    assert shop.stripe.count("price") == 3


def test_a_price_that_is_forgotten_while_it_is_being_replaced_is_kept(shop):
    shop.stripe.inject(Fault.status_code(500, path="^/v1/prices/price_", method="POST", count=1))
    assert shop.cli().exit_code == 1
    run(shop, "state", "forget", "prices", "desk")

    run(shop)

    assert bought(shop) == {"s1": (1000, 2)}


def test_a_rebuilt_state_knows_a_replaced_price_that_still_has_its_tag(shop):
    run(shop)
    tags = {"dbt_stripe_sync": "shop/prices/desk", "dbt_stripe_sync_former": ""}
    old = old_price(shop)["id"]
    client(shop).prices.update(old, {"active": True, "metadata": tags})
    shop.state.unlink()

    rebuilt = shop.cli("state", "rebuild")
    run(shop)

    assert f"{old} is in use, too" in rebuilt.text
    assert bought(shop) == {"s1": (1000, 2)}


def old_price(business):
    return next(price for price in business.stripe.objects("price") if price["unit_amount"] == 1000)


def test_show_names_the_referenced_row(shop):
    shown = run(shop, "show", "subs")

    assert "price: <id of prices [desk]>" in shown.text
