"""Owed steps are remembered once, in the order in which they have to be done, until they are done or settled."""

from __future__ import annotations

from msgspec.structs import replace
from state_values import change_of, outcome_of

from dbt_stripe_sync.model.change import Action, Owed

STEPS = 40


def owed_of(key, number, **given):
    return Owed(
        id=f"prices/{key}!{number}",
        sync="prices",
        key=key,
        resource="price",
        action=Action.ARCHIVE,
        operation="update",
        target=f"price_{number}",
        params={"active": False},
        reason="a new object has replaced it",
        **given,
    )


def commit(state, *owed, settled=()):
    state.commit([], [replace(outcome_of(change_of()), owed=tuple(owed), settled=tuple(settled))])


def test_the_steps_of_a_row_are_returned_in_order(opened):
    steps = [owed_of("1", number) for number in range(STEPS)]
    with opened() as state:
        commit(state, *steps)
    with opened() as state:
        assert [step.id for step in state.owed()] == [step.id for step in steps]


def test_a_step_that_is_already_owed_is_recorded_once(state, clock):
    commit(state, owed_of("1", 1), owed_of("1", 2))
    commit(state, owed_of("1", 2), owed_of("1", 2), owed_of("1", 3))

    assert [step.target for step in state.owed()] == ["price_1", "price_2", "price_3"]
    assert {step.since for step in state.owed()} == {clock.now()}


def test_a_step_that_is_done_is_no_longer_owed(state):
    commit(state, owed_of("1", 1), owed_of("1", 2))
    commit(state, settled=["prices/1!1"])

    assert [step.id for step in state.owed()] == ["prices/1!2"]


def test_settling_affects_one_row_only(state):
    commit(state, owed_of("1", 1), owed_of("2", 2))
    state.settle("prices", "1")

    assert [step.key for step in state.owed()] == ["2"]
