"""docs/faults.md says what these tests assert."""

from __future__ import annotations

from fault_table import OTHER_FAULTS, PAGE, STRIPE_FAULTS, render_page


def test_the_page_lists_what_the_tests_assert():
    assert PAGE.read_text() == render_page(), "`python tests/faults/fault_table.py` writes it anew"


def test_no_fault_is_named_twice():
    names = [fault.name for fault in STRIPE_FAULTS] + [fault.name for fault in OTHER_FAULTS]
    assert len(names) == len(set(names))
