"""docs/stripe-rules.md and the guesses in docs/sandbox.md match the code, and omit nothing."""

from __future__ import annotations

import ast
from pathlib import Path

from refused_by import REFUSED_BY
from rule_pages import (
    RULES_PAGE,
    STATUSES_TEST,
    VALUES_TEST,
    guesses_in_code,
    guesses_on_page,
    read_refusals,
    render_guesses,
    render_rules,
)

from dbt_stripe_sync.sandbox.grounds import GROUNDS, foreseen
from dbt_stripe_sync.sandbox.guesses import GUESSES

HERE = Path(__file__).parent
WRITE = "`python tests/sandbox/rule_pages.py` writes it anew"


def test_the_page_of_the_rules_matches_the_code():
    assert RULES_PAGE.read_text() == render_rules(), WRITE


def test_the_guesses_of_the_sandbox_page_match_the_code():
    assert guesses_on_page() == render_guesses(), WRITE


def test_every_guess_is_marked_in_the_code():
    marked = guesses_in_code()
    assert sorted(marked) == sorted(GUESSES)


def test_every_refusal_names_its_source():
    assert sorted(read_refusals()) == sorted(GROUNDS)


def test_every_refusal_says_whether_a_plan_foresees_it_or_why_not():
    answers = ("yes: ", "yes, ", "partly: ", "no: ", "not needed: ")
    assert all(foreseen(name).startswith(answers) for name in read_refusals())


def test_only_the_table_rejects_what_is_wrong_in_the_request_itself():
    """A refusal in code needs more than the request: an object, the key, the time; no rule occurs twice."""
    by_table = {name for name in read_refusals() if foreseen(name) == foreseen("strictness.enforce_rules")}
    assert by_table == {"strictness.enforce_rules"}
    needed = {words for refusal in read_refusals().values() for words in refusal.words if "Missing required" in words}
    assert needed <= {"Missing required param: ….", "Missing required param: frozen_time."}


def test_the_tests_that_the_page_names_exist():
    for named in {VALUES_TEST, STATUSES_TEST, *REFUSED_BY.values()}:
        file, _, function = named.partition("::")
        tree = ast.parse((HERE / file).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, named


def test_the_page_names_a_test_for_every_refusal_between_objects():
    without = sorted(
        name for name, refusal in read_refusals().items() if name not in REFUSED_BY and "objects" in refusal.place
    )
    assert not without
