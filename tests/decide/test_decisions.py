"""The decisions on every kind of row and every observation, each compared as text with `decisions.txt`.

After a deliberate change, `python tests/decide/test_decisions.py` rewrites that file. Review its diff.
"""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from decision_texts import render_case, render_decision
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from rows_to_decide import SOLD, all_cases, answers, walk

from dbt_stripe_sync.engine.decide.decide import decide
from dbt_stripe_sync.engine.decide.rules import Ask, Keep, Observed, Refresh, Reject, Unseen
from dbt_stripe_sync.model.change import Action, Change
from dbt_stripe_sync.model.difference import Kind
from dbt_stripe_sync.model.lifecycle import Mode, Removal
from dbt_stripe_sync.model.record import TAGGED_AS
from dbt_stripe_sync.model.sync import OnDeleted, WhenEnded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rows_to_decide import Differing

    from dbt_stripe_sync.engine.decide.rules import Decision

DECISIONS = Path(__file__).parent / "decisions.txt"
MOST_ROUNDS = 5
MAKES = {Action.CREATE, Action.REPLACE}
ENDS = {Action.DELETE, Action.ARCHIVE, Action.CANCEL, Action.VOID}
CASES = {f"{case.sold}: {case.name}": case for case in all_cases()}
each_kind = pytest.mark.parametrize("sold", SOLD)


def walked(sold: str) -> list[tuple[str, Differing, Observed, Decision]]:
    """Every decision on the rows of one kind: where it was made, the row, what was seen, and what was decided."""
    cases = [(name, case) for name, case in CASES.items() if case.sold == sold]
    return [
        (f"{name}; {' > '.join(path)}", case, seen, told) for name, case in cases for path, seen, told in walk(case)
    ]


@lru_cache(maxsize=1)
def decided_before() -> dict[str, str]:
    """The expected text of each case, by its title."""
    blocks = DECISIONS.read_text().strip().split("\n\n")
    return {block.partition("\n")[0].removeprefix("== "): block for block in blocks}


@each_kind
def test_every_decision_is_the_expected_one_to_the_last_parameter(sold):
    for name, case in CASES.items():
        if case.sold == sold:
            assert render_case(case) == decided_before()[name]


def test_no_expected_decision_is_unused():
    assert decided_before().keys() == CASES.keys()


@each_kind
def test_every_kind_of_difference_has_a_case(sold):
    mine = [case for case in CASES.values() if case.sold == sold]
    kinds = {case.row.diff.kind for case in mine}
    assert {Kind.NEW, Kind.CHANGED, Kind.REMOVED} <= kinds
    assert any(case.row.diff.unreadable for case in mine)
    assert {case.rules.sync.on_deleted for case in mine if case.row.diff.missing} == set(OnDeleted)
    removals = {case.rules.sync.on_removed for case in mine if case.row.diff.kind is Kind.REMOVED}
    assert removals == {Removal.IGNORE, *mine[0].rules.lifecycle.on_removed}


# ── what holds for all of them ───────────────────────────────────────────────────────────────────────────────────


@each_kind
def test_deciding_is_deterministic_and_changes_no_input(sold):
    for where, case, observed, first in walked(sold):
        before = deepcopy((case.row, observed))

        again = decide(case.rules, case.row, observed)

        assert again == first, where
        assert (case.row, observed) == before, where


@each_kind
def test_a_decision_needs_few_answers_and_asks_nothing_twice(sold):
    for name, case in CASES.items():
        asked: dict[tuple[str, ...], Ask] = {}
        for path, _, decision in walk(case) if case.sold == sold else ():
            assert len(path) <= MOST_ROUNDS, name
            if isinstance(decision, Ask):
                assert decision not in [asked[path[:length]] for length in range(len(path))], (name, path)
                asked[path] = decision


def test_nothing_is_created_next_to_an_object_that_was_found():
    changes = [
        (where, decision)
        for sold in SOLD
        for where, _, observed, decision in walked(sold)
        if observed.found is not None and any(map(is_alive, observed.found.objects)) and isinstance(decision, Change)
    ]
    assert changes
    for where, decision in changes:
        assert decision.action is not Action.CREATE, where


@each_kind
def test_nothing_is_done_if_stripe_could_not_be_asked(sold):
    unanswered = [
        (where, decision)
        for where, _, observed, decision in walked(sold)
        if (observed.found is not None and observed.found.failed)
        or Unseen.NOT_ANSWERED in (observed.body, observed.holdings)
    ]
    assert unanswered
    for where, decision in unanswered:
        assert isinstance(decision, Reject), where


