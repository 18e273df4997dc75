"""`diff: warehouse`, killed at each statement that writes its copy of the hashes: it only costs a repair."""

from __future__ import annotations

import pytest
from logged import DuckDBBusiness, PostgresBusiness, drop, people

# More than a copy takes; each of them is a kill.
MOST_STATEMENTS = 120
pytestmark = [pytest.mark.timeout(3_600), pytest.mark.long]
POINTS = ("before a statement of the log", "after a statement of the log")


@pytest.fixture(params=["duckdb", "postgres"])
def shop(request, tmp_path, stripe):
    made = (
        DuckDBBusiness(root=tmp_path / "shop", stripe=stripe)
        if request.param == "duckdb"
        else PostgresBusiness(root=tmp_path / "shop", stripe=stripe, server=request.getfixturevalue("postgres"))
    )
    made.set(account_per_second=100_000, endpoint_per_second=100_000, diff="warehouse")
    people(made, (1, "a@example.com"), (2, "b@example.com"))
    made.sync(
        "customers",
        resource="customer",
        key="id",
        fields={"email": "email"},
        on_removed="delete",
        limits={"max_removed": 9},
    )
    yield made
    drop(made)


@pytest.fixture
def killed(shop, nursery, tmp_path):
    """Runs a command that dies at the nth statement; says whether it lived."""

    def run(nth: int, *command: str, point: str = POINTS[0]) -> bool:
        options = ["--project-dir", str(shop.root), "--profiles-dir", str(shop.root), "--stripe-url", shop.stripe.url]
        environment = {"STRIPE_API_KEY": shop.stripe.api_key}
        code = nursery.run(point, nth, [*command, *options], environment, tmp_path / "output.txt")
        assert code in {0, -9}, (tmp_path / "output.txt").read_text()
        return code == 0

    return run


def check(shop, wanted):
    """Every row has its one object, as it is in the model."""
    assert sorted(customer["email"] for customer in shop.stripe.objects("customer")) == sorted(wanted)


def test_a_copy_that_is_killed_at_any_statement_costs_a_repair_and_nothing_else(shop, killed):
    """Each run changes a row, makes one and removes one, and dies while it writes the copy."""
    kills = 0
    for nth in range(1, MOST_STATEMENTS):
        rows = [(1, f"a{nth}@example.com"), (2, "b@example.com"), (nth + 10, f"c{nth}@example.com")]
        people(shop, *rows)
        lived = killed(nth, "run", point=POINTS[nth % 2])
        kills += not lived
        check(shop, [email for _, email in rows])
        shop.stripe.reset_requests()
        # What the next run finds to be the same sends nothing, whatever the copy says; then the copy is right.
        assert killed(0, "run", point="none")
        assert shop.write_calls() == []
        check(shop, [email for _, email in rows])
        assert "every row is read" not in shop.cli("plan").text
        if lived:
            break

    assert kills > 10


def test_repeated_kills_lose_nothing(shop, killed):
    """Kills in runs that follow on each other, in the calls as well as in the copy."""
    points = [
        *POINTS,
        "after the answer",
        "in the middle of a commit",
        "after the outcome is durable",
        "before the effect",
    ]
    kills = 0
    for nth in range(1, 30):
        people(shop, (1, f"a{nth}@example.com"), (2, "b@example.com"), (nth % 7 + 10, f"c{nth}@example.com"))
        kills += not killed(nth % 9 + 1, "run", point=points[nth % len(points)])
    people(shop, (1, "a@example.com"), (3, "c@example.com"))

    assert killed(0, "run", point="none")
    assert killed(0, "run", point="none")

    check(shop, ["a@example.com", "c@example.com"])
    assert "every row is read" not in shop.cli("plan").text
    assert kills >= 10
