"""A random business: rows come, change, swap and leave, people work in Stripe, requests fail, and runs die.

Once the faults have ended, Stripe is what the models say, nothing of anybody else's was touched, and the last run owes
nothing and sends nothing.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import stripe as sdk
from business import Business
from crash_harness import SENDING, Nursery
from fault_clock import FaultClock
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from dbt_stripe_sync import api
from dbt_stripe_sync.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TAG = "dbt_stripe_sync"
ENDED = frozenset({"canceled", "incomplete_expired"})
ACCOUNTS = count()
COLUMNS = {
    "people": "id text, email text",
    "products": "id text, name text, default_key text",
    "prices": "id text, product text, cents int, lookup text",
    "coupons": "id text, pct int",
    "codes": "id text, code text, coupon text",
    "subs": "id text, person text",
    "lines": "sub text, price text, seats int",
}
SYNCS: dict[str, dict[str, Any]] = {
    "people": {"resource": "customer", "fields": {"email": "email"}},
    "products": {
        "resource": "product",
        "on_removed": "archive",
        "fields": {"name": "name", "default_price": {"sync": "prices", "key": "default_key"}},
    },
    "prices": {
        "resource": "price",
        "on_removed": "archive",
        "fields": {
            "product": {"sync": "products", "key": "product"},
            "currency": {"value": "usd"},
            "unit_amount": "cents",
            "recurring.interval": {"value": "month"},
            "lookup_key": "lookup",
        },
    },
    "coupons": {
        "resource": "coupon",
        "on_removed": "delete",
        "fields": {"percent_off": "pct", "duration": {"value": "once"}},
    },
    "codes": {
        "resource": "promotion_code",
        "on_removed": "archive",
        "fields": {
            "code": "code",
            "promotion.type": {"value": "coupon"},
            "promotion.coupon": {"sync": "coupons", "key": "coupon"},
        },
    },
    "subs": {
        "resource": "subscription",
        "on_removed": "cancel",
        "fields": {
            "customer": {"sync": "people", "key": "person"},
            "items": {
                "model": "lines",
                "on": "sub",
                "fields": {"price": {"sync": "prices", "key": "price"}, "quantity": "seats"},
            },
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            "proration_behavior": {"value": "none"},
        },
    },
}
PEOPLE = ("c0", "c1")
PRODUCTS = ("p0", "p1")
# The product whose default price somebody chooses by hand: its row names none.
BY_HAND = "p1"
PRICES = {"m0": "p0", "n0": "p0", "o0": "p0", "m1": "p1", "n1": "p1"}
LOOKUPS = (None, "basic", "plus", "pro")
COUPONS = ("k0", "k1")
CODES = ("x0", "x1", "x2")
TEXTS = ("SPRING", "Summer", "WINTER", "summer2")
AMOUNTS = (1000, 1200, 1500)
FAULTS: dict[str, Any] = {
    "403": Fault.forbidden,
    "409": Fault.conflict,
    "429": Fault.rate_limited,
    "500": lambda **match: Fault.status_code(500, **match),
    "500 after the effect": lambda **match: Fault.status_code(500, after_effect=True, **match),
    "cut": lambda **match: Fault.cut(after_effect=False, **match),
    "cut after the effect": lambda **match: Fault.cut(after_effect=True, **match),
}
PATHS = (
    "^/v1/prices$",
    "^/v1/prices/",
    "^/v1/products/",
    "^/v1/coupons$",
    "^/v1/coupons/",
    "^/v1/promotion_codes$",
    "^/v1/promotion_codes/",
    "^/v1/subscriptions",
)


@dataclass
class Rows:
    """What the models say. The first row of each never leaves: an empty model is held back."""

    products: dict[str, tuple[str, str | None]] = field(
        default_factory=lambda: {"p0": ("Desk", None), "p1": ("Lamp", None)}
    )
    prices: dict[str, tuple[int, str | None]] = field(
        default_factory=lambda: {"m0": (1000, "basic"), "m1": (1000, None)}
    )
    coupons: dict[str, int] = field(default_factory=lambda: {"k0": 10})
    codes: dict[str, tuple[str, str]] = field(default_factory=lambda: {"x0": ("SPRING", "k0")})
    subs: dict[str, dict[str, int]] = field(default_factory=lambda: {"s0": {"m0": 1}})

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        return {
            "people": [(key, f"{key}@example.com") for key in PEOPLE],
            "products": [(key, *values) for key, values in self.products.items()],
            "prices": [(key, PRICES[key], *values) for key, values in self.prices.items()],
            "coupons": list(self.coupons.items()),
            "codes": [(key, *values) for key, values in self.codes.items()],
            "subs": [(key, key.replace("s", "c")) for key in self.subs],
            "lines": [(sub, price, seats) for sub, lines in self.subs.items() for price, seats in lines.items()],
        }


@dataclass
class World:
    """What all examples share: a sandbox, with an account for each of them, and the processes to be killed."""

    business: Business
    stripe: Sandbox
    nursery: Nursery
    output: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("model")
    with Sandbox(port=0) as sandbox, closing(Nursery()) as nursery:
        made = Business(root=folder / "shop", stripe=sandbox)
        made.set(account_per_second=100_000, endpoint_per_second=100_000)
        for model, columns in COLUMNS.items():
            made.rows(model, columns=columns)
        for model, meta in SYNCS.items():
            made.sync(model, key="id", limits={"max_removed": "100%"}, **meta)
        yield World(made, sandbox, nursery, folder / "output.txt")


class BusinessMachine(RuleBasedStateMachine):
    """One business from its first day on."""

    world: World

    @initialize()
    def open(self) -> None:
        self.account = f"acct_{next(ACCOUNTS)}"
        self.key = f"sk_test_{self.account}_0000"
        os.environ["STRIPE_API_KEY"] = self.key
        self.stripe, self.business = self.world.stripe, self.world.business
        self.stripe.clear_faults()
        shutil.rmtree(self.business.state.parent, ignore_errors=True)
        self.hand = sdk.StripeClient(self.key, base_addresses={"api": self.stripe.url}).v1
        self.rows = Rows()
        self.chosen: str | None = None
        self.foreign_items: dict[str, str] = {}
        product = self.hand.products.create({"name": "Theirs"}).id
        addon: Any = {"product": product, "currency": "usd", "unit_amount": 7, "recurring": {"interval": "month"}}
        self.addon = self.hand.prices.create(addon).id
        self.hand.coupons.create({"id": f"THEIRS{self.account[5:]}", "percent_off": 1, "duration": "once"})
        self.theirs = self.not_ours()

    # ── what the models say ──────────────────────────────────────────────────────────────────────────────────────

    @rule(key=st.sampled_from(sorted(PRICES)), cents=st.sampled_from(AMOUNTS))
    def set_amount(self, key: str, cents: int) -> None:
        self.rows.prices[key] = (cents, self.rows.prices.get(key, (0, None))[1])

    @rule(order=st.permutations(LOOKUPS))
    def move_lookup_keys(self, order: list[str | None]) -> None:
        """They move, swap and rotate."""
        keys = [*order, None, None, None]
        self.rows.prices = {key: (cents, keys[n]) for n, (key, (cents, _)) in enumerate(self.rows.prices.items())}

    @rule(key=st.sampled_from(["n0", "o0", "n1"]))
    def take_a_price_out(self, key: str) -> None:
        assume(all(key not in lines for lines in self.rows.subs.values()))
        assume(key not in (self.rows.products["p0"][1], self.chosen))
        self.rows.prices.pop(key, None)

    @rule(key=st.sampled_from(["m0", "n0", "o0", None]))
    def set_default_price(self, key: str | None) -> None:
        assume(key is None or key in self.rows.prices)
        self.rows.products["p0"] = (self.rows.products["p0"][0], key)

    @rule(key=st.sampled_from(PRODUCTS), name=st.sampled_from(["Desk", "Lamp", "Chair"]))
    def rename_a_product(self, key: str, name: str) -> None:
        self.rows.products[key] = (name, self.rows.products[key][1])

    @rule(key=st.sampled_from(COUPONS), pct=st.sampled_from([10, 20, 30]))
    def set_percentage(self, key: str, pct: int) -> None:
        self.rows.coupons[key] = pct

    @rule(key=st.sampled_from(COUPONS[1:]))
    def take_a_coupon_out(self, key: str) -> None:
        assume(all(coupon != key for _, coupon in self.rows.codes.values()))
        self.rows.coupons.pop(key, None)

    @rule(
        order=st.permutations(TEXTS),
        coupons=st.lists(st.sampled_from(COUPONS), min_size=3, max_size=3),
        n=st.integers(1, 3),
    )
    def hand_out_codes(self, order: list[str], coupons: list[str], n: int) -> None:
        """They come, move, swap, rotate, change their coupons, and leave."""
        there = [coupon if coupon in self.rows.coupons else "k0" for coupon in coupons]
        self.rows.codes = {key: (order[i], there[i]) for i, key in enumerate(CODES[:n])}

    @rule(
        sub=st.sampled_from(["s0", "s1"]),
        prices=st.sets(st.sampled_from(sorted(PRICES)), min_size=1),
        seats=st.integers(1, 3),
    )
    def subscribe(self, sub: str, prices: set[str], seats: int) -> None:
        there = sorted(prices & self.rows.prices.keys())
        assume(there)
        self.rows.subs[sub] = dict.fromkeys(there, seats)

    @rule()
    def unsubscribe(self) -> None:
        self.rows.subs.pop("s1", None)

    # ── what people do ───────────────────────────────────────────────────────────────────────────────────────────

    @rule(key=st.sampled_from(["m1", "n1"]))
    def choose_a_default_price_by_hand(self, key: str) -> None:
        price, product = self.mine("price").get(f"prices/{key}"), self.mine("product").get(f"products/{BY_HAND}")
        assume(price is not None and product is not None and key in self.rows.prices)
        assert price is not None
        assert product is not None
        self.hand.products.update(product["id"], {"default_price": price["id"]})
        self.chosen = key

    @rule(sub=st.sampled_from(["s0", "s1"]))
    def sell_an_addon(self, sub: str) -> None:
        found = self.mine("subscription").get(f"subs/{sub}")
        assume(found is not None and sub in self.rows.subs and found["id"] not in self.foreign_items)
        assert found is not None
        made = self.hand.subscription_items.create({"subscription": found["id"], "price": self.addon})
        self.foreign_items[found["id"]] = made.id

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────

    @rule(
        kind=st.sampled_from(sorted(FAULTS)),
        path=st.sampled_from(PATHS),
        skip=st.integers(0, 1),
        times=st.sampled_from([1, 20]),
    )
    def let_requests_fail(self, kind: str, path: str, skip: int, times: int) -> None:
        method = None if kind == "429" else "DELETE" if path == "^/v1/coupons/" else "POST"
        self.stripe.inject(FAULTS[kind](method=method, path=path, skip=skip, count=times))

    @rule()
    def run(self) -> None:
        self.write()
        ran = self.business.cli("run", "--yes")
        assert ran.exit_code in {0, 1}, ran.text
        assert "Traceback" not in ran.text

    @rule(point=st.sampled_from(SENDING), nth=st.sampled_from([1, 1, 2, 3, 5]))
    def run_and_die(self, point: str, nth: int) -> None:
        self.stripe.clear_faults()
        self.write()
        root = str(self.business.root)
        command = ["run", "--yes", "--project-dir", root, "--profiles-dir", root, "--stripe-url", self.stripe.url]
        self.world.nursery.run(point, nth, command, {"STRIPE_API_KEY": self.key}, self.world.output)

    @precondition(lambda self: hasattr(self, "rows"))
    @rule()
    def settle(self) -> None:
        """The faults end: after one run nothing is owed, nothing is left to send, and Stripe is what the models say."""
        self.stripe.clear_faults()
        self.write()
        ran = self.business.cli("run", "--yes")
        assert ran.exit_code == 0, ran.text
        self.stripe.reset_requests()
        again = self.business.cli("run", "--yes")
        assert again.exit_code == 0, again.text
        assert self.stripe.writes() == [], again.text
        assert self.owed() == 0, again.text
        self.compare()

    def teardown(self) -> None:
        if hasattr(self, "rows"):
            self.settle()

    # ── what there is ────────────────────────────────────────────────────────────────────────────────────────────

    def write(self) -> None:
        for model, rows in self.rows.tables().items():
            self.business.rows(model, *rows, columns=COLUMNS[model])

    def owed(self) -> int:
        with duckdb.connect(str(self.business.state), read_only=True) as state:
            return int(state.execute("SELECT count(*) FROM owed").fetchall()[0][0])

    def living(self, kind: str) -> list[dict[str, Any]]:
        objects = self.stripe.objects(kind, account=self.account)
        return [o for o in objects if o.get("active", True) and o.get("status") not in ENDED]

    def mine(self, kind: str) -> dict[str, dict[str, Any]]:
        """The objects of rows that are in use, by sync and key; the newest where a fault has left two."""
        tagged = [o for o in self.living(kind) if TAG in o["metadata"]]
        return {o["metadata"][TAG].removeprefix("shop/"): o for o in sorted(tagged, key=lambda o: o["created"])}

    def not_ours(self) -> dict[str, list[dict[str, Any]]]:
        kinds = ("customer", "product", "price", "coupon", "promotion_code", "subscription")
        marks = {TAG, f"{TAG}_former"}
        every = {kind: self.stripe.objects(kind, account=self.account) for kind in kinds}
        return {kind: [o for o in objects if not marks & o["metadata"].keys()] for kind, objects in every.items()}

    def compare(self) -> None:
        for kind in ("customer", "product", "price", "coupon", "promotion_code", "subscription"):
            tags = Counter(o["metadata"][TAG] for o in self.living(kind) if TAG in o["metadata"])
            assert [tag for tag, number in tags.items() if number > 1] == [], "two objects of one row"
        names = {o["id"]: tag for kind in ("price", "coupon") for tag, o in self.mine(kind).items()}
        rows = self.rows
        assert {tag: (o["unit_amount"], o["lookup_key"]) for tag, o in self.mine("price").items()} == {
            f"prices/{key}": values for key, values in rows.prices.items()
        }
        defaults = {"p0": rows.products["p0"][1], BY_HAND: self.chosen}
        assert {tag: (o["name"], names.get(o["default_price"])) for tag, o in self.mine("product").items()} == {
            f"products/{key}": (name, defaults[key] and f"prices/{defaults[key]}")
            for key, (name, _) in rows.products.items()
        }
        assert {tag: o["percent_off"] for tag, o in self.mine("coupon").items()} == {
            f"coupons/{key}": pct for key, pct in rows.coupons.items()
        }
        assert {
            tag: (o["code"], names[o["promotion"]["coupon"]]) for tag, o in self.mine("promotion_code").items()
        } == {f"codes/{key}": (code, f"coupons/{coupon}") for key, (code, coupon) in rows.codes.items()}
        subscriptions = self.mine("subscription")
        assert {tag: self.items_of(o, names) for tag, o in subscriptions.items()} == {
            f"subs/{key}": {
                **{f"prices/{price}": seats for price, seats in lines.items()},
                **({"an add-on": 1} if subscriptions[f"subs/{key}"]["id"] in self.foreign_items else {}),
            }
            for key, lines in rows.subs.items()
        }
        assert self.not_ours() == self.theirs

    def items_of(self, subscription: dict[str, Any], names: dict[str, str]) -> dict[str, int]:
        foreign = self.foreign_items.get(subscription["id"])
        return {
            "an add-on" if item["id"] == foreign else names.get(item["price"]["id"], item["price"]["id"]): item[
                "quantity"
            ]
            for item in subscription["items"]["data"]
        }


lasting = settings(
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


def explore(world: World, monkeypatch: pytest.MonkeyPatch, profile: settings) -> None:
    clock = FaultClock()
    monkeypatch.setattr(api, "SystemClock", lambda: clock)
    monkeypatch.setenv("STRIPE_API_KEY", Sandbox.api_key)
    machine = type("Explored", (BusinessMachine,), {"world": world})
    run_state_machine_as_test(machine, settings=profile)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_stripe_always_matches_the_models(world, monkeypatch):
    explore(world, monkeypatch, settings(lasting, max_examples=5, stateful_step_count=8, derandomize=True))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_stripe_matches_the_models_of_many_businesses(world, monkeypatch):
    explore(world, monkeypatch, settings(lasting, max_examples=100, stateful_step_count=25))
