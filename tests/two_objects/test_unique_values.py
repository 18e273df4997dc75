"""Unique values (lookup keys, codes and ids) move, swap and rotate between rows in one plan."""

from __future__ import annotations

import pytest

from dbt_stripe_sync.sandbox import Fault

USD = {"value": "usd"}


@pytest.fixture
def prices(shop):
    """Prices with lookup keys, without anything in the mapping that says how a key moves."""
    shop.sync(
        "prices",
        resource="price",
        fields={"currency": USD, "unit_amount": "cents", "product_data.name": "id", "lookup_key": "lookup"},
        on_removed="archive",
    )
    return shop


@pytest.fixture
def codes(shop):
    """Promotion codes of one coupon that somebody has made."""
    shop.hand.v1.coupons.create({"id": "HALF", "percent_off": 50, "duration": "once"})
    shop.sync(
        "codes",
        resource="promotion_code",
        fields={"promotion": {"value": {"type": "coupon", "coupon": "HALF"}}, "code": "code", "metadata.row": "id"},
        on_removed="archive",
    )
    return shop


@pytest.fixture
def coupons(shop):
    """Coupons with ids of their own."""
    shop.sync(
        "coupons",
        resource="coupon",
        fields={"id": "code", "percent_off": "pct", "duration": {"value": "once"}, "metadata.row": "id"},
        on_removed="delete",
        limits={"max_removed": "100%"},
    )
    return shop


@pytest.fixture
def features(shop):
    shop.sync(
        "features", resource="entitlements.feature", fields={"lookup_key": "code", "name": "name"}, on_removed="archive"
    )
    return shop


def write_prices(shop, *rows):
    shop.rows("prices", *rows, columns="id text, lookup text, cents int")


def write_codes(shop, *rows):
    shop.rows("codes", *rows, columns="id text, code text")


def write_coupons(shop, *rows):
    shop.rows("coupons", *rows, columns="id text, code text, pct int")


def keys(shop):
    """Each lookup key, with the amount of the active price that has it."""
    return {p["lookup_key"]: p["unit_amount"] for p in shop.living("price") if p["lookup_key"]}


def of_rows(shop, kind, name):
    """A value of each object in use, by the row that it was made from."""
    return {o["metadata"]["row"]: o[name] for o in shop.living(kind)}


def synced(shop):
    ran = shop.succeeds()
    shop.check_settled()
    return ran


# ── lookup keys of prices ────────────────────────────────────────────────────────────────────────────────────────


def test_a_lookup_key_moves_from_a_removed_row_to_a_new_one(prices):
    write_prices(prices, ("a", "starter", 100), ("b", "pro", 200))
    synced(prices)
    write_prices(prices, ("a-v2", "starter", 150), ("b", "pro", 200))

    synced(prices)

    assert keys(prices) == {"starter": 150, "pro": 200}
    assert [p["unit_amount"] for p in prices.objects("price") if not p["active"]] == [100]


def test_two_rows_swap_their_lookup_keys(prices):
    write_prices(prices, ("a", "starter", 100), ("b", "pro", 200))
    synced(prices)
    write_prices(prices, ("a", "pro", 100), ("b", "starter", 200))

    synced(prices)

    assert keys(prices) == {"pro": 100, "starter": 200}
    assert prices.stripe.count("price") == 2


def test_a_key_moves_and_then_the_rows_swap(prices):
    """The three states of the case `lookup-move`."""
    write_prices(prices, ("a", "starter", 100), ("b", "pro", 200))
    synced(prices)
    write_prices(prices, ("a-v2", "starter", 150), ("b", "pro", 200))
    synced(prices)
    write_prices(prices, ("a-v2", "pro", 150), ("b", "starter", 200))

    synced(prices)

    assert keys(prices) == {"pro": 150, "starter": 200}


def test_three_rows_rotate_their_lookup_keys(prices):
    write_prices(prices, ("a", "one", 1), ("b", "two", 2), ("c", "three", 3))
    synced(prices)
    write_prices(prices, ("a", "two", 1), ("b", "three", 2), ("c", "one", 3))

    synced(prices)

    assert keys(prices) == {"two": 1, "three": 2, "one": 3}


