"""A row leaves the model, with its object in every status, and comes back."""

from __future__ import annotations

import pytest
from core_shop import DAY, at
from core_table import PRICED, PRODUCT, SUBSCRIPTION, TABLE

CASES = [(core, leaving) for core in TABLE for leaving in core.leavings]


def reach(shop, state):
    """Bring the object of row `k` into a state; its id."""
    made = shop.object()["id"]
    for method, path, params in state.calls:
        shop.call(method, path.format(path=shop.core.path), params)
    shop.business.stripe.advance(state.days * DAY)
    found = shop.find(made)
    assert {path: at(found, path) for path in state.shows} == state.shows
    return made


def look(shop, stripe_id, expected):
    """Assert what an object shows, None where it is gone."""
    found = shop.find(stripe_id)
    if expected is None:
        assert found is None
    else:
        assert {path: at(found, path) for path in expected} == expected


@pytest.mark.parametrize(
    ("core", "case"), CASES, ids=lambda part: getattr(part, "resource", None) or f"{part.on_removed}-{part.state.name}"
)
def test_a_row_can_be_removed_and_return(shop_for, core, case):
    shop = shop_for(core)
    columns = {"ends": "NULL::timestamp"} if core is SUBSCRIPTION else {}
    but = {**columns, **case.state.columns}
    shop.rows(("k", "stays"), but=but)
    shop.sync(on_removed=case.on_removed)
    shop.run()
    made = reach(shop, case.state)
    stays = shop.object("stays")["id"]

    shop.rows(("stays",))
    ran = shop.run()
    assert shop.writes() == ([case.sends.format(path=core.path, id=made)] if case.sends else [])
    assert case.note is None or case.note in ran.text
    look(shop, made, case.ends)
    shop.run()
    assert shop.writes() == []

    shop.business.stripe.advance(case.days_until_back * DAY)
    shop.rows(("k", "stays"), but=but)
    shop.run()
    writes = shop.writes()
    if case.back == "new":
        assert (writes, shop.object()["id"] != made) == ([f"POST {core.path}"], True)
    elif case.back == "revived":
        assert writes == [f"POST {core.path}/{made}"]
        look(shop, made, {name: not value for name, value in case.ends.items() if isinstance(value, bool)})
    else:
        assert writes == []
        look(shop, made, case.ends)
    shop.run()
    assert shop.writes() == []
    assert shop.object("stays")["id"] == stays


def test_a_product_with_prices_cannot_be_deleted_and_the_report_says_why(shop_for):
    shop = shop_for(PRODUCT)
    shop.rows(("k", "stays"))
    shop.sync(on_removed="delete")
    shop.run()
    made = reach(shop, PRICED)
    shop.rows(("stays",))

    ran = shop.cli()

    assert ran.exit_code == 1
    assert f"{made} can't be deleted: Stripe keeps a product with" in ran.text
    look(shop, made, {"active": True})
    shop.sync(on_removed="archive")
    shop.run()
    look(shop, made, {"active": False})