@each_kind
def test_a_row_has_one_object_and_only_a_replacement_or_a_removal_ends_one(sold):
    for where, case, _, decision in walked(sold):
        if not isinstance(decision, Change):
            continue
        creations = [call for call in decision.calls if call.creates]
        assert len(creations) == (decision.action in MAKES), where
        assert all(call.target is None for call in creations), where
        if decision.action in ENDS:
            assert case.row.diff.kind is Kind.REMOVED, where
            assert decision.removed, where
        if decision.action is Action.REPLACE:
            assert decision.owes[-1].target == decision.stripe_id, where
        assert len({step.id for step in decision.owes}) == len(decision.owes), where


@each_kind
def test_a_removed_row_never_creates_anything(sold):
    left = [(where, decision) for where, case, _, decision in walked(sold) if case.row.diff.kind is Kind.REMOVED]
    assert left
    for where, decision in left:
        assert not (isinstance(decision, Change) and decision.action in MAKES), where


@each_kind
def test_no_call_has_a_parameter_that_its_operation_does_not_accept(sold):
    for where, case, _, decision in walked(sold):
        for call in decision.calls if isinstance(decision, Change) else ():
            operation = case.rules.resource.operations[call.operation]
            assert call.params.keys() <= operation.params.keys() | set(operation.path_params), where


@each_kind
def test_an_update_sends_only_what_differs(sold):
    for where, case, _, decision in walked(sold):
        if not isinstance(decision, Change) or decision.action not in {Action.UPDATE, Action.ADOPT}:
            continue
        quiet = {"metadata", *case.rules.lifecycle.request_only, *case.rules.lifecycle.item_lists}
        quiet |= {name for name, param in case.rules.resource.params.items() if param.in_path}
        quiet |= {unique.transfer for unique in case.rules.lifecycle.uniques}
        shown = {part.path.partition(".")[0] for part in decision.changed}
        sent = {name for call in decision.calls for name in call.params}
        assert sent - quiet <= shown, where


@each_kind
def test_an_object_deleted_by_hand_is_created_again_only_if_the_sync_says_so(sold):
    deleted = [
        (where, decision)
        for where, case, observed, decision in walked(sold)
        if case.row.diff.stripe_id is not None and case.row.diff.kind is not Kind.REMOVED
        if case.rules.sync.on_deleted is not OnDeleted.RECREATE
        if case.row.diff.missing or observed.body is Unseen.MISSING
    ]
    assert deleted
    for where, decision in deleted:
        assert isinstance(decision, Ask | Reject | Keep), where


def test_an_ended_object_is_not_restarted_unless_the_sync_says_so():
    ended = [
        (where, decision)
        for sold in SOLD
        for where, case, observed, decision in walked(sold)
        if observed.found is not None and observed.found.objects and not any(map(is_alive, observed.found.objects))
        if case.rules.sync.when_ended is WhenEnded.KEEP
    ]
    assert ended
    for where, decision in ended:
        assert isinstance(decision, Refresh | Reject), where


@each_kind
def test_a_sync_that_inserts_changes_nothing_and_one_that_updates_creates_nothing(sold):
    for case in CASES.values():
        modes = {Mode.INSERT, Mode.UPDATE} & case.rules.lifecycle.modes
        is_tag_alone = TAGGED_AS in case.row.diff.params
        if case.sold != sold or case.row.diff.kind is Kind.REMOVED or case.row.diff.missing or is_tag_alone:
            continue
        for mode in modes:
            rules = replace(case.rules, sync=replace(case.rules.sync, mode=mode))
            for path, _, decision in walk(replace(case, rules=rules)):
                if not isinstance(decision, Change):
                    continue
                is_ours = decision.action is Action.ADOPT and decision.found_by == "its tag"
                if mode is Mode.INSERT:
                    assert decision.action is Action.CREATE or is_ours, (case.name, path, render_decision(decision))
                else:
                    assert decision.action is not Action.CREATE, (case.name, path, render_decision(decision))


@given(data=st.data())
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_deciding_terminates_whatever_is_answered_in_whatever_order(data):
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


def is_alive(body: Mapping[str, object]) -> bool:
    return body.get("status") not in {"canceled", "incomplete_expired"}


if __name__ == "__main__":
    DECISIONS.write_text("\n\n".join(render_case(case) for case in CASES.values()) + "\n")
