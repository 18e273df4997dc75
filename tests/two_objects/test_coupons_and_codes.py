"""A replaced coupon takes its promotion codes along, or stays unchanged."""

from __future__ import annotations

import pytest

from dbt_stripe_sync.sandbox import Fault

LIMITS = {"max_removed": "100%"}


@pytest.fixture(params=["Stripe's id", "an id of our own"])
def offers(request, shop):
    """A coupon with a live code, whose percentage can't be changed on it."""
    own = {"id": "id"} if request.param == "an id of our own" else {}
    shop.sync(
        "coupons",
        resource="coupon",
        fields={**own, "percent_off": "pct", "duration": {"value": "once"}, "name": "id"},
        on_removed="delete",
        limits=LIMITS,
    )
    shop.sync(
        "codes",
        resource="promotion_code",
        fields={
            "code": "code",
            "promotion.type": {"value": "coupon"},
            "promotion.coupon": {"sync": "coupons", "key": "coupon"},
            "metadata.note": "note",
        },
        on_removed="archive",
    )
    write(shop, 10)
    shop.succeeds()
    return shop


def write(shop, pct, *codes):
    shop.rows("coupons", ("summer", pct), columns="id text, pct int")
    shop.rows(
        "codes",
        *(codes or (("c1", "SUMMER10", "summer", "a"),)),
        columns="id text, code text, coupon text, note text",
    )


def live(shop):
    """Each code that a customer can redeem, with what it takes off."""
    coupons = {c["id"]: c["percent_off"] for c in shop.objects("coupon")}
    return {p["code"]: coupons[p["promotion"]["coupon"]] for p in shop.living("promotion_code")}


def test_a_changed_coupon_keeps_its_code_alive(offers):
    write(offers, 20)

    offers.succeeds()

    assert live(offers) == {"SUMMER10": 20}
    assert [c["percent_off"] for c in offers.objects("coupon")] == [20]
    offers.check_settled()


def test_a_changed_coupon_moves_all_of_its_codes(offers):
    codes = [(f"c{n}", f"CODE{n}", "summer", "a") for n in range(5)]
    write(offers, 10, *codes)
    offers.succeeds()
    write(offers, 20, *codes)

    offers.succeeds()

    assert live(offers) == {f"CODE{n}": 20 for n in range(5)}
    assert offers.stripe.count("coupon") == 1
    offers.check_settled()


def test_a_coupon_and_its_codes_change_in_one_plan(offers):
    write(offers, 20, ("c1", "SUMMER20", "summer", "b"), ("c2", "MORE", "summer", "c"))

    offers.succeeds()

    assert live(offers) == {"SUMMER20": 20, "MORE": 20}
    offers.check_settled()


def test_a_code_that_leaves_the_model_while_its_coupon_is_replaced_ends(offers):
    write(offers, 10, ("c1", "ONE", "summer", "a"), ("c2", "TWO", "summer", "a"))
    offers.succeeds()
    write(offers, 20, ("c1", "ONE", "summer", "a"))

    offers.succeeds()

    assert live(offers) == {"ONE": 20}
    offers.check_settled()


def test_a_coupon_whose_code_cannot_follow_is_left_alone(offers):
    offers.writes()
    write(offers, 20, ("c1", "SUMMER10", "summer", "x" * 600))

    ran = offers.fails()

    assert live(offers) == {"SUMMER10": 10}
    assert offers.writes() == []
    assert "c1" in ran.text
    assert "summer" in ran.text
    assert offers.fails().exit_code == 1
    write(offers, 20)
    offers.succeeds()
    assert live(offers) == {"SUMMER10": 20}
    offers.check_settled()


