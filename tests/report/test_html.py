"""A run's page as a file: what it contains, what it must not contain, and that nothing in it can act."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256

import pytest
from made import email_failure, make_change, make_counts, make_outcome, make_report, row_problem
from msgspec.structs import replace

from dbt_stripe_sync.model.calls import StripeFailure
from dbt_stripe_sync.model.change import Action, PlannedCall, Ref
from dbt_stripe_sync.model.plan import Note
from dbt_stripe_sync.model.run import RunStatus, Status
from dbt_stripe_sync.report import html
from dbt_stripe_sync.report.html import build_page, render_page, write_html


def render(report, **given) -> str:
    return "".join(render_page(build_page(report, **given)))


def island(page: str, name: str):
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def failed_report(**given):
    call = PlannedCall(operation="create", target=None, params={"email": "jo@@x.com", "card": {"number": "4242424242"}})
    change = make_change("1", Action.CREATE, changed={"email": (None, "jo@@x.com")}, calls=(call,))
    outcome = make_outcome(change, Status.REJECTED, failure=email_failure(message="Invalid email address: jo@@x.com"))
    return make_report([outcome], [make_counts(rows=1)], status=RunStatus.PARTIAL, **given)


@pytest.mark.parametrize(
    ("report", "headline"),
    [
        (make_report([], [make_counts(rows=3, same=3)]), "Everything was in sync"),
        (make_report([make_outcome(make_change("1"))]), "1 change written, everything is in sync"),
        (
            make_report([make_outcome(make_change("1"))], [make_counts(rows=6, by_action={"update": 1})]),
            "1 change written, 5 rows left out",
        ),
        (failed_report(), "1 row is not in sync"),
        (make_report([], [make_counts(rejected=1200)], status=RunStatus.PARTIAL), "1,200 rows are not in sync"),
        (make_report([], [make_counts(held="x")], status=RunStatus.PARTIAL), "Some syncs were held back"),
        (make_report(status=RunStatus.INTERRUPTED), "Interrupted after 0 changes"),
    ],
)
def test_the_headline_states_the_result(report, headline):
    assert f"<h1>{headline}</h1>" in render(report)


def test_every_change_is_in_the_data_with_what_its_numbers_mean():
    outcomes = [
        make_outcome(make_change(str(n), changed={"email": ("a", "b"), "name": ("c", "d")})) for n in range(100)
    ]
    page = render(make_report(outcomes, [make_counts(rows=100)]))
    rows, facts = island(page, "data"), island(page, "facts")

    assert len(rows) == 100
    assert rows[7][:9] == [0, "7", 1, 0, "cus_Nf3KAbCdEfGh7", "req_7", 1, 1000, [0, 1]]
    assert facts["fields"] == ["email", "name"]
    assert facts["syncs"] == ["customers"]
    assert facts["dashboard"] == "https://dashboard.stripe.com/acct_1AbCdEfGhIjKlMn0/test"


def test_a_live_run_links_to_the_live_dashboard():
    page = render(make_report(header={"livemode": True, "account": "key_digest"}))

    assert island(page, "facts")["dashboard"] == "https://dashboard.stripe.com"
    assert "Live mode" in page


def test_a_failure_has_its_meaning_its_hint_and_the_shape_of_its_request():
    page = render(failed_report())
    (row,) = island(page, "data")

    assert island(page, "facts")["causes"]["0"]["meaning"] == "the email address is not valid"
    assert row[10]["failure"]["code"] == "email_invalid"
    assert row[10]["calls"] == [["customer.create", None, {"email": "(text)", "card": {"number": "(hidden)"}}]]


def test_no_value_of_a_row_is_in_the_page_unless_requested():
    assert "x.com" not in render(failed_report())
    page = render(failed_report(), with_values=True)
    (row,) = island(page, "data")
    assert row[10]["calls"][0][2]["email"] == "jo@@x.com"
    assert row[10]["values"] == [["email", "(not set)", "jo@@x.com"]]
    assert "4242424242" not in page


def test_nothing_of_a_row_can_become_html_or_script():
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u2028{{ 7 * 7 }}"
    change = make_change(evil, sync=evil, changed={evil: (evil, evil)}, reason=evil)
    failure = StripeFailure(type="x", code=evil, message=evil, param=evil, doc_url="javascript:alert(1)")
    outcomes = [
        make_outcome(change, Status.REJECTED, failure=failure),
        make_outcome(change, Status.SKIPPED, reason=evil),
    ]
    report = make_report(
        outcomes, [make_counts(evil, held=evil, notes=(Note(text=evil),))], [row_problem(evil, summary=evil)]
    )

    page = render(report, with_values=True)

    assert "<img" not in page
    assert page.count("<script") == 3
    assert "alert(1)</script>" not in page
    assert "javascript:" not in page
    assert island(page, "data")[0][1] == evil


def test_the_policy_allows_the_pages_own_style_and_script_alone():
    page = render(failed_report())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]

    assert policy.startswith("default-src 'none'; ")
    for text in (style, script):
        assert b64encode(sha256(text.encode()).digest()).decode() in policy
    assert "unsafe" not in policy
    assert not re.search(r'\b(?:src|srcset|action|style|on\w+)="', page)
    assert "url(" not in style
    assert "@import" not in style


def test_a_reference_to_an_object_that_was_never_created_is_named():
    customer = Ref(sync="customers", key="7")
    call = PlannedCall(operation="create", target=customer, params={"customer": customer})
    change = make_change("1", Action.CREATE, calls=(call,))
    page = render(make_report([make_outcome(change, Status.SKIPPED, reason="customers/7 was not written")]))

    shown = island(page, "data")[0][10]["calls"][0][1:]
    assert shown == ["<id of customers [7]>", {"customer": {"$ref": ["customers", "7"]}}]


def test_a_run_too_large_for_a_browser_keeps_its_failures(monkeypatch):
    monkeypatch.setattr(html, "MOST_SUCCEEDED", 10)
    outcomes = [make_outcome(make_change(str(n)), Status.REJECTED if n > 95 else Status.SUCCEEDED) for n in range(100)]
    page = render(make_report(outcomes, [make_counts(rows=100)], status=RunStatus.PARTIAL))

    assert [row[1] for row in island(page, "data")] == [*map(str, range(10)), "96", "97", "98", "99"]
    assert "86 more changes are only in stripe_sync_results.json." in page


def test_thousands_of_causes_are_not_all_reported():
    outcomes = [
        make_outcome(make_change(str(n)), Status.REJECTED, failure=email_failure(code=f"c{n}", message=None))
        for n in range(200)
    ]
    page = render(make_report(outcomes, [make_counts(rows=200)], status=RunStatus.PARTIAL))

    assert page.count('class="cause ') == 50
    assert "150 more causes" in page


def test_the_file_is_complete_and_readable_only_by_its_owner(tmp_path):
    write_html(failed_report(), tmp_path / "target" / "report.html")

    path = tmp_path / "target" / "report.html"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().rstrip().endswith("</html>")
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_a_drifted_row_is_not_called_rejected_and_a_whole_row_names_no_field():
    whole = row_problem("2", code="object-deleted", summary="cus_1 was deleted in Stripe")
    whole = replace(whole, where=replace(whole.where, field="meta.stripe_sync[1]"))
    drifted = row_problem("1", field="name", code="drifted", summary="`name` was changed in Stripe")
    counts = make_counts(rows=2, rejected=1, drifted=1)
    page = render(make_report([], [counts], [drifted, whole], status=RunStatus.PARTIAL))

    rows, facts = island(page, "data"), island(page, "facts")

    assert "row of customers drifted, at name<" in page
    assert "row of customers rejected<" in page
    shown = [(facts["words"][row[3]], row[1], [facts["fields"][field] for field in row[8]]) for row in rows]
    assert shown == [("drifted", "1", ["name"]), ("rejected", "2", [])]
