"""A shop that uses every kind of object whose life differs, in three generations of its tables.

From one generation to the next, rows come, change, change what Stripe can't change, leave, and come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from business import Business

GENERATIONS = 3
CUSTOMER = {"sync": "customers", "key": "customer"}
PRICE = {"sync": "prices", "key": "price"}
USD = {"value": "usd"}


def _dollars(column: str) -> dict[str, Any]:
    return {"column": column, "as": "minor_units", "currency": "usd"}


# Each sync: its resource, what happens to a row that left, its other settings, its columns, its fields, and the rows of
# each generation. Columns are texts but for those with a type.
SYNCS: dict[str, dict[str, Any]] = {
    "products": {
        "meta": {"resource": "product", "on_removed": "archive"},
        "columns": ("id", "name"),
        "fields": {"name": "name"},
        "rows": (
            [("p1", "Desk"), ("p2", "Chair"), ("p3", "Lamp")],
            [("p1", "Desk XL"), ("p2", "Chair"), ("p4", "Shelf")],
            [("p1", "Desk XL"), ("p2", "Chair"), ("p3", "Lamp"), ("p4", "Shelf")],
        ),
    },
    "prices": {
        "meta": {"resource": "price", "on_removed": "archive"},
        "columns": ("id", "product", "amount decimal(10, 2)", "nickname"),
        "fields": {
            "product": {"sync": "products", "key": "product"},
            "currency": USD,
            "unit_amount": _dollars("amount"),
            "recurring.interval": {"value": "month"},
            "lookup_key": "id",
            "nickname": "nickname",
        },
        "rows": (
            [("m1", "p1", "10", "a"), ("m2", "p2", "20", "a"), ("m3", "p1", "30", "a")],
            [("m1", "p1", "10", "b"), ("m2", "p2", "25", "a"), ("m4", "p2", "40", "a")],
            [("m1", "p1", "10", "b"), ("m2", "p2", "26", "c"), ("m3", "p1", "30", "a"), ("m4", "p2", "41", "a")],
        ),
    },
    "customers": {
        "meta": {"resource": "customer", "on_removed": "delete"},
        "columns": ("id", "email", "name"),
        "fields": {"email": "email", "name": "name"},
        "rows": (
            [("c1", "a@example.com", "Ann"), ("c2", "b@example.com", "Bob"), ("c3", "c@example.com", "Cem")],
            [("c1", "a@example.com", "Anna"), ("c2", "b2@example.com", "Bob"), ("c4", "d@example.com", "Dee")],
            [("c1", "a@example.com", None), ("c2", "b@example.com", "Bob"), ("c3", "c@example.com", "Cem")],
        ),
    },
    "tax_rates": {
        "meta": {"resource": "tax_rate", "on_removed": "archive"},
        "columns": ("id", "title", "percent decimal(5, 2)"),
        "fields": {"display_name": "title", "percentage": "percent", "inclusive": {"value": False}},
        "rows": (
            [("t1", "VAT", "19"), ("t2", "GST", "5")],
            [("t1", "VAT", "20"), ("t3", "PST", "7")],
            [("t1", "USt", "20"), ("t2", "GST", "5"), ("t3", "PST", "7")],
        ),
    },
    "coupons": {
        "meta": {"resource": "coupon", "on_removed": "delete"},
        "columns": ("id", "title", "percent decimal(5, 2)"),
        "fields": {"name": "title", "percent_off": "percent", "duration": {"value": "once"}},
        "rows": (
            [("k1", "Ten", "10"), ("k2", "Half", "50"), ("k3", "All", "100")],
            [("k1", "Ten", "10"), ("k2", "Third", "50"), ("k4", "Four", "4")],
            [("k1", "Ten!", "10"), ("k2", "Third", "33"), ("k3", "All", "100")],
        ),
    },
    "codes": {
        "meta": {"resource": "promotion_code", "on_removed": "archive"},
        "columns": ("id", "coupon", "code"),
        "fields": {
            "promotion.type": {"value": "coupon"},
            "promotion.coupon": {"sync": "coupons", "key": "coupon"},
            "code": "code",
        },
        "rows": (
            [("x1", "k1", "ONE"), ("x2", "k1", "TWO")],
            [("x1", "k1", "ONE"), ("x3", "k1", "THREE")],
            [("x1", "k1", "ONE"), ("x2", "k1", "TWO"), ("x3", "k1", "THREE")],
        ),
    },
    "shipping": {
        "meta": {"resource": "shipping_rate", "on_removed": "archive"},
        "columns": ("id", "title", "amount decimal(10, 2)"),
        "fields": {
            "display_name": "title",
            "type": {"value": "fixed_amount"},
            "fixed_amount.amount": _dollars("amount"),
            "fixed_amount.currency": USD,
        },
        "rows": (
            [("h1", "Slow", "5"), ("h2", "Fast", "9")],
            [("h1", "Slowest", "5"), ("h3", "Air", "99")],
            [("h1", "Slowest", "5"), ("h2", "Fast", "9"), ("h3", "Air", "99")],
        ),
    },
    "subs": {
        "meta": {"resource": "subscription", "on_removed": "cancel"},
        "columns": ("id", "customer", "price", "seats int"),
        "fields": {
            "customer": CUSTOMER,
            "items": [{"price": PRICE, "quantity": "seats"}],
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            # What the rest of a period costs depends on the second in which it is asked.
            "proration_behavior": {"value": "none"},
        },
        "rows": (
            [("s1", "c1", "m1", 1), ("s2", "c2", "m2", 2), ("s3", "c1", "m1", 3)],
            [("s1", "c1", "m1", 5), ("s2", "c2", "m2", 2), ("s4", "c2", "m1", 4)],
            [("s1", "c1", "m2", 5), ("s2", "c2", "m2", 7), ("s3", "c1", "m1", 3), ("s4", "c2", "m1", 4)],
        ),
    },
    "invoices": {
        "meta": {"resource": "invoice", "on_removed": "void"},
        "columns": ("id", "customer", "memo"),
        "fields": {
            "customer": CUSTOMER,
            "description": "memo",
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            "auto_advance": {"value": False},
            "pending_invoice_items_behavior": {"value": "exclude"},
        },
        "rows": (
            [("i1", "c1", "one"), ("i2", "c2", "two"), ("i3", "c1", "three")],
            [("i1", "c1", "ones"), ("i2", "c2", "two"), ("i4", "c2", "four")],
            [("i1", "c1", "ones"), ("i2", "c2", "twos"), ("i3", "c1", "three"), ("i4", "c2", "four")],
        ),
    },
    "lines": {
        "meta": {"resource": "invoice_item", "on_removed": "delete"},
        "columns": ("id", "customer", "invoice", "amount decimal(10, 2)", "memo"),
        "fields": {
            "customer": CUSTOMER,
            "invoice": {"sync": "invoices", "key": "invoice"},
            "amount": _dollars("amount"),
            "currency": USD,
            "description": "memo",
        },
        "rows": (
            [("l1", "c1", "i1", "1", "a"), ("l2", "c2", "i2", "2", "b"), ("l3", "c1", "i1", "3", "c")],
            [("l1", "c1", "i1", "11", "a"), ("l2", "c2", "i2", "2", "bb"), ("l4", "c2", "i4", "4", "d")],
            [("l1", "c1", "i1", "11", "aa"), ("l2", "c2", "i2", "2", "bb"), ("l3", "c1", "i1", "3", "c")],
        ),
    },
    "quotes": {
        "meta": {"resource": "quote", "on_removed": "cancel"},
        "columns": ("id", "customer", "price", "seats int", "memo"),
        "fields": {"customer": CUSTOMER, "line_items": [{"price": PRICE, "quantity": "seats"}], "description": "memo"},
        "rows": (
            [("q1", "c1", "m1", 1, "one"), ("q2", "c2", "m1", 2, "two")],
            [("q1", "c1", "m1", 1, "ones"), ("q3", "c2", "m1", 3, "three")],
            [("q1", "c1", "m1", 1, "one"), ("q2", "c2", "m1", 2, "two"), ("q3", "c2", "m1", 3, "threes")],
        ),
    },
    "tax_ids": {
        "meta": {"resource": "customer.tax_id", "mode": "upsert", "on_removed": "delete"},
        "columns": ("id", "customer", "number"),
        "fields": {"customer": CUSTOMER, "type": {"value": "eu_vat"}, "value": "number"},
        "rows": (
            [("v1", "c1", "DE123456789"), ("v2", "c2", "DE223456789")],
            [("v1", "c1", "DE123456780"), ("v3", "c2", "DE323456789")],
            [("v1", "c1", "DE123456780"), ("v2", "c2", "DE223456789"), ("v3", "c2", "DE323456789")],
        ),
    },
    "balances": {
        "meta": {"resource": "customer.balance_transaction"},
        "columns": ("id", "customer", "amount decimal(10, 2)"),
        "fields": {"customer": CUSTOMER, "amount": _dollars("amount"), "currency": USD},
        "rows": (
            [("b1", "c1", "-5"), ("b2", "c2", "-6")],
            [("b1", "c1", "-5"), ("b2", "c2", "-6"), ("b3", "c1", "7")],
            [("b1", "c1", "-5"), ("b2", "c2", "-6"), ("b3", "c1", "7"), ("b4", "c2", "8")],
        ),
    },
    "meters": {
        "meta": {"resource": "billing.meter", "on_removed": "deactivate"},
        "columns": ("id", "title"),
        "fields": {"event_name": "id", "display_name": "title", "default_aggregation.formula": {"value": "sum"}},
        "rows": (
            [("calls", "Calls"), ("bytes", "Bytes")],
            [("calls", "API calls"), ("files", "Files")],
            [("calls", "API calls"), ("files", "All files")],
        ),
    },
    "events": {
        "meta": {"resource": "billing.meter_event", "mode": "insert", "after": "meters"},
        "columns": ("id", "customer", "n int"),
        "fields": {
            "event_name": {"value": "calls"},
            "identifier": "id",
            "payload.stripe_customer_id": CUSTOMER,
            "payload.value": "n",
        },
        "rows": (
            [("e1", "c1", 1), ("e2", "c2", 2)],
            [("e1", "c1", 1), ("e2", "c2", 2), ("e3", "c1", 3)],
            [("e3", "c1", 3), ("e4", "c2", 4)],
        ),
    },
    "features": {
        "meta": {"resource": "entitlements.feature", "on_removed": "archive"},
        "columns": ("id", "name"),
        "fields": {"lookup_key": "id", "name": "name"},
        "rows": (
            [("sso", "SSO"), ("audit", "Audit")],
            [("sso", "Single sign-on"), ("api", "API")],
            [("sso", "Single sign-on"), ("audit", "Audit log"), ("api", "API")],
        ),
    },
    "links": {
        "meta": {"resource": "payment_link", "on_removed": "archive"},
        "columns": ("id", "price", "seats int", "on_off"),
        "fields": {
            "line_items": [{"price": PRICE, "quantity": "seats"}],
            "billing_address_collection": "on_off",
        },
        "rows": (
            [("n1", "m1", 1, "auto"), ("n2", "m1", 2, "auto")],
            [("n1", "m1", 1, "required"), ("n3", "m1", 3, "auto")],
            [("n1", "m1", 1, "required"), ("n2", "m1", 2, "auto"), ("n3", "m1", 3, "auto")],
        ),
    },
}
# Objects that change in a certain order: default prices that move on as their prices end, values that only one object
# has, and codes that go with their coupons.
TIED: dict[str, dict[str, Any]] = {
    "desks": {
        "meta": {"resource": "product", "on_removed": "archive"},
        "columns": ("id", "name", "standard"),
        "fields": {"name": "name", "default_price": {"sync": "rates", "key": "standard"}},
        "rows": (
            [("d1", "Desk", "a1"), ("d2", "Lamp", "b1")],
            [("d1", "Desk", "a2"), ("d2", "Lamp", "b1")],
            [("d1", "Desk", "a1"), ("d2", "Lamp", None)],
        ),
    },
    "rates": {
        "meta": {"resource": "price", "on_removed": "archive"},
        "columns": ("id", "product", "amount decimal(10, 2)", "lookup"),
        "fields": {
            "product": {"sync": "desks", "key": "product"},
            "currency": USD,
            "unit_amount": _dollars("amount"),
            "recurring.interval": {"value": "month"},
            "lookup_key": "lookup",
        },
        "rows": (
            [
                ("a1", "d1", "10", "basic"),
                ("a2", "d1", "20", "plus"),
                ("a3", "d1", "30", "top"),
                ("b1", "d2", "5", None),
            ],
            [("a2", "d1", "20", "top"), ("a3", "d1", "30", "basic"), ("b1", "d2", "6", "plus")],
            [
                ("a1", "d1", "10", "basic"),
                ("a2", "d1", "21", "plus"),
                ("a3", "d1", "30", "top"),
                ("b1", "d2", "6", None),
            ],
        ),
    },
    "offers": {
        "meta": {"resource": "coupon", "on_removed": "delete"},
        "columns": ("id", "percent decimal(5, 2)"),
        "fields": {"percent_off": "percent", "duration": {"value": "once"}},
        "rows": (
            [("q1", "10"), ("q2", "20")],
            [("q1", "15"), ("q2", "20")],
            [("q1", "15"), ("q2", "25")],
        ),
    },
    "words": {
        "meta": {"resource": "promotion_code", "on_removed": "archive"},
        "columns": ("id", "offer", "code"),
        "fields": {
            "promotion.type": {"value": "coupon"},
            "promotion.coupon": {"sync": "offers", "key": "offer"},
            "code": "code",
        },
        "rows": (
            [("y1", "q1", "ALPHA"), ("y2", "q1", "BETA"), ("y3", "q2", "GAMMA")],
            [("y1", "q1", "BETA"), ("y2", "q1", "ALPHA"), ("y3", "q2", "GAMMA")],
            [("y1", "q2", "BETA"), ("y2", "q1", "GAMMA"), ("y3", "q2", "ALPHA")],
        ),
    },
}
SYNCS |= TIED
# Those that differ most, for the chains that everybody waits for.
FEW = ("products", "prices", "customers", "subs", "lines", "invoices", "tax_ids", "events", "meters")
# The fewest with references, replacements and items, for stores that take their time.
LEAST = ("products", "prices", "customers", "subs")
# Those that stay unchanged while days pass, and that a list shows once they are created.
TIMELESS = (
    "products",
    "prices",
    "customers",
    "coupons",
    "codes",
    "tax_rates",
    "shipping",
    "tax_ids",
    "features",
    "links",
)
KINDS = sorted({str(sync["meta"]["resource"]) for sync in SYNCS.values()})


def write_generation(business: Business, number: int, syncs: Iterable[str] = SYNCS) -> None:
    """Let the tables hold what they hold in one generation, 0 to 2."""
    for name, sync in ((name, SYNCS[name]) for name in syncs):
        columns = [column if " " in column else f"{column} text" for column in sync["columns"]]
        business.rows(name, *sync["rows"][number], columns=", ".join(columns))
        business.sync(name, key="id", fields=sync["fields"], **sync["meta"])