def test_a_coupon_with_someone_elses_code_is_left_alone_and_the_code_named(offers):
    (coupon,) = offers.objects("coupon")
    theirs = offers.hand.v1.promotion_codes.create(
        {"promotion": {"type": "coupon", "coupon": coupon["id"]}, "code": "FRIENDS"}
    ).id
    offers.writes()
    write(offers, 20)

    ran = offers.fails()

    assert live(offers) == {"SUMMER10": 10, "FRIENDS": 10}
    assert offers.writes() == []
    assert theirs in ran.text
    offers.hand.v1.promotion_codes.update(theirs, {"active": False})
    offers.succeeds()
    assert live(offers) == {"SUMMER10": 20}


def test_a_coupon_is_not_replaced_if_only_its_sync_is_selected(offers):
    offers.writes()
    write(offers, 20)

    ran = offers.fails("run", "--yes", "--select", "coupons")

    assert live(offers) == {"SUMMER10": 10}
    assert offers.writes() == []
    assert "codes" in ran.text
    offers.succeeds()
    assert live(offers) == {"SUMMER10": 20}


def test_a_coupon_that_leaves_the_model_is_not_deleted_under_a_code_that_stays(offers):
    offers.rows("coupons", ("winter", 5), columns="id text, pct int")

    ran = offers.fails()

    assert live(offers)["SUMMER10"] == 10
    assert "c1" in ran.text


def test_a_coupon_and_its_codes_that_leave_together_end_together(offers):
    write(offers, 10, ("c1", "ONE", "summer", "a"), ("c2", "TWO", "summer", "a"))
    offers.rows("coupons", ("summer", 10), ("winter", 5), columns="id text, pct int")
    offers.rows(
        "codes",
        ("c1", "ONE", "summer", "a"),
        ("c9", "NINE", "winter", "a"),
        columns="id text, code text, coupon text, note text",
    )
    offers.succeeds()
    offers.rows("coupons", ("winter", 5), columns="id text, pct int")
    offers.rows("codes", ("c9", "NINE", "winter", "a"), columns="id text, code text, coupon text, note text")

    offers.succeeds()

    assert live(offers) == {"NINE": 5}
    offers.check_settled()


@pytest.mark.usefixtures("without_waiting")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "^/v1/coupons$"),
        ("POST", "^/v1/promotion_codes$"),
        ("POST", "^/v1/promotion_codes/"),
        ("DELETE", "^/v1/coupons/"),
    ],
    ids=["coupon on", "code on", "code off", "coupon off"],
)
@pytest.mark.parametrize(
    "fault",
    [Fault.forbidden, Fault.conflict, lambda **match: Fault.status_code(500, **match), Fault.cut],
    ids=["403", "409", "500", "cut after the effect"],
)
def test_whichever_step_is_refused_the_next_run_completes_it(offers, method, path, fault):
    write(offers, 20)
    offers.stripe.inject(fault(count=None, method=method, path=path))

    offers.fails()
    offers.stripe.clear_faults()
    offers.succeeds()

    assert live(offers) == {"SUMMER10": 20}
    assert [c["percent_off"] for c in offers.objects("coupon")] == [20]
    assert len(offers.living("promotion_code")) == 1
    offers.check_settled()


@pytest.mark.parametrize("offers", ["an id of our own"], indirect=True)
@pytest.mark.parametrize("is_gone", [False, True], ids=["still there", "deleted by hand"])
def test_a_coupon_returns_to_its_id_although_its_code_has_not_left_the_old_coupon(offers, is_gone):
    """The code waits for the new coupon, that waits for its id, and the old coupon has it until it ends."""
    rename(offers, "winter")
    offers.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/promotion_codes"))
    offers.fails()
    offers.stripe.clear_faults()
    if is_gone:
        offers.hand.v1.coupons.delete("summer")
    rename(offers, "summer")

    offers.succeeds()

    assert live(offers) == {"SUMMER10": 10}
    assert [c["id"] for c in offers.objects("coupon")] == ["summer"]
    offers.check_settled()


def rename(offers, code):
    meta = offers.business.models["coupons"]["meta"]["stripe_sync"]
    offers.sync("coupons", **{**meta, "fields": {**meta["fields"], "id": "code"}})
    offers.rows("coupons", ("summer", 10, code), columns="id text, pct int, code text")
