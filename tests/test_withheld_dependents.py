"""Changes that wait for a withheld change are withheld, too, and no others."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from dbt_stripe_sync.engine.plan.order import Order
from dbt_stripe_sync.engine.plan.withholding import withhold_waiting
from dbt_stripe_sync.model.change import ENDS_FIRST, Action, Change, change_id, row_of
from dbt_stripe_sync.model.errors import Problem

LANES = ("products", "prices", "subscriptions")


@dataclass(frozen=True)
class SmallPlan:
    """Changes by their lane, what comes before each, by reference and by order, and what is withheld at first."""

    lanes: dict[str, list[Change]]
    after: dict[str, list[str]] = field(default_factory=dict)
    withheld: frozenset[str] = frozenset()


@st.composite
def small_plans(draw: st.DrawFn) -> SmallPlan:
    """Plans of a few rows that wait for each other across lanes, in either direction, and in circles."""
    lanes = {lane: [change_id(lane, str(key)) for key in range(draw(st.integers(0, 5)))] for lane in LANES}
    ids = [name for names in lanes.values() for name in names]
    parts = [*ids, *(f"{name}{ENDS_FIRST}" for name in ids)]
    if not ids:
        return SmallPlan({})
    some = st.lists(st.sampled_from(parts), max_size=2)
    split = draw(st.sets(st.sampled_from(ids)))
    made = {
        lane: [
            a_change(name, ending, tuple(draw(some)))
            for name in names
            for ending in ((ENDS_FIRST, "") if name in split else ("",))
        ]
        for lane, names in lanes.items()
    }
    after = draw(st.dictionaries(st.sampled_from(parts), some))
    return SmallPlan(made, after, frozenset(draw(st.sets(st.sampled_from(ids), max_size=2))))


def a_change(whole: str, ending: str, depends_on: tuple[str, ...]) -> Change:
    sync, key = row_of(whole)
    return Change(
        id=f"{whole}{ending}",
        action=Action.UPDATE,
        sync=sync,
        key=key,
        resource="price",
        stripe_id=None,
        calls=(),
        desired={},
        changed=(),
        depends_on=depends_on,
        source_hash=None,
        refs=None,
    )


def walked_again_and_again(plan: SmallPlan) -> set[str]:
    """The simple way: every change is looked at until nothing more comes of it."""
    withheld, known = set(plan.withheld), -1
    while known < len(withheld):
        known = len(withheld)
        for changes in plan.lanes.values():
            for change in changes:
                whole = change.id.removesuffix(ENDS_FIRST)
                others = [
                    *change.depends_on,
                    *plan.after.get(change.id, ()),
                    *plan.after.get(f"{whole}{ENDS_FIRST}", ()),
                ]
                if any(other.removesuffix(ENDS_FIRST) in withheld for other in others):
                    withheld.add(whole)
    return withheld


@settings(max_examples=200, deadline=None)
@given(small_plans())
def test_one_pass_withholds_the_same_rows_as_repeated_passes(plan: SmallPlan) -> None:
    order = Order(withheld={name: Problem(code="value-taken", summary="withheld") for name in plan.withheld})
    order.after.update({name: list(others) for name, others in plan.after.items()})

    withhold_waiting(plan.lanes.items(), order)

    assert order.withheld.keys() == walked_again_and_again(plan)


@settings(max_examples=200, deadline=None)
@given(small_plans())
def test_a_message_names_a_row_that_was_withheld_before(plan: SmallPlan) -> None:
    order = Order(withheld={name: Problem(code="value-taken", summary="withheld") for name in plan.withheld})
    order.after.update({name: list(others) for name, others in plan.after.items()})

    withhold_waiting(plan.lanes.items(), order)

    earlier = set(plan.withheld)
    for name, problem in order.withheld.items():
        if name not in plan.withheld:
            assert problem.summary.startswith(tuple(f"row [{row_of(one)[1]}] of `{row_of(one)[0]}`" for one in earlier))
            assert (problem.where.sync, problem.where.key) == row_of(name)
            earlier.add(name)


def test_a_withheld_row_also_withholds_every_row_that_waits_for_it() -> None:
    first = a_change("products/1", "", ())
    price = a_change("prices/1", "", ("products/1",))
    late = a_change("subscriptions/9", "", ())
    order = Order(withheld={"subscriptions/9": Problem(code="value-taken", summary="withheld")})
    order.after["products/1"].append("subscriptions/9")

    withhold_waiting([("products", [first]), ("prices", [price]), ("subscriptions", [late])], order)

    assert {name: problem.summary for name, problem in order.withheld.items()} == {
        "subscriptions/9": "withheld",
        "products/1": "row [9] of `subscriptions`, which has to change first, can't be changed in this plan",
        "prices/1": "row [1] of `products`, which it refers to, can't be changed in this plan",
    }