def test_lookup_keys_swap_while_both_prices_are_replaced(prices):
    write_prices(prices, ("a", "starter", 100), ("b", "pro", 200))
    synced(prices)
    write_prices(prices, ("a", "pro", 110), ("b", "starter", 220))

    synced(prices)

    assert keys(prices) == {"pro": 110, "starter": 220}
    assert len(prices.living("price")) == 2


def test_a_key_released_by_a_replaced_price_moves_to_another_row(prices):
    write_prices(prices, ("a", "starter", 100), ("b", None, 200))
    synced(prices)
    write_prices(prices, ("a", None, 110), ("b", "starter", 200))

    synced(prices)

    assert keys(prices) == {"starter": 200}


def test_the_key_that_a_replaced_price_had_is_free_for_a_later_row(prices):
    write_prices(prices, ("a", "starter", 100))
    synced(prices)
    write_prices(prices, ("a", "basic", 110))
    synced(prices)
    write_prices(prices, ("a", "basic", 110), ("b", "starter", 200))

    synced(prices)

    assert keys(prices) == {"basic": 110, "starter": 200}


def test_a_key_is_taken_over_from_a_price_whose_end_was_refused(prices):
    write_prices(prices, ("a", "starter", 100), ("b", "pro", 200))
    synced(prices)
    write_prices(prices, ("a", "basic", 110), ("b", "pro", 200))
    prices.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/prices/"))
    prices.fails()
    prices.stripe.clear_faults()
    write_prices(prices, ("a", "basic", 110), ("b", "starter", 200))

    synced(prices)

    assert keys(prices) == {"basic": 110, "starter": 200}
    assert len(prices.living("price")) == 2


def test_a_row_gets_back_the_key_that_its_former_price_still_holds(prices):
    write_prices(prices, ("a", "starter", 100))
    synced(prices)
    write_prices(prices, ("a", "basic", 110))
    prices.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/prices/"))
    prices.fails()
    prices.stripe.clear_faults()
    write_prices(prices, ("a", "starter", 110))

    synced(prices)

    assert keys(prices) == {"starter": 110}


def test_a_row_that_returns_gets_its_lookup_key_back(prices):
    write_prices(prices, ("a", "starter", 100), ("b", "pro", 200))
    synced(prices)
    write_prices(prices, ("a-v2", "starter", 150), ("b", "pro", 200))
    synced(prices)
    write_prices(prices, ("a", "starter", 100), ("b", "pro", 200))

    synced(prices)

    assert keys(prices) == {"starter": 100, "pro": 200}


def test_a_row_that_returns_without_its_lookup_key_gives_it_up(prices):
    write_prices(prices, ("a", "starter", 100), ("b", "pro", 200))
    synced(prices)
    write_prices(prices, ("b", "pro", 200))
    synced(prices)
    write_prices(prices, ("a", None, 100), ("b", "pro", 200))

    synced(prices)

    assert keys(prices) == {"pro": 200}
    assert len(prices.living("price")) == 2


def test_a_row_removed_with_ignore_gets_its_lookup_key_back_when_it_returns(prices):
    prices.business.models["prices"]["meta"]["stripe_sync"]["on_removed"] = "ignore"
    write_prices(prices, ("a", "starter", 100), ("b", "pro", 200))
    synced(prices)
    write_prices(prices, ("a-v2", "starter", 150), ("b", "pro", 200))
    synced(prices)
    write_prices(prices, ("a", "starter", 100), ("a-v2", None, 150), ("b", "pro", 200))

    synced(prices)

    assert keys(prices) == {"starter": 100, "pro": 200}


def test_a_lookup_key_moves_to_a_row_of_another_sync(prices):
    prices.sync(
        "more",
        resource="price",
        fields={"currency": USD, "unit_amount": "cents", "product_data.name": "id", "lookup_key": "lookup"},
    )
    write_prices(prices, ("a", "starter", 100), ("b", "pro", 200))
    prices.rows("more", ("x", "other", 1), columns="id text, lookup text, cents int")
    synced(prices)
    write_prices(prices, ("b", "pro", 200))
    prices.rows("more", ("x", "starter", 1), columns="id text, lookup text, cents int")

    synced(prices)

    assert keys(prices) == {"starter": 1, "pro": 200}


