"""A run as one self-contained HTML file, without external scripts, styles or pictures.

It contains row values only on request, and a content security policy that blocks all requests.
"""

from __future__ import annotations

from array import array
from base64 import b64encode
from collections import Counter
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import IO, TYPE_CHECKING, Any

import orjson
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from dbt_stripe_sync.model.change import Action, is_row
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import Severity
from dbt_stripe_sync.model.run import Status
from dbt_stripe_sync.report.html_words import (
    build_bars,
    build_causes,
    build_headline,
    build_lead,
    build_owed,
    build_problems,
    build_run,
    build_sums,
    build_sums_note,
    build_syncs,
)
from dbt_stripe_sync.report.json_values import json_failure, json_params
from dbt_stripe_sync.report.lines import escaped
from dbt_stripe_sync.report.owed_text import HINT
from dbt_stripe_sync.report.plan_words import field_of, verdict_of
from dbt_stripe_sync.report.redact import describe_values, hide_keys
from dbt_stripe_sync.report.run_json import write_whole
from dbt_stripe_sync.report.run_text import WORDS
from dbt_stripe_sync.report.summary import Summary
from dbt_stripe_sync.report.value_text import render_amount, render_minor, render_parts, render_value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jinja2 import Template

    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.run import Outcome, RunReport

# As many as a browser opens without delay; the results file next to it has the rest.
MOST_SUCCEEDED = 50_000
MOST_FAILED = 50_000
# A page shown in full is read on; one with thousands of causes is not.
MOST_CAUSES = 50
DASHBOARD = "https://dashboard.stripe.com"
# The Dashboard's page for an object of each kind; any other is found by a search for its id
# (docs.stripe.com/dashboard/search).
PAGES = {
    "billing.meter": "billing/meters",
    "coupon": "coupons",
    "customer": "customers",
    "invoice": "invoices",
    "payment_link": "payment-links",
    "price": "prices",
    "product": "products",
    "promotion_code": "promotion_codes",
    "quote": "quotes",
    "subscription": "subscriptions",
    "subscription_schedule": "subscription_schedules",
    "tax_rate": "tax-rates",
}
# The label of a row that has no change, because it was rejected when it was planned.
NOT_PLANNED = "none"
# A row's own change, and what is counted separately from the rows.
_BESIDE = ("", " (further step)", " (earlier run)")
_STATUSES = list(Status)
# The number of the rows that others have changed in Stripe, after those of all statuses.
_DRIFTED = len(_BESIDE) * len(_STATUSES)
# What needs attention comes first.
_BY_URGENCY = (Status.UNKNOWN, Status.REJECTED, Status.SKIPPED, Status.SUCCEEDED)
_ACTIONS = list(Action)


def write_html(report: RunReport, path: Path, *, with_values: bool = False, with_amounts: bool = False) -> None:
    """Write a run's page, change by change.

    The file is replaced completely or not at all. Without `with_values` it contains keys, ids and field names, but only
    the type of each value. `with_amounts` shows the amounts of prices, items and invoices regardless. Raises `OSError`.
    """
    write_page(build_page(report, with_values=with_values, with_amounts=with_amounts), path)


def write_page(page: Page, path: Path) -> None:
    """Write a page that was given every outcome, as `write_html` does. Raises `OSError`."""

    def write(file: IO[bytes]) -> None:
        for piece in render_page(page):
            file.write(piece.encode(errors="replace"))

    write_whole(path, write)


def build_page(report: RunReport, *, with_values: bool = False, with_amounts: bool = False) -> Page:
    """The data of a run's page, after its outcomes have been read."""
    page = Page(report, with_values=with_values, with_amounts=with_amounts or with_values)
    for outcome in report.outcomes:
        page.add(outcome)
    return page


def render_page(page: Page) -> Iterator[str]:
    """The page in pieces. The outcomes are read again, after those that `build_page` read to add them up."""
    report, with_values, with_amounts = page.report, page.with_values, page.with_amounts
    css, script = _read("report.css"), _read("report.js")
    causes = page.summary.in_order()
    problems = build_problems(report)
    hidden = max(0, len(causes) - MOST_CAUSES) + max(0, len(problems) - MOST_CAUSES)
    pieces = _template().generate(
        policy=_policy(css, script),
        css=Markup(css),  # noqa: S704 - our own file
        js=Markup(script),  # noqa: S704 - our own file
        headline=build_headline(report),
        lead=build_lead(report, page.summary),
        run=build_run(report),
        sums=build_sums(report),
        bars=build_bars(report),
        bars_label=", ".join(f"{sum_['figure']} {sum_['word']}" for sum_ in build_sums(report)),
        sums_note=build_sums_note(report, page.summary),
        causes=build_causes(causes[:MOST_CAUSES]),
        problems=problems[:MOST_CAUSES],
        owed=build_owed(report, with_values=with_values),
        owed_hint=HINT,
        more_causes=f"{counted(hidden, 'more cause')}: see the table below." if hidden else None,
        syncs=build_syncs(report, page.summary),
        left_out=page.left_out,
        values_note=_values_note(with_values=with_values, with_amounts=with_amounts),
        facts=page.facts(),
        rows=page.rows(),
    )
    yield from (escaped(hide_keys(piece)) for piece in pieces)


