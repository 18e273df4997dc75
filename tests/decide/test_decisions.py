"""What is decided on every kind of row, whatever was seen of its object: each decision whole, compared with its text.

`decisions.txt` holds them. After a deliberate change `python tests/decide/test_decisions.py` writes it anew, and its diff
is what there is to review.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
from decisions_told import tell, tell_case
from hypothesis import given, settings
from hypothesis import strategies as st
from rows_to_decide import SOLD, all_cases, answers, walk

from dbt_stripe_sync.engine.decide.decide import decide
from dbt_stripe_sync.engine.decide.rules import Ask, Keep, Observed, Refresh, Reject, Unseen
from dbt_stripe_sync.model.change import Action, Change
from dbt_stripe_sync.model.difference import Kind
from dbt_stripe_sync.model.lifecycle import Mode, Removal
from dbt_stripe_sync.model.sync import OnDeleted

DECISIONS = Path(__file__).parent / "decisions.txt"
MOST_ROUNDS = 5
MAKES = {Action.CREATE, Action.REPLACE}
ENDS = {Action.DELETE, Action.ARCHIVE, Action.CANCEL, Action.VOID}
CASES = {f"{case.sold}: {case.name}": case for case in all_cases()}
each_case = pytest.mark.parametrize("name", CASES)


@lru_cache(maxsize=1)
def decided_before() -> dict[str, str]:
    """The expected text of each case, by its title."""
    blocks = DECISIONS.read_text().strip().split("\n\n")
    return {block.partition("\n")[0].removeprefix("== "): block for block in blocks}


@each_case
def test_every_decision_is_the_expected_one_to_the_last_parameter(name):
    assert tell_case(CASES[name]) == decided_before()[name]


def test_no_expectation_is_left_over():
    assert decided_before().keys() == CASES.keys()


def test_every_kind_of_difference_of_every_kind_of_resource_is_there():
    assert {case.sold for case in CASES.values()} == set(SOLD)
    for sold in SOLD:
        mine = [case for case in CASES.values() if case.sold == sold]
        kinds = {case.row.diff.kind for case in mine}
        assert {Kind.NEW, Kind.CHANGED, Kind.REMOVED} <= kinds
        assert any(case.row.diff.unreadable for case in mine)
        assert {case.rules.sync.on_deleted for case in mine if case.row.diff.missing} == set(OnDeleted)
        removals = {case.rules.sync.on_removed for case in mine if case.row.diff.kind is Kind.REMOVED}
        assert removals == {Removal.IGNORE, *mine[0].rules.lifecycle.on_removed}


# ── what holds for all of them ───────────────────────────────────────────────────────────────────────────────────


@each_case
def test_the_same_data_gives_the_same_decision_and_is_left_as_it_was(name):
    case = CASES[name]
    for _, observed, first in walk(case):
        before = deepcopy((case.row, observed))

        again = decide(case.rules, case.row, observed)

        assert again == first
        assert (case.row, observed) == before


@each_case
def test_a_few_answers_are_enough(name):
    assert max(len(path) for path, _, _ in walk(CASES[name])) <= MOST_ROUNDS


@each_case
def test_nothing_is_asked_twice(name):
    case = CASES[name]
    asked: dict[tuple[str, ...], Ask] = {}
    for path, _, decision in walk(case):
        if isinstance(decision, Ask):
            assert all(asked[path[:length]] != decision for length in range(len(path)) if path[:length] in asked), path
            asked[path] = decision


@each_case
def test_nothing_is_made_beside_an_object_that_was_found(name):
    for path, observed, decision in walk(CASES[name]):
        found = observed.found is not None and any(is_alive(body) for body in observed.found.objects)
        if found and isinstance(decision, Change):
            assert decision.action is not Action.CREATE, path


@each_case
def test_nothing_is_done_where_stripe_could_not_be_asked(name):
    for path, observed, decision in walk(CASES[name]):
        failed = observed.found is not None and observed.found.failed
        if failed or Unseen.NOT_ANSWERED in (observed.body, observed.holdings):
            assert isinstance(decision, Reject), path


@each_case
def test_a_row_has_one_object_and_only_a_replacement_or_a_removal_ends_one(name):
    case = CASES[name]
    for path, _, decision in walk(case):
        if not isinstance(decision, Change):
            continue
        creations = [call for call in decision.calls if call.creates]
        assert len(creations) == (decision.action in MAKES), path
        assert all(call.target is None for call in creations), path
        if decision.action in ENDS:
            assert case.row.diff.kind is Kind.REMOVED, path
            assert decision.removed, path
        if decision.action is Action.REPLACE:
            assert decision.owes, path
            assert decision.owes[-1].target == case.row.diff.stripe_id or case.row.diff.stripe_id is None, path
        assert len({step.id for step in decision.owes}) == len(decision.owes), path


@each_case
def test_a_row_that_left_never_makes_anything(name):
    case = CASES[name]
    if case.row.diff.kind is Kind.REMOVED:
        for path, _, decision in walk(case):
            assert not (isinstance(decision, Change) and decision.action in MAKES), path


@each_case
def test_no_call_has_a_parameter_that_its_operation_does_not_take(name):
    case = CASES[name]
    for path, _, decision in walk(case):
        for call in decision.calls if isinstance(decision, Change) else ():
            operation = case.rules.resource.operations[call.operation]
            assert call.params.keys() <= operation.params.keys() | set(operation.path_params), path
    # Owed steps that let go of an object are another resource's.


@each_case
def test_every_parameter_that_is_sent_is_one_that_is_shown(name):
    case = CASES[name]
    quiet = {"metadata", *case.rules.lifecycle.said_again, *case.rules.lifecycle.item_lists}
    for path, _, decision in walk(case):
        if not isinstance(decision, Change) or decision.removed:
            continue
        shown = {part.path.partition(".")[0] for part in decision.changed}
        for call in decision.calls:
            sent = {name for name, param in case.rules.resource.params.items() if name in call.params and not param.in_path}
            assert {name for name in sent - quiet if not name.startswith("transfer_")} <= shown | set(decision.desired), path


@each_case
def test_whose_object_was_deleted_by_hand_gets_another_one_only_where_the_sync_says_so(name):
    case = CASES[name]
    diff = case.row.diff
    if diff.stripe_id is None or diff.kind is Kind.REMOVED or case.rules.sync.on_deleted is OnDeleted.RECREATE:
        return
    for path, observed, decision in walk(case):
        if diff.missing or observed.body is Unseen.MISSING:
            assert isinstance(decision, Ask | Reject | Keep), path


@each_case
def test_what_has_ended_is_not_begun_again_unless_the_sync_says_so(name):
    case = CASES[name]
    if case.rules.sync.when_ended.value == "restart":
        return
    for path, observed, decision in walk(case):
        bodies = observed.found.objects if observed.found is not None else ()
        ended = [body for body in bodies if body.get("status") in case.rules.lifecycle.ended]
        if bodies and len(ended) == len(bodies):
            assert isinstance(decision, Refresh | Reject), path


@each_case
def test_a_sync_that_inserts_changes_nothing_and_one_that_updates_makes_nothing(name):
    case = CASES[name]
    lifecycle = case.rules.lifecycle
    for mode in (Mode.INSERT, Mode.UPDATE):
        if mode not in lifecycle.modes or case.row.diff.kind is Kind.REMOVED or case.row.diff.missing:
            continue
        rules = replace(case.rules, sync=replace(case.rules.sync, mode=mode))
        for path, _, decision in walk(replace(case, rules=rules)):
            if not isinstance(decision, Change):
                continue
            if mode is Mode.INSERT:
                own = decision.action is Action.ADOPT and decision.found_by == "our tag"
                assert decision.action is Action.CREATE or own, (path, tell(decision))
            else:
                assert decision.action not in MAKES or decision.action is Action.REPLACE, (path, tell(decision))


@given(data=st.data())
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_whatever_is_answered_in_whatever_order_it_comes_to_an_end(data):
    case = CASES[data.draw(st.sampled_from(sorted(CASES)), label="row")]
    observed = Observed()
    for _ in range(MOST_ROUNDS + 1):
        decision = decide(case.rules, case.row, observed)
        if not isinstance(decision, Ask):
            break
        told = list(answers(case.rules, case.row, decision.need, observed))
        _, observed = data.draw(st.sampled_from(told), label="answer")
        # What was never asked for may have been seen as well, and changes nothing.
        if data.draw(st.booleans(), label="more was expanded"):
            observed = replace(observed, expanded=observed.expanded | {"something_else"})
    assert not isinstance(decision, Ask)


def is_alive(body: dict[str, object]) -> bool:
    return body.get("status") not in {"canceled", "incomplete_expired"}


if __name__ == "__main__":
    DECISIONS.write_text("\n\n".join(tell_case(case) for case in CASES.values()) + "\n")