def test_someone_elses_price_keeps_its_lookup_key(prices):
    product = prices.hand.v1.products.create({"name": "Theirs"}).id
    theirs = prices.hand.v1.prices.create(
        {"product": product, "currency": "usd", "unit_amount": 7, "lookup_key": "starter"}
    ).id
    write_prices(prices, ("a", "starter", 100), ("b", "pro", 200))

    ran = prices.fails()

    assert keys(prices) == {"starter": 7, "pro": 200}
    assert [p["metadata"] for p in prices.objects("price") if p["id"] == theirs] == [{}]
    assert "row a" in ran.text


def test_two_rows_that_ask_for_one_lookup_key_cannot_both_have_it(prices):
    write_prices(prices, ("a", "starter", 100), ("b", "pro", 200))
    synced(prices)
    write_prices(prices, ("a", "starter", 100), ("b", "starter", 200))

    ran = prices.fails()

    assert "value-taken" in ran.text
    assert keys(prices) == {"starter": 100, "pro": 200}
    assert prices.fails().exit_code == 1


# ── codes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_code_moves_from_a_removed_row_to_a_new_one(codes):
    write_codes(codes, ("a", "SPRING"), ("b", "SUMMER"))
    synced(codes)
    write_codes(codes, ("a2", "SPRING"), ("b", "SUMMER"))

    synced(codes)

    assert of_rows(codes, "promotion_code", "code") == {"a2": "SPRING", "b": "SUMMER"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([("a", "ONE"), ("b", "TWO")], [("a", "TWO"), ("b", "ONE")]),
        ([("a", "ONE"), ("b", "TWO"), ("c", "THREE")], [("a", "TWO"), ("b", "THREE"), ("c", "ONE")]),
        ([("a", "ONE"), ("b", "TWO")], [("a", "two"), ("b", "one")]),
    ],
    ids=["two rows swap", "three rows rotate", "two rows swap in another case"],
)
def test_codes_swap_and_rotate(codes, before, after):
    write_codes(codes, *before)
    synced(codes)
    write_codes(codes, *after)

    synced(codes)

    assert of_rows(codes, "promotion_code", "code") == dict(after)


def refuse_creation(codes):
    """A run that ends the old objects, and in which Stripe then refuses to create the new ones."""
    codes.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/promotion_codes$"))
    codes.fails()
    codes.stripe.clear_faults()
    codes.stripe.reset_requests()


def use_coupon(codes, coupon):
    meta = codes.business.models["codes"]["meta"]["stripe_sync"]
    fields = {**meta["fields"], "promotion": {"value": {"type": "coupon", "coupon": coupon}}}
    codes.sync("codes", **{**meta, "fields": fields})


def test_a_replacement_that_has_only_ended_the_old_object_is_completed_by_one_call_for_each_row(codes):
    write_codes(codes, ("a", "ONE"), ("b", "TWO"))
    synced(codes)
    write_codes(codes, ("a", "TWO"), ("b", "ONE"))
    refuse_creation(codes)

    codes.succeeds()

    assert [line.path for line in codes.stripe.writes()] == ["/v1/promotion_codes"] * 2
    assert of_rows(codes, "promotion_code", "code") == {"a": "TWO", "b": "ONE"}
    codes.check_settled()


@pytest.mark.parametrize("swaps", [True, False], ids=["the codes swap", "their coupon changes"])
def test_an_object_that_has_ended_for_its_replacement_is_back_with_its_tag_if_the_row_is_as_it_was(codes, swaps):
    write_codes(codes, ("a", "ONE"), ("b", "TWO"))
    synced(codes)
    made = codes.objects("promotion_code")
    codes.hand.v1.coupons.create({"id": "THIRD", "percent_off": 33, "duration": "once"})
    if swaps:
        write_codes(codes, ("a", "TWO"), ("b", "ONE"))
    else:
        use_coupon(codes, "THIRD")
    refuse_creation(codes)
    write_codes(codes, ("a", "ONE"), ("b", "TWO"))
    use_coupon(codes, "HALF")

    synced(codes)

    assert codes.objects("promotion_code") == made