class Page:
    """The data of a page, which must be given every outcome first. Repeated names are numbers in its rows."""

    def __init__(self, report: RunReport, *, with_values: bool, with_amounts: bool) -> None:
        self.report = report
        self.with_values = with_values
        self.with_amounts = with_amounts
        # The total of each invoice's items, by the invoice's id and the currency.
        self._invoiced: dict[str, Counter[str]] = {}
        self._rejected = list(_rejected_rows(report))[:MOST_FAILED]
        self.summary = Summary()
        self._fields: dict[str, int] = {}
        self._syncs: dict[str, int] = {}
        self._resources: dict[str, str] = {}
        # The cause of each failure by its number, so that the second pass need not find it again.
        self._causes = array("L")
        for group, problem in self._rejected:
            self._syncs.setdefault(group, len(self._syncs))
            if field := field_of(problem):
                self._fields.setdefault(field, len(self._fields))

    def add(self, outcome: Outcome) -> None:
        """Count one outcome. They must come in the order in which they are written afterwards."""
        cause = self.summary.add(outcome, with_values=self.with_values)
        if cause is not None and len(self._causes) < MOST_FAILED:
            self._causes.append(cause.number)
        self._syncs.setdefault(outcome.change.sync, len(self._syncs))
        self._resources.setdefault(outcome.change.sync, outcome.change.resource)
        if self.with_amounts:
            self._note_item(outcome)
        for part in outcome.change.changed:
            self._fields.setdefault(part.path, len(self._fields))

    def _note_item(self, outcome: Outcome) -> None:
        """Add an item to its invoice."""
        change = outcome.change
        invoice, amount, currency = (change.desired.get(name) for name in ("invoice", "amount", "currency"))
        if outcome.status is Status.SUCCEEDED and isinstance(invoice, str) and isinstance(amount, int):
            self._invoiced.setdefault(invoice, Counter())[str(currency)] += amount

    def _amount(self, outcome: Outcome) -> list[Any] | None:
        """The amount of a change, and the number to sort it by."""
        if not self.with_amounts:
            return None
        items = self._invoiced.get(outcome.stripe_id or "")
        if items is not None:
            parts = [render_minor(amount, currency) for currency, amount in items.items()]
            return [f"{', '.join(part.text for part in parts)} of items", parts[0].figure]
        shown = render_amount(outcome.change)
        return [shown.text, shown.figure] if shown is not None else None

    @property
    def left_out(self) -> str | None:
        """How many changes the page does not show, because there are too many."""
        succeeded = self.summary.total(Status.SUCCEEDED)
        failed = sum(self.summary.total(status) for status in _STATUSES) - succeeded
        more = max(0, succeeded - MOST_SUCCEEDED) + max(0, failed - MOST_FAILED)
        verb = "is" if more == 1 else "are"
        return f"{counted(more, 'more change')} {verb} only in stripe_sync_results.json." if more else None

    def facts(self) -> Markup:
        """The meaning of the numbers in the rows."""
        header = self.report.header
        account = f"/{header.account}" if header.account.startswith("acct_") else ""
        facts = {
            "dashboard": f"{DASHBOARD}{account}{'' if header.livemode else '/test'}",
            "statuses": [*(status.value for _ in _BESIDE for status in _STATUSES), Status.UNKNOWN.value],
            "words": [*(f"{WORDS[status]}{beside}" for beside in _BESIDE for status in _STATUSES), "drifted"],
            "ranks": [_BY_URGENCY.index(status) for status in (*_STATUSES * len(_BESIDE), Status.UNKNOWN)],
            "actions": [*(action.value for action in _ACTIONS), NOT_PLANNED],
            "syncs": list(self._syncs),
            "pages": [PAGES.get(self._resources.get(sync, "")) for sync in self._syncs],
            "file": f"stripe-sync-{self.report.run_id}.csv",
            "has_amounts": self.with_amounts,
            "fields": list(self._fields),
            "causes": {
                cause.number: {"meaning": cause.meaning, "hint": cause.hint} for cause in self.summary.causes.values()
            },
        }
        return _island(facts)

    def rows(self) -> Iterator[Markup]:
        """One JSON array per change, each but the first after a comma."""
        causes = iter(self._causes)
        cause: int | None
        room = MOST_SUCCEEDED
        before = "\n"
        for group, problem in self._rejected:
            yield Markup(before) + _island(self._rejected_row(group, problem))  # noqa: S704 - a comma or nothing
            before = ",\n"
        for outcome in self.report.outcomes:
            if outcome.status is Status.SUCCEEDED:
                cause, room = -1, room - 1
            else:
                cause = next(causes, None)
            if cause is None or (cause < 0 and room < 0):
                continue
            yield Markup(before) + _island(self._row(outcome, cause))  # noqa: S704 - a comma or nothing
            before = ",\n"

    def _row(self, outcome: Outcome, cause: int) -> list[Any]:
        change = outcome.change
        since = outcome.finished_at - self.report.started_at if outcome.finished_at is not None else None
        return [
            self._syncs[change.sync],
            change.key,
            _ACTIONS.index(change.action),
            _status_of(outcome),
            outcome.stripe_id or change.stripe_id,
            outcome.request_id,
            outcome.attempts,
            round(since.total_seconds() * 1000) if since is not None else None,
            [self._fields[part.path] for part in change.changed],
            cause,
            self._detail(outcome),
            self._amount(outcome),
        ]

    def _rejected_row(self, sync: str, problem: Problem) -> list[Any]:
        """A row that was rejected before any part of it was sent."""
        detail = {"failure": {"message": problem.summary, "code": problem.code}, "reason": problem.hint}
        is_drifted = verdict_of(problem) == "drifted"
        status = _DRIFTED if is_drifted else _STATUSES.index(Status.REJECTED)
        field = field_of(problem)
        return [
            self._syncs[sync],
            problem.where.key,
            len(_ACTIONS),
            status,
            None,
            None,
            0,
            None,
            [self._fields[field]] if field else [],
            -1,
            detail,
            None,
        ]

    def _detail(self, outcome: Outcome) -> dict[str, Any] | None:
        """What a row shows when it is opened; for one that succeeded, only what its columns don't show."""
        change, detail = outcome.change, dict[str, Any]()
        is_failed = outcome.status is not Status.SUCCEEDED
        if outcome.failure is not None:
            failure = json_failure(outcome.failure, change, with_values=self.with_values) or {}
            detail["failure"] = {
                name: value for name, value in failure.items() if value is not None and name != "doc_url"
            }
        if reason := outcome.reason or change.reason:
            detail["reason"] = reason
        if is_failed or self.with_values:
            detail["calls"] = self._calls(change)
        if self.with_values:
            detail["values"] = [[part.path, part.before, part.after] for part in render_parts(change)]
        return detail or None

    def _calls(self, change: Change) -> list[list[Any]]:
        return [
            [
                f"{change.resource}.{call.operation}",
                call.target and render_value("", call.target, {}),
                json_params(call.params if self.with_values else describe_values(call.params)),
            ]
            for call in change.calls
        ]


