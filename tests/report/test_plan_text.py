"""A plan on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made import ListedChanges, make_change, make_counts, make_plan, row_problem
from rich.cells import cell_len
from showing import unshown

from dbt_stripe_sync.model.change import Action, PlannedCall, Ref
from dbt_stripe_sync.model.errors import Location, Problem, Severity
from dbt_stripe_sync.model.plan import Note
from dbt_stripe_sync.report import plan_text
from dbt_stripe_sync.report.alike import EXAMPLES
from dbt_stripe_sync.report.plan_text import PlanStyle, render_plan


def render(plan, **style) -> str:
    return "\n".join(render_plan(plan, style=PlanStyle(**style)))


def test_a_plan_shows_counts_then_differences_then_the_next_step():
    changes = [
        make_change("42", changed={"email": ("a@x.com", "b@x.com"), "metadata.plan": (None, "gold")}),
        make_change("99", Action.CREATE, changed={"email": (None, "z@x.com")}),
    ]
    counts = make_counts(rows=12401, same=12398, rejected=1, by_action={"update": 1, "create": 1}, calls=2)

    assert render(make_plan(changes, [counts], [row_problem("57")])) == (
        "customers -> customer                      12,401 rows   2 to change, 1 rejected\n"
        "  ~ 42   cus_Nf3KAbCdEfG…   email, metadata.plan\n"
        "  + 99\n"
        "  ! 57   metadata.note has 612 characters, Stripe accepts 500\n"
        "    hint: shorten it in the model\n"
        "\n"
        "2 changes, 1 rejected, 12,398 unchanged. About 2 writes, under a second.\n"
        "Target dev, account acct_1AbCdEfGhIjKlMn0, test mode.\n"
        "hint: `dbt-stripe-sync run` sends this plan; `--show-values` prints old and new\n"
        "  values."
    )


def test_old_and_new_values_are_shown_only_on_request():
    changes = [make_change("42", changed={"email": ("old@x.com", "new@x.com"), "phone": ("+1", "")})]
    plan = make_plan(changes, [make_counts(rows=1, by_action={"update": 1}, calls=1)])

    assert "@x.com" not in render(plan)
    shown = render(plan, show_values=True)
    assert "email  old@x.com -> new@x.com" in shown
    assert "phone  +1 -> (cleared)" in shown


@pytest.mark.parametrize(
    ("path", "value", "desired", "shown"),
    [
        ("unit_amount", 2900, {"currency": "usd"}, "2900 (29.00 USD)"),
        ("unit_amount", 2900, {"currency": "jpy"}, "2900 (2,900 JPY)"),
        ("unit_amount", 1234560, {"currency": "kwd"}, "1234560 (1,234.560 KWD)"),
        ("unit_amount_decimal", "0.05", {"currency": "eur"}, "0.05 (0.0005 EUR)"),
        ("balance", -50, {"currency": "usd"}, "-50 (-0.50 USD)"),
        ("amount", 5, {}, "5"),
        ("amount", 5, {"currency": "zzz"}, "5"),
        ("price_data.unit_amount", 100, {"currency": "usd", "price_data": {"currency": "jpy"}}, "100 (100 JPY)"),
        ("trial_end", 1767225600, {}, "1767225600 (2026-01-01)"),
        ("cancel_at", 1767229200, {}, "1767229200 (2026-01-01 01:00 UTC)"),
        ("period.start", 1767225600, {}, "1767225600 (2026-01-01)"),
        ("trial_end", "now", {}, "now"),
        ("metadata.created", 1767225600, {}, "1767225600"),
        ("active", True, {}, "true"),
        ("customer", Ref(sync="customers", key="7"), {}, "<id of customers [7]>"),
        ("preferred_locales", ["en", "de"], {}, '["en","de"]'),
        ("name", "a\x1b[31mb\nc", {}, "a\\x1b[31mb\\nc"),
        ("card.number", "4242424242424242", {}, "(hidden)"),
        ("metadata.note", "key sk_live_abcdefgh12345678", {}, "key sk_…"),
    ],
)
def test_values_are_shown_in_readable_form(path, value, desired, shown):
    change = make_change("1", changed={path: (None, value)}, desired=desired)
    plan = make_plan([change], [make_counts(rows=1, by_action={"update": 1})])

    assert f"{path}  (not set) -> {shown}\n" in render(plan, show_values=True, width=120)


def test_only_the_parts_of_a_list_of_hashes_that_differ_are_shown():
    before = [{"price": "price_1", "quantity": 2}, {"price": "price_2"}, {"price": "price_3"}]
    after = [
        {"price": Ref(sync="prices", key="team"), "quantity": 2},
        {"price": "price_2", "price_data": {"currency": "jpy", "unit_amount": 500}, "tax_rates": [{"x": 1}]},
    ]
    changes = [
        make_change("1", changed={"items": (before, after)}, desired={"items": after}),
        make_change("2", Action.CREATE, changed={"items": (None, [{"price": "price_1", "quantity": 2}])}),
    ]
    counts = make_counts(rows=2, by_action={"update": 1, "create": 1}, calls=2)

    lines = render(make_plan(changes, [counts]), show_values=True, width=100).splitlines()

    assert [line.split(maxsplit=1) for line in lines[2:7]] == [
        ["items[0].price", "price_1 -> <id of prices [team]>"],
        ["items[1].price_data.currency", "(not set) -> jpy"],
        ["items[1].price_data.unit_amount", "(not set) -> 500 (500 JPY)"],
        ["items[1].tax_rates[0].x", "(not set) -> 1"],
        ["items[2]", '{"price":"price_3"} -> (removed)'],
    ]
    assert [line.split(maxsplit=1) for line in lines[9:11]] == [
        ["items[0].price", "price_1"],
        ["items[0].quantity", "2"],
    ]


def test_figures_are_aligned_next_to_long_names_and_single_rows():
    counts = [
        make_counts("stripe_usage_events", resource="billing.meter_event", rows=6),
        make_counts("quotes", resource="quote", rows=1),
        make_counts("customers", rows=12_401),
    ]

    lines = render(make_plan([], counts)).splitlines()[:3]

    assert len({line.index(" row") for line in lines}) == 1
    assert len({line.index("unchanged") for line in lines}) == 1


def test_money_in_a_list_is_shown_in_the_currency_next_to_it():
    before = [{"currency": "jpy", "unit_amount": 500}, {"currency": "usd", "unit_amount": 500}]
    after = [{"currency": "jpy", "unit_amount": 600}, {"currency": "usd", "unit_amount": 600}]
    change = make_change("1", changed={"tiers": (before, after)}, desired={"currency": "eur", "tiers": after})

    text = render(make_plan([change], [make_counts(rows=1, by_action={"update": 1})]), show_values=True, width=100)

    assert "tiers[0].unit_amount  500 (500 JPY) -> 600 (600 JPY)" in text
    assert "tiers[1].unit_amount  500 (5.00 USD) -> 600 (6.00 USD)" in text


def test_an_old_amount_is_shown_in_the_old_currency():
    items = [{"price_data": {"currency": currency, "unit_amount": 1200}} for currency in ("usd", "jpy")]
    changed = {
        "amount": (1200, 12),
        "currency": ("usd", "jpy"),
        "fixed.amount": (1200, 1200),
        "fixed.currency": ("kwd", "usd"),
        "items": ([items[0]], [items[1]]),
    }
    desired = {"amount": 12, "currency": "jpy", "fixed": {"amount": 1200, "currency": "usd"}, "items": [items[1]]}
    change = make_change("1", Action.REPLACE, changed=changed, desired=desired)

    text = render(make_plan([change], [make_counts(rows=1, by_action={"replace": 1})]), show_values=True, width=100)

    assert "1200 (12.00 USD) -> 12 (12 JPY)" in text
    assert "1200 (1.200 KWD) -> 1200 (12.00 USD)" in text
    assert "usd -> jpy" in text


def test_replacements_and_removals_say_how_they_work():
    changes = [
        make_change("7", Action.REPLACE, resource="price", changed={"unit_amount": (1, 2)}),
        make_change(
            "8", Action.ARCHIVE, calls=(PlannedCall(operation="update", target="x", params={"active": False}),)
        ),
        make_change("9", Action.DELETE),
        make_change("10", Action.ADOPT, found_by="email", changed={"name": (None, "x")}),
    ]
    counts = make_counts(rows=4, by_action={"replace": 1, "archive": 1, "delete": 1, "adopt": 1})

    lines = render(make_plan(changes, [counts])).splitlines()

    assert lines[1].startswith("  ± 7 ")
    assert lines[1].endswith("unit_amount (replaced by a new price)")
    assert lines[2].endswith("archive, sets active")
    assert lines[3].startswith("  - 9 ")
    assert lines[3].endswith("delete")
    assert lines[4].startswith("  ~ 10 ")
    assert lines[4].endswith("found by email; name")


def test_a_held_sync_is_explained_once_with_a_hint():
    problem = Problem(
        code="model-held",
        summary="nothing is sent for `customers`: model `stripe_customers` failed in dbt",
        where=Location(model="stripe_customers"),
        hint="fix it and run `dbt build` again",
    )
    plan = make_plan([], [make_counts(held="model `stripe_customers` failed in dbt")], [problem])

    assert render(plan) == (
        "customers -> customer                           0 rows   held back\n"
        "  ! held back: model `stripe_customers` failed in dbt\n"
        "    hint: fix it and run `dbt build` again\n"
        "\n"
        "Nothing to change, 1 sync held back. No writes.\n"
        "Target dev, account acct_1AbCdEfGhIjKlMn0, test mode."
    )


def test_a_problem_of_many_rows_is_reported_a_few_times_and_counted():
    problems = [row_problem(str(key)) for key in range(1209)]
    text = render(make_plan([], [make_counts(rows=1209, rejected=1209)], problems))

    assert text.count("too-long") == 3
    assert "! and 1,206 more rows (too-long: metadata.note)" in text
    assert text.count("hint:") == 1


def test_problems_outside_of_any_sync_are_listed_last_in_full():
    problem = Problem(code="unsettled", summary="3 changes are unresolved", severity=Severity.WARNING)
    text = render(make_plan([], [make_counts(rows=1, same=1)], [problem]))

    assert text.endswith("test mode.\n\nwarning[unsettled]: 3 changes are unresolved")


def test_live_mode_is_shown_prominently():
    assert "account acct_1AbCdEfGhIjKlMn0, LIVE mode." in render(make_plan([], [], livemode=True))


def test_a_plan_of_ten_thousand_changes_shows_some_including_every_irrevocable_one():
    changes = ListedChanges(
        make_change(f"{n:05}", Action.DELETE if n == 5000 else Action.UPDATE) for n in range(10_000)
    )
    plan = make_plan(changes, [make_counts(rows=10_000, by_action={"update": 9_999, "delete": 1}, calls=10_000)])

    text = render(plan)

    assert len(text.splitlines()) < 60
    assert "  - 05000" in text
    assert "… and 9,994 more (9,999 to update, 1 to delete in total)" in " ".join(text.split())
    assert "About 10,000 writes, about 8 minutes." in " ".join(text.split())


def test_only_as_much_of_a_plan_is_read_as_is_shown():
    changes = ListedChanges(make_change(f"{n:05}") for n in range(10_000))
    render(make_plan(changes, [make_counts(rows=10_000, by_action={"update": 10_000})]), most_rows=10)

    assert changes.walked == EXAMPLES


def test_colors_never_change_the_text():
    changes = [make_change("42", changed={"email": ("a", "b")}), make_change("9", Action.DELETE)]
    plan = make_plan(
        changes, [make_counts(rows=2, by_action={"update": 1, "delete": 1}, rejected=1)], [row_problem("5")]
    )

    colored = render(plan, color=True)

    assert "\x1b[31m-\x1b[0m" in colored
    for code in ("1", "2", "31", "32", "33", "35", "36", "0"):
        colored = colored.replace(f"\x1b[{code}m", "")
    assert colored == render(plan)


TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    ["日本語" * 20, "a" * 200]
)


@given(key=TEXTS, path=TEXTS.filter(bool), old=TEXTS, new=TEXTS, summary=TEXTS, width=st.integers(40, 200))
def test_no_line_exceeds_the_terminals_width_or_contains_control_characters(key, path, old, new, summary, width):
    changes = [make_change(key, changed={path: (old, new)})]
    counts = make_counts(rows=10**9, by_action={"update": 1}, notes=(Note(text=summary),), held=summary)
    plan = make_plan(changes, [counts], [row_problem(key, summary=summary, hint=summary)])

    for line in render_plan(plan, style=PlanStyle(show_values=True, width=width)):
        assert cell_len(line) <= width
        assert line.isprintable() or not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in line)


def test_what_a_call_sends_besides_the_differing_fields_is_shown_under_them():
    create = {"product": "prod_1", "unit_amount": 2, "metadata": {"dbt_stripe_sync": "shop/prices/gold"}}
    end = {"active": False, "lookup_key": "", "metadata": {"dbt_stripe_sync": ""}}
    changes = [
        make_change(
            "gold",
            Action.REPLACE,
            sync="prices",
            stripe_id="price_1",
            resource="price",
            changed={"unit_amount": (1, 2)},
            calls=(
                PlannedCall(operation="create", target=None, params={**create, "transfer_lookup_key": True}),
                PlannedCall(operation="update", target="price_1", params=end),
            ),
        )
    ]

    text = render(make_plan(changes, [make_counts("prices", rows=1, by_action={"replace": 1})]), show_values=True)

    assert (
        "      unit_amount  1 -> 2\n"
        "      create with product=prod_1, metadata.dbt_stripe_sync=shop/prices/gold,\n"
        "          transfer_lookup_key=true\n"
        "      update price_1 with active=false, lookup_key=(cleared),\n"
        "          metadata.dbt_stripe_sync=(cleared)\n"
    ) in text


def test_spaces_around_a_value_are_visible():
    changes = [make_change("42", changed={"email": ("bob@example.com", " bob@example.com ")})]

    text = render(make_plan(changes, [make_counts(rows=1, by_action={"update": 1})]), show_values=True)

    assert '      email  bob@example.com -> " bob@example.com "\n' in text


def test_a_call_that_sends_only_the_shown_fields_has_no_separate_line():
    changes = [make_change("42", changed={"email": ("a", "b")}), make_change("9", Action.DELETE)]
    plan = make_plan(changes, [make_counts(rows=2, by_action={"update": 1, "delete": 1})])

    lines = render(plan, show_values=True).splitlines()

    assert lines[1].startswith("  ~ 42")
    assert lines[2] == "      email  a -> b"
    assert lines[3].startswith("  - 9")
    assert lines[4] == ""


PLAIN = st.text(alphabet="abc,=: >-_()[]'`é日\n", max_size=90) | st.integers(-(2**63), 2**63 - 1) | st.booleans()
PARAMS = st.dictionaries(
    st.text(alphabet="abcdefgh_", min_size=1, max_size=50),
    st.recursive(
        PLAIN | st.lists(PLAIN, max_size=3),
        lambda inner: (
            st.dictionaries(st.text(alphabet="xyz_", min_size=1, max_size=40), inner, min_size=1, max_size=3)
            | st.lists(st.dictionaries(st.text(alphabet="pqr", min_size=1), inner, min_size=1, max_size=2), min_size=1)
        ),
        max_leaves=6,
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=PARAMS, second=PARAMS, before=PARAMS)
def test_every_parameter_of_every_call_is_shown(first, second, before):
    calls = tuple(PlannedCall(operation="update", target="cus_1", params=params) for params in (first, second))
    changed = {name: (before.get(name), value) for name, value in first.items() if before.get(name) != value}
    change = make_change("1", changed=changed, calls=calls)

    assert unshown(make_plan([change], [make_counts(rows=1, by_action={"update": 1})])) == []


def test_the_check_fails_if_a_parameter_is_not_shown(monkeypatch):
    change = make_change(
        "1", params={"email": "a@x.com", "items": [{"id": "si_1"}]}, changed={"email": ("b", "a@x.com")}
    )
    monkeypatch.setattr(plan_text, "render_calls", lambda *_: ())

    assert unshown(make_plan([change])) == [
        "customers/1: update sends items[0].id='si_1', and the text does not show it"
    ]