def test_an_object_that_is_adopted_after_it_had_ended_no_longer_says_that_another_has_replaced_it(codes):
    """The state was lost between the end and the creation, and the code is found by its text."""
    write_codes(codes, ("a", "ONE"), ("b", "TWO"))
    synced(codes)
    made = codes.objects("promotion_code")
    write_codes(codes, ("a", "TWO"), ("b", "ONE"))
    refuse_creation(codes)
    codes.business.state.unlink()
    codes.sync("codes", **codes.business.models["codes"]["meta"]["stripe_sync"], match=["code"])
    write_codes(codes, ("a", "ONE"), ("b", "TWO"))

    synced(codes)

    assert codes.objects("promotion_code") == made


def test_a_code_that_returns_when_its_new_owner_leaves_is_active_again(codes):
    write_codes(codes, ("a", "SPRING"), ("z", "OTHER"))
    synced(codes)
    write_codes(codes, ("b", "SPRING"), ("z", "OTHER"))
    synced(codes)
    write_codes(codes, ("a", "SPRING"), ("z", "OTHER"))

    synced(codes)

    assert of_rows(codes, "promotion_code", "code") == {"a": "SPRING", "z": "OTHER"}


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_row_returns_with_its_code_which_another_row_gives_up_only_at_its_end(codes):
    """The archived code of row z no longer holds it, so its new one waits for row y to give it up."""
    write_codes(codes, ("x", "TWO"), ("y", "ONE"), ("z", "THREE"))
    synced(codes)
    write_codes(codes, ("x", "TWO"), ("y", "THREE"))
    synced(codes)
    codes.hand.v1.coupons.create({"id": "THIRD", "percent_off": 33, "duration": "once"})
    codes.sync(
        "codes",
        resource="promotion_code",
        fields={"promotion": {"value": {"type": "coupon", "coupon": "THIRD"}}, "code": "code", "metadata.row": "id"},
        on_removed="archive",
    )
    write_codes(codes, ("x", "ONE"), ("y", "two"), ("z", "THREE"))

    synced(codes)

    assert of_rows(codes, "promotion_code", "code") == {"x": "ONE", "y": "two", "z": "THREE"}


def test_codes_that_swap_wait_for_each_other_while_a_limit_leaves_one_for_later(codes):
    write_codes(codes, ("x", "ONE"), ("y", "TWO"))
    synced(codes)
    write_codes(codes, ("x", "TWO"), ("y", "ONE"))

    ran = codes.run("run", "--limit", "1")

    assert "row [y] of `codes` still has this `code`, and --limit leaves it for later" in ran.text
    assert of_rows(codes, "promotion_code", "code") == {"x": "ONE", "y": "TWO"}
    synced(codes)
    assert of_rows(codes, "promotion_code", "code") == {"x": "TWO", "y": "ONE"}


def test_a_code_moves_in_two_runs_if_the_row_that_has_it_starts_later(codes):
    write_codes(codes, ("x", "ONE"), ("y", "TWO"))
    meta = codes.business.models["codes"]["meta"]["stripe_sync"]
    codes.rows("more", ("z", "THREE"), columns="id text, code text")
    codes.sync("more", **{name: value for name, value in meta.items() if name != "key"})
    codes.business.sync("codes", **meta, after=["more"])
    synced(codes)
    write_codes(codes, ("x", "ONE"))
    codes.rows("more", ("z", "TWO"), columns="id text, code text")

    ran = codes.succeeds()

    assert "row [y] of `codes` has to change first, and `codes` starts after `more`" in ran.text
    synced(codes)
    assert of_rows(codes, "promotion_code", "code") == {"x": "ONE", "z": "TWO"}


def test_a_code_stays_with_its_row_while_that_rows_sync_is_held_back(codes):
    write_codes(codes, ("x", "ONE"), ("y", "TWO"))
    synced(codes)
    more = {**codes.business.models["codes"]["meta"]["stripe_sync"]}
    codes.business.sync("codes", **more, limits={"max_removed": 0})
    codes.sync("more", **{name: value for name, value in more.items() if name != "key"})
    write_codes(codes, ("x", "ONE"))
    codes.rows("more", ("z", "TWO"), columns="id text, code text")

    ran = codes.fails()

    assert "error[max-removed]" in ran.text
    assert "only one object can have this `code`, and row [y] of `codes` has it" in ran.text
    assert of_rows(codes, "promotion_code", "code") == {"x": "ONE", "y": "TWO"}