def _status_of(outcome: Outcome) -> int:
    """The number of an outcome's status. The statuses of each kind of `_BESIDE` are consecutive."""
    kind = 2 if outcome.is_earlier else 0 if is_row(outcome.change) else 1
    return kind * len(_STATUSES) + _STATUSES.index(outcome.status)


def _rejected_rows(report: RunReport) -> Iterator[tuple[str, Problem]]:
    """Rows that were rejected when they were planned, each once, with its sync."""
    seen = set()
    by_model = {counts.model: counts.sync for counts in report.counts if counts.part_of is None}
    for problem in report.problems:
        where = problem.where
        row = (where.sync or by_model.get(where.model or "", where.model or ""), where.key)
        if where.key is not None and problem.severity is Severity.ERROR and row not in seen:
            seen.add(row)
            yield row[0], problem


def _values_note(*, with_values: bool, with_amounts: bool) -> str:
    if with_values:
        return "This file contains row values: protect it like the table."
    return f"This file contains no row values{', except amounts of money' if with_amounts else ''}."


def _island(value: Any) -> Markup:
    """JSON inside a script element: nothing in it can end the element or begin a comment."""
    text = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704 - every character that HTML reads is escaped above


# Compiling it takes longer than writing most pages, and a server writes one after each of its runs.
@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["code"] = _code
    return environment.from_string(_read("report.html.jinja"))


def _code(text: str) -> Markup:
    """A text whose parts in backticks are shown as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup().join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def _policy(css: str, script: str) -> str:
    """Only the page's own style and script are allowed, identified by their digests (w3.org/TR/CSP3)."""
    return (
        f"default-src 'none'; style-src '{_digest(css)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _read(name: str) -> str:
    return (files("dbt_stripe_sync.report") / "page" / name).read_text(encoding="utf-8")
