"""A shortened plan hides rows, but never a kind of change."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import ListedChanges, make_change, make_counts, make_plan, row_problem
from msgspec.structs import replace

from dbt_stripe_sync.model.change import Action, kind_of
from dbt_stripe_sync.report import plan_markdown, plan_text
from dbt_stripe_sync.report.alike import EXAMPLES, MOST_COMPARED, pick_changes, shares
from dbt_stripe_sync.report.plan_text import PlanStyle


def counts_of(changes):
    by_action = Counter(change.action.value for change in changes)
    return make_counts(rows=len(changes), by_action=by_action, kinds=Counter(map(kind_of, changes)))


def changes_with_one_odd(total):
    email = {"email": ("a@example.com", "b@example.com")}
    odd = make_change(str(total), changed={"balance": (0, 500)})
    return ListedChanges([*(make_change(str(number), changed=email) for number in range(1, total)), odd])


@pytest.mark.parametrize("total", [100, MOST_COMPARED + 10])
@pytest.mark.parametrize("render", [plan_text.render_plan, plan_markdown.render_plan])
def test_one_change_of_another_kind_stands_out_among_thousands(total, render):
    changes = changes_with_one_odd(total)
    style = PlanStyle(most_rows=5, width=200)

    text = "\n".join(render(make_plan(changes, [counts_of(changes)]), style=style))

    assert "balance" in text


@pytest.mark.parametrize("with_values", [False, True])
@pytest.mark.parametrize("render", [plan_text.render_plan, plan_markdown.render_plan])
def test_equal_changes_are_one_entry(render, with_values):
    same = {"items": ([{"price": "price_OldOldOld1"}], [{"price": "price_NewNewNew2"}])}
    changes = ListedChanges([make_change(str(number), changed=same, params={}) for number in range(87)])
    style = PlanStyle(show_values=with_values, width=200)

    text = "\n".join(render(make_plan(changes, [counts_of(changes)]), style=style))

    assert "87 rows alike ([0], [1], [2] …)" in text
    assert text.count("price_OldOldOld1") == with_values


@given(st.dictionaries(st.sampled_from([f"{a.value} {n}" for a in Action for n in "abc"]), st.integers(1, 1000)))
def test_every_kind_gets_a_share_but_no_more_than_it_has(kinds):
    given_out = shares(kinds, 10)

    assert all(1 <= given_out[kind] <= kinds[kind] for kind in kinds)
    assert sum(given_out.values()) == min(sum(kinds.values()), max(10, len(kinds)))


def test_reading_ends_once_every_kind_was_found():
    changes = ListedChanges([make_change(str(n), changed={"email": (None, n)}) for n in range(20_000)])

    assert len(pick_changes(changes, counts_of(changes), 50)) == EXAMPLES
    assert changes.walked == EXAMPLES


@pytest.mark.parametrize("total", [300, MOST_COMPARED + 10])
def test_some_of_many_new_rows_are_shown_in_full_and_the_rest_are_counted(total):
    params = {"email": "a@example.com", "name": "Ann", "metadata": {"plan": "team"}}
    changes = ListedChanges([make_change(str(n), Action.CREATE, params=params, changed={}) for n in range(total)])
    plan = make_plan(changes, [counts_of(changes)])

    some = "\n".join(plan_text.render_plan(plan, style=PlanStyle(show_values=True)))
    every = "\n".join(plan_text.render_plan(plan, style=PlanStyle(show_values=True, all_rows=True)))

    assert some.count("\n  + ") == EXAMPLES
    assert some.count("metadata.plan") == EXAMPLES
    assert (
        f"… and {total - EXAMPLES:,} more ({total:,} to create in total); `dbt-stripe-sync plan --all` shows"
        in " ".join(some.split())
    )
    assert every.count("\n  + ") == every.count("metadata.plan") == total


def test_all_shows_every_equal_change_and_every_rejected_row():
    same = {"email": ("a@example.com", "b@example.com")}
    changes = ListedChanges([make_change(str(number), changed=same) for number in range(87)])
    problems = [row_problem(f"bad-{number}") for number in range(20)]
    plan = make_plan(changes, [replace(counts_of(changes), rejected=20)], problems)

    for render in (plan_text.render_plan, plan_markdown.render_plan):
        text = "\n".join(render(plan, style=PlanStyle(width=200, all_rows=True)))
        assert "alike" not in text
        assert len(re.findall(r"^ *[~!] {1,2}\d+ ", text, flags=re.MULTILINE)) == 87
    assert len(re.findall(r"! bad-\d+ ", "\n".join(plan_text.render_plan(plan, style=PlanStyle(all_rows=True))))) == 20