def test_a_coupon_id_moves_from_a_removed_row_to_a_new_one(coupons):
    write_coupons(coupons, ("a", "TEN", 10), ("b", "HALF", 50))
    synced(coupons)
    write_coupons(coupons, ("a2", "TEN", 11), ("b", "HALF", 50))

    synced(coupons)

    assert {c["id"]: c["percent_off"] for c in coupons.objects("coupon")} == {"TEN": 11, "HALF": 50}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([("a", "A", 1), ("b", "B", 2)], [("a", "B", 1), ("b", "A", 2)]),
        ([("a", "A", 1), ("b", "B", 2), ("c", "C", 3)], [("a", "B", 1), ("b", "C", 2), ("c", "A", 3)]),
        ([("a", "A", 1), ("b", "B", 2)], [("a", "B", 3), ("b", "C", 2)]),
    ],
    ids=["two rows swap", "three rows rotate", "one moves on and the other takes its place"],
)
def test_the_ids_of_coupons_swap_and_rotate(coupons, before, after):
    write_coupons(coupons, *before)
    synced(coupons)
    write_coupons(coupons, *after)

    synced(coupons)

    assert {c["metadata"]["row"]: (c["id"], c["percent_off"]) for c in coupons.objects("coupon")} == {
        row: (code, pct) for row, code, pct in after
    }


def lose_the_answer_to_creation(shop, path):
    """A run that creates an object, of which it only hears that something went wrong."""
    shop.stripe.inject(Fault.status_code(500, after_effect=True, count=None, method="POST", path=f"^{path}$"))
    shop.fails()
    shop.stripe.clear_faults()


@pytest.mark.usefixtures("without_waiting")
def test_a_coupon_with_the_id_of_the_one_that_it_replaces_is_found_if_its_creation_was_not_answered(coupons):
    write_coupons(coupons, ("a", "TEN", 10), ("b", "HALF", 50))
    synced(coupons)
    write_coupons(coupons, ("a", "TEN", 11), ("b", "HALF", 50))
    lose_the_answer_to_creation(coupons, "/v1/coupons")

    synced(coupons)

    assert {c["id"]: c["percent_off"] for c in coupons.objects("coupon")} == {"TEN": 11, "HALF": 50}


@pytest.mark.usefixtures("without_waiting")
def test_a_sync_whose_only_coupon_ended_for_one_of_unknown_creation_has_to_run_before_it_is_renamed(coupons):
    """No record is left that says so."""
    write_coupons(coupons, ("a", "TEN", 10))
    synced(coupons)
    write_coupons(coupons, ("a", "TEN", 11))
    lose_the_answer_to_creation(coupons, "/v1/coupons")

    moved = coupons.run("state", "mv", "coupons", "offers")

    assert moved.exit_code == 2
    assert "sync-undecided" in moved.text


@pytest.mark.usefixtures("without_waiting")
def test_a_product_that_returns_with_its_id_is_found_if_its_creation_was_not_answered(shop):
    shop.sync(
        "products",
        resource="product",
        fields={"id": "sku", "name": "name"},
        on_removed="delete",
        limits={"max_removed": "100%"},
    )
    rows = [("1", "desk", "Desk"), ("2", "chair", "Chair")]
    for some in (rows, rows[1:]):
        shop.rows("products", *some, columns="id text, sku text, name text")
        synced(shop)
    shop.rows("products", *rows, columns="id text, sku text, name text")
    lose_the_answer_to_creation(shop, "/v1/products")

    synced(shop)

    assert {p["id"] for p in shop.objects("product")} == {"desk", "chair"}


