"""A plan is the same whether rows are compared here or by the warehouse, after histories of every kind."""

from __future__ import annotations

import json
import random

import pytest
from business import by_hand
from logged import DuckDBBusiness

from dbt_stripe_sync.engine.plan.comparing import Comparing
from dbt_stripe_sync.sandbox.faults import Fault, FaultKind

STEPS = 14
SUBS = "id int, usr int, plan int"
LINES = "sub int, plan int, seats int"


@pytest.fixture
def shop(tmp_path, stripe):
    made = DuckDBBusiness(root=tmp_path / "shop", stripe=stripe)
    made.set(account_per_second=100_000, endpoint_per_second=100_000, diff="warehouse")
    return made


class History:
    """What happens to a shop's tables, its state and its Stripe."""

    def __init__(self, shop, seed):
        self.shop, self.chance = shop, random.Random(seed)  # noqa: S311 - a history of tests
        self.users = {number: f"u{number}@example.com" for number in range(5)}
        self.plans = {number: 100 + number for number in range(3)}
        self.subs = {number: (number, 0) for number in range(4)}
        self.lines = {(sub, plan): 1 for sub in self.subs for plan in (0, 1)}
        self.write()
        price = {
            "unit_amount": "cents",
            "currency": {"value": "usd"},
            "product_data.name": {"template": "plan [[ id ]]"},
            "recurring.interval": {"value": "month"},
        }
        items = {
            "model": "lines",
            "on": "sub",
            "fields": {"price": {"sync": "plans", "key": "plan"}, "quantity": "seats"},
        }
        shop.sync("users", resource="customer", key="id", fields={"email": "email"}, on_deleted="recreate")
        shop.sync("plans", resource="price", key="id", fields=price, on_removed="archive")
        shop.sync(
            "subs",
            resource="subscription",
            key="id",
            fields={
                "customer": {"sync": "users", "key": "usr"},
                "collection_method": {"value": "send_invoice"},
                "days_until_due": {"value": 30},
                "metadata.plan": "plan",
                "items": items,
            },
            on_removed="cancel",
            limits={"max_removed": 100},
        )

    def write(self):
        self.shop.rows("users", *self.users.items(), columns="id int, email text")
        self.shop.rows("plans", *self.plans.items(), columns="id int, cents int")
        self.shop.rows("subs", *((sub, *of) for sub, of in self.subs.items()), columns=SUBS)
        self.shop.rows("lines", *((*of, seats) for of, seats in self.lines.items()), columns=LINES)

    def step(self):
        """One thing, chosen by chance."""
        chance, number = self.chance, self.chance.randrange(100)
        user, sub = chance.choice(list(self.users)), chance.choice(list(self.subs))
        what = chance.randrange(10)
        if what == 0:
            self.users[user] = f"changed{number}@example.com"
        elif what == 1:
            self.users[user] = "no address"
        elif what == 2:
            self.users[number + 10] = f"new{number}@example.com"
        elif what == 3:
            self.plans[chance.choice(list(self.plans))] = number + 200
        elif what == 4:
            self.lines[sub, chance.randrange(2)] = number + 1
        elif what == 5 and len(self.subs) > 2:
            del self.subs[sub]
        elif what == 6:
            self.subs[sub] = (self.subs[sub][0], number)
        elif what == 7:
            self.shop.stripe.inject(Fault(kind=FaultKind.STATUS, method="POST", status=402, count=1))
        elif what == 8:
            self.shop.cli("state", "forget", "users", str(user))
        else:
            found = self.shop.stripe.objects("customer")
            by_hand(self.shop, f"customers/{chance.choice(found)['id']}", "DELETE") if found else None
        self.write()


# What is compared here has another hash than what was accepted by the warehouse's: whether the row itself or only what
# it refers to has changed isn't known then, and a value that can't be changed is a rejection where it was a note.
ONLY_HERE = "immutable-changed"


def planned(shop, place):
    shop.set(diff=place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Comparing, "_likely_unchanged", lambda *_: True)
        plan = json.loads(shop.cli("plan", "--format", "json", "--show-values").out)
    names = ("sync", "rows", "same", "rejected", "held", "changes", "calls")
    counts = [{name: counts[name] for name in names} for counts in plan["syncs"]]
    for problem in [problem for problem in plan["problems"] if problem["code"] == ONLY_HERE]:
        next(count for count in counts if count["sync"] == problem["where"]["sync"])["rejected"] -= 1
        plan["problems"].remove(problem)
    problems = sorted((problem["code"], problem["summary"]) for problem in plan["problems"])
    return plan["changes"], counts, problems


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(
    "seed", [pytest.param(1, marks=pytest.mark.slow), *(pytest.param(n, marks=pytest.mark.long) for n in (2, 3))]
)
def test_plans_are_the_same_after_any_history(shop, seed):
    history = History(shop, seed)
    assert shop.cli().exit_code == 0
    for number in range(STEPS):
        history.step()
        there = planned(shop, "warehouse")

        assert there == planned(shop, "local"), f"after step {number}"

        shop.set(diff="warehouse")
        shop.cli("run", "--yes", *(["--refresh"] if number % 5 == 4 else []))
