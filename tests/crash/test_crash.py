"""Killed at any instant and run again, every row ends up with exactly one object, and the state knows them all."""

from __future__ import annotations

import pytest
from crash_harness import (
    ACTED,
    ANY_TIME,
    CHANGING_THE_STATE,
    MAKING_THE_STATE,
    POINTS,
    SENDING,
    SENT,
    kill_all_along,
    kill_saved_plans,
)
from crash_shop import TIMELESS

KILLS_IN_THE_DEFAULT_RUN = 30
KILLS_OF_ONE_CHAIN = 30
KILLS_BETWEEN_STEPS = 12
KILLS_OF_SAVED_PLANS = 6


@pytest.mark.parametrize("shop", ["cold"], indirect=True)
@pytest.mark.parametrize("points", [MAKING_THE_STATE[:1], MAKING_THE_STATE[1:]], ids=["one kill", "kill after kill"])
def test_a_state_whose_creation_is_killed_is_created_by_the_next_run(few, points):
    few.write(0)

    for point in points:
        assert not few.run(point, 1)

    few.until_done()
    assert len(few.records()) == few.rows(0)


@pytest.mark.slow
def test_thirty_kills_at_every_kind_of_instant_leave_no_trace(few_uninterrupted, few):
    kill_all_along(few, KILLS_IN_THE_DEFAULT_RUN, seed=9)

    few.check_like(few_uninterrupted)
    assert few.counts.kills >= KILLS_IN_THE_DEFAULT_RUN


def test_a_migration_that_is_killed_is_completed_by_the_next_run(few):
    few.write(0)
    few.until_done()
    few.next_format = True

    for point in CHANGING_THE_STATE:
        assert not few.run(point, 1)
    few.until_done()

    assert len(few.records()) == few.rows(0)
    assert list(few.business.state.parent.glob("*.before-v*"))


@pytest.mark.slow
def test_a_saved_plan_that_was_killed_in_the_middle_continues_with_the_same_file(few_uninterrupted, few):
    kill_saved_plans(few, (ACTED, "after the intent is durable", "after the outcome is durable", SENT))

    few.check_like(few_uninterrupted)
    assert few.counts.kills >= KILLS_OF_SAVED_PLANS


@pytest.mark.slow
def test_kills_between_steps_that_have_an_order_leave_no_trace(tied_uninterrupted, tied):
    kill_all_along(tied, KILLS_BETWEEN_STEPS, seed=14, points=SENDING)

    tied.check_like(tied_uninterrupted)


@pytest.mark.long
def test_a_saved_plan_with_steps_that_have_an_order_continues_with_the_same_file(tied_uninterrupted, tied):
    kill_saved_plans(tied, (ACTED, "after the outcome is durable", SENT, ACTED))

    tied.check_like(tied_uninterrupted)


@pytest.mark.parametrize(
    "refused",
    [
        "^/v1/products/",
        *(pytest.param(f"^/v1/{kind}/", marks=pytest.mark.long) for kind in ("prices", "coupons", "promotion_codes")),
    ],
)
def test_owed_steps_are_done_once_however_often_their_runs_are_killed(tied_uninterrupted, tied, refused):
    tied.write(0)
    tied.until_done()
    for number in (1, 2):
        tied.write(number)
        tied.run_refused(refused)
        for point in (SENT, ACTED, "after the answer", "before the outcome is durable", "after the outcome is durable"):
            if tied.run(point, 1):
                break
        tied.until_done()

    tied.check_like(tied_uninterrupted, refused=True)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6))
def test_chains_of_kills_between_steps_that_have_an_order_leave_no_trace(tied_uninterrupted, tied, seed):
    kill_all_along(tied, KILLS_OF_ONE_CHAIN, seed=300 + seed)

    tied.check_like(tied_uninterrupted)


@pytest.mark.long
@pytest.mark.parametrize("point", SENDING)
def test_a_saved_plan_that_was_killed_at_any_kind_of_instant_continues_with_the_same_file(uninterrupted, shop, point):
    kill_saved_plans(shop, (point,) * 4)

    shop.check_like(uninterrupted)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_chains_of_kills_at_chosen_instants_leave_no_trace(uninterrupted, shop, seed):
    kill_all_along(shop, KILLS_OF_ONE_CHAIN, seed=seed)

    shop.check_like(uninterrupted)


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
def test_the_first_of_each_kind_of_instant_in_every_generation_leaves_no_trace(uninterrupted, shop, point):
    for number in range(3):
        shop.write(number)
        shop.run(point, 1)
        shop.run(point, 2)
        shop.until_done()

    shop.check_like(uninterrupted)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_kills_at_random_times_leave_no_trace(uninterrupted, shop, seed):
    kill_all_along(shop, KILLS_OF_ONE_CHAIN, seed=100 + seed, points=(ANY_TIME,))

    shop.check_like(uninterrupted)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_kills_with_a_day_between_them_leave_no_trace(timeless_uninterrupted, shop, seed):
    shop.syncs = TIMELESS
    shop.passes_days = True

    kill_all_along(shop, KILLS_OF_ONE_CHAIN, seed=200 + seed)

    shop.check_like(timeless_uninterrupted)