@pytest.mark.parametrize(
    "after",
    [
        [("a", "TEN", 10), ("b", "HALF", 50)],
        [("a", "TEN", 12), ("b", "HALF", 50)],
        [("a", "NINE", 9), ("b", "HALF", 50), ("c", "TEN", 10)],
        [("a", "HALF", 50), ("b", "TEN", 10)],
    ],
    ids=["its row reverts", "its row takes it again", "another row takes it", "rows rotate"],
)
@pytest.mark.parametrize("by_hand", [False, True], ids=["still there", "deleted by hand"])
def test_an_owed_end_never_hits_a_new_coupon_that_takes_the_id_of_the_old_one(coupons, after, by_hand):
    write_coupons(coupons, ("a", "TEN", 10), ("b", "HALF", 50))
    synced(coupons)
    write_coupons(coupons, ("a", "NINE", 10), ("b", "HALF", 50))
    coupons.stripe.inject(Fault.forbidden(count=None, method="DELETE", path="^/v1/coupons/"))
    coupons.fails()
    coupons.stripe.clear_faults()
    if by_hand:
        coupons.hand.v1.coupons.delete("TEN")
    write_coupons(coupons, *after)

    synced(coupons)

    assert {c["metadata"]["row"]: (c["id"], c["percent_off"]) for c in coupons.objects("coupon")} == {
        row: (code, pct) for row, code, pct in after
    }


def test_no_coupon_ends_for_one_whose_id_is_not_free_yet(coupons):
    """The owed end is still refused, so the id stays taken, and the row keeps the coupon that it has."""
    write_coupons(coupons, ("a", "TEN", 10), ("b", "HALF", 50))
    synced(coupons)
    write_coupons(coupons, ("a", "NINE", 10), ("b", "HALF", 50))
    coupons.stripe.inject(Fault.forbidden(count=None, method="DELETE", path="^/v1/coupons/TEN"))
    coupons.fails()
    write_coupons(coupons, ("a", "TEN", 10), ("b", "NINE", 50))

    coupons.fails()

    assert of_rows(coupons, "coupon", "id") == {"a": "NINE", "b": "HALF"}
    coupons.stripe.clear_faults()
    synced(coupons)
    assert of_rows(coupons, "coupon", "id") == {"a": "TEN", "b": "NINE"}


def test_a_product_id_moves_from_a_deleted_row_to_a_new_one(shop):
    shop.sync(
        "products",
        resource="product",
        fields={"id": "sku", "name": "name"},
        on_removed="delete",
        limits={"max_removed": "100%"},
    )
    shop.rows("products", ("1", "desk", "Desk"), ("2", "chair", "Chair"), columns="id text, sku text, name text")
    synced(shop)
    shop.rows("products", ("3", "desk", "New desk"), ("2", "chair", "Chair"), columns="id text, sku text, name text")

    synced(shop)

    assert {p["id"]: p["name"] for p in shop.objects("product")} == {"desk": "New desk", "chair": "Chair"}


def test_products_that_would_swap_their_ids_are_left_unchanged(shop):
    shop.sync("products", resource="product", fields={"id": "sku", "name": "name"})
    shop.rows("products", ("1", "desk", "Desk"), ("2", "chair", "Chair"), columns="id text, sku text, name text")
    synced(shop)
    shop.writes()
    shop.rows("products", ("1", "chair", "Desk"), ("2", "desk", "Chair"), columns="id text, sku text, name text")

    ran = shop.fails()

    assert "immutable-changed" in ran.text
    assert shop.writes() == []


def test_the_lookup_key_of_an_archived_feature_stays_taken_and_the_row_says_so(features):
    features.rows("features", ("1", "sso", "SSO"), ("2", "api", "API"), columns="id text, code text, name text")
    synced(features)
    features.rows("features", ("3", "sso", "SSO 2"), ("2", "api", "API"), columns="id text, code text, name text")

    ran = features.run()

    names = {f["name"] for f in features.living("entitlements.feature") if f["lookup_key"] == "sso"}
    assert (ran.exit_code, names) == (1, set()), ran.text
    assert "lookup_key" in ran.text


def test_a_code_whose_end_was_refused_moves_to_another_row_after_it_ended(codes):
    """Stripe has no parameter that takes a code over, and the end that is owed is sent in the same run."""
    write_codes(codes, ("a", "ALPHA"), ("b", "BETA"))
    synced(codes)
    write_codes(codes, ("a", "GAMMA"), ("b", "BETA"))
    codes.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/promotion_codes/"))
    codes.fails()
    codes.stripe.clear_faults()
    write_codes(codes, ("a", "GAMMA"), ("b", "ALPHA"))

    codes.run()
    synced(codes)

    assert of_rows(codes, "promotion_code", "code") == {"a": "GAMMA", "b": "ALPHA"}


@pytest.fixture
def plans(shop):
    """Plans with ids of their own. Deleting one leaves its subscribers as they are."""
    shop.sync(
        "plans",
        resource="plan",
        fields={
            "id": "code",
            "amount": "cents",
            "currency": USD,
            "interval": {"value": "month"},
            "product.name": "id",
            "metadata.row": "id",
        },
    )
    return shop


@pytest.mark.parametrize(
    "after",
    [[("a", "GOLD", 110), ("b", "BASIC", 200)], [("a", "BASIC", 100), ("b", "GOLD", 200)]],
    ids=["price", "swap"],
)
def test_a_plan_keeps_or_swaps_its_id_although_another_plan_replaces_it(plans, after):
    plans.rows("plans", ("a", "GOLD", 100), ("b", "BASIC", 200), columns="id text, code text, cents int")
    synced(plans)
    plans.rows("plans", *after, columns="id text, code text, cents int")

    synced(plans)

    assert {p["metadata"]["row"]: (p["id"], p["amount"]) for p in plans.living("plan")} == {
        row: (code, cents) for row, code, cents in after
    }


def test_a_plan_that_replaces_another_sells_the_product_that_was_created_with_the_old_one(plans):
    plans.rows("plans", ("a", "GOLD", 100), ("b", None, 200), columns="id text, code text, cents int")
    synced(plans)
    products = [plan["product"] for plan in plans.objects("plan")]
    plans.rows("plans", ("a", "GOLD", 110), ("b", None, 220), columns="id text, code text, cents int")

    synced(plans)

    assert sorted(plan["product"] for plan in plans.objects("plan")) == sorted(products)
    assert plans.stripe.count("product") == 2


def test_a_plan_whose_product_was_described_in_its_row_is_not_replaced_after_the_state_is_lost(plans):
    """A plan shows its product's id, and not the description from which Stripe created it."""
    plans.rows("plans", ("a", "GOLD", 100), ("b", None, 200), columns="id text, code text, cents int")
    synced(plans)
    before = plans.objects("plan")
    plans.business.state.unlink()
    plans.succeeds("state", "rebuild")

    synced(plans)

    assert plans.objects("plan") == before


# ── ids that return before the object that has them has ended ────────────────────────────────────────────────────


@pytest.fixture
def coupons_with_codes(coupons):
    """Coupons with ids of their own, and promotion codes of them."""
    coupons.sync(
        "codes",
        resource="promotion_code",
        fields={
            "promotion.type": {"value": "coupon"},
            "promotion.coupon": {"sync": "coupons", "key": "coupon"},
            "code": "code",
            "metadata.row": "id",
        },
        on_removed="archive",
    )
    return coupons


def write_both(shop, coupons, codes):
    write_coupons(shop, *coupons)
    shop.rows("codes", *codes, columns="id text, coupon text, code text")


def offered(shop):
    """Each code that a customer can redeem, with the id of its coupon."""
    return {o["code"]: o["promotion"]["coupon"] for o in shop.living("promotion_code")}


@pytest.mark.parametrize(
    ("now", "code"),
    [
        ([("a", "ONE", 10), ("c", "TWO", 20)], ("x", "c", "SPRING")),
        ([("a", "TWO", 20)], ("x", "a", "SUMMER")),
    ],
    ids=["a row under another key takes it", "a row that was there takes it"],
)
def test_the_id_of_a_removed_coupon_moves_although_its_promotion_code_follows(coupons_with_codes, now, code):
    write_both(coupons_with_codes, [("a", "ONE", 10), ("b", "TWO", 20)], [("x", "b", "SPRING")])
    synced(coupons_with_codes)
    write_both(coupons_with_codes, now, [code])

    synced(coupons_with_codes)

    assert {c["id"]: c["percent_off"] for c in coupons_with_codes.objects("coupon")} == {
        id_: pct for _, id_, pct in now
    }
    assert offered(coupons_with_codes) == {code[2]: "TWO"}


def test_the_end_of_a_coupon_does_not_wait_because_a_plan_has_the_same_id(coupons, plans):
    write_coupons(coupons, ("a", "TEN", 10))
    plans.rows("plans", ("p", "TEN", 100), columns="id text, code text, cents int")
    synced(coupons)
    write_coupons(coupons, ("a", "HALF", 50))
    coupons.stripe.inject(Fault.forbidden(count=None, method="DELETE", path="^/v1/coupons/"))
    coupons.fails()
    coupons.stripe.clear_faults()

    synced(coupons)

    assert [c["id"] for c in coupons.objects("coupon")] == ["HALF"]


# ── a lost state and several objects of one row ──────────────────────────────────────────────────────────────────


@pytest.fixture
def price_twice(prices):
    """A price that a killed run has replaced and not ended, and whose state is lost."""
    write_prices(prices, ("a", "starter", 100))
    synced(prices)
    (old,) = prices.living("price")
    prices.stripe.advance(60)  # Stripe's times are in whole seconds, by which the newer one is known
    write_prices(prices, ("a", "starter", 110))
    prices.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/prices/"))
    prices.fails()
    prices.stripe.clear_faults()
    prices.business.state.unlink()
    return prices, old["id"]


def test_a_rebuild_names_the_objects_in_use_whose_row_has_a_newer_one(price_twice):
    prices, old = price_twice

    ran = prices.run("state", "rebuild")

    assert ran.exit_code == 1
    assert f"{old} is in use, too, and has the tag of a row with a newer object: end it in Stripe" in ran.text
    synced(prices)
    assert keys(prices) == {"starter": 110}


def test_a_run_that_adopts_a_rows_newest_object_names_the_others_in_use(price_twice):
    prices, old = price_twice

    ran = prices.succeeds()

    assert f"{old} is in use, too, and has the tag of a row with a newer object: end it in Stripe" in ran.text
    prices.hand.v1.prices.update(old, {"active": False, "metadata": {"dbt_stripe_sync": ""}})
    prices.check_settled()


def test_a_row_that_leaves_after_a_rebuild_returns_to_its_object_and_its_key_moves(prices):
    """The record of the ended object has what it shows: its key, and everything that would need a new object."""
    known = prices.business.models["prices"]["meta"]["stripe_sync"]
    fields = {**known["fields"], "lookup_key": {"column": "lookup", "nulls": "clear"}}
    prices.business.sync("prices", **{**known, "fields": fields})
    write_prices(prices, ("a", None, 100), ("b", "pro", 200))
    synced(prices)
    prices.business.state.unlink()
    prices.succeeds("state", "rebuild")
    write_prices(prices, ("a", None, 100))
    synced(prices)
    write_prices(prices, ("a", "pro", 100), ("b", None, 200))

    synced(prices)

    found = {(price["lookup_key"], price["unit_amount"], price["active"]) for price in prices.objects("price")}
    assert found == {("pro", 100, True), (None, 200, True)}
    assert prices.stripe.count("price") == 2


@pytest.mark.parametrize("is_rebuilt", [False, True], ids=["recorded", "rebuilt"])
def test_a_row_gets_its_key_back_although_its_own_change_failed_when_another_row_took_it(prices, is_rebuilt):
    """The object no longer has the key, whatever became of the row's own change."""
    write_prices(prices, ("a", "basic", 100), ("b", "pro", 200))
    synced(prices)
    if is_rebuilt:
        prices.business.state.unlink()
        prices.succeeds("state", "rebuild")
    (a,) = (price["id"] for price in prices.objects("price") if price["lookup_key"] == "basic")
    prices.stripe.inject(Fault.forbidden(count=None, method="POST", path=f"^/v1/prices/{a}$"))
    write_prices(prices, ("a", "pro", 100), ("b", "basic", 200))
    prices.fails()
    prices.stripe.clear_faults()
    assert keys(prices) == {"basic": 200}
    write_prices(prices, ("a", "basic", 100), ("b", "pro", 200))

    synced(prices)

    assert keys(prices) == {"basic": 100, "pro": 200}
