"""A run as one HTML file that asks nobody for anything: no script, style or picture comes from elsewhere.

It holds no value of a row unless that was asked for, and a policy that keeps it quiet wherever it is opened.
"""

from __future__ import annotations

from array import array
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import IO, TYPE_CHECKING, Any

import orjson
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from dbt_stripe_sync.model.change import Action
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
    build_syncs,
)
from dbt_stripe_sync.report.json_values import json_failure, json_params
from dbt_stripe_sync.report.lines import counted, escaped
from dbt_stripe_sync.report.owed_text import HINT
from dbt_stripe_sync.report.plan_words import PARTICIPLES
from dbt_stripe_sync.report.redact import describe_values, hide_keys
from dbt_stripe_sync.report.run_json import write_whole
from dbt_stripe_sync.report.summary import Summary
from dbt_stripe_sync.report.value_text import render_parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.run import Outcome, RunReport

# What a browser opens without a pause; the results file beside it holds the rest.
MOST_SUCCEEDED = 50_000
MOST_FAILED = 50_000
# A page shown in full is read on; one with thousands of causes is not.
MOST_CAUSES = 50
DASHBOARD = "https://dashboard.stripe.com"
_STATUSES = list(Status)
_ACTIONS = list(Action)


def write_html(report: RunReport, path: Path, *, with_values: bool = False) -> None:
    """Write a run's page, change by change; the file is there whole or as it was before.

    Without `with_values` it holds keys, ids and field names, and of each value no more than its kind. Raises `OSError`.
    """

    def write(file: IO[bytes]) -> None:
        for piece in render_html(report, with_values=with_values):
            file.write(piece.encode(errors="replace"))

    write_whole(path, write)


def render_html(report: RunReport, *, with_values: bool = False) -> Iterator[str]:
    """The page in pieces. The outcomes are walked twice: once to add them up, once to write them down."""
    page = _Page(report, with_values=with_values)
    css, script = _read("report.css"), _read("report.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["code"] = _code
    template = environment.from_string(_read("report.html.jinja"))
    causes = page.summary.in_order()
    problems = build_problems(report)
    hidden = max(0, len(causes) - MOST_CAUSES) + max(0, len(problems) - MOST_CAUSES)
    pieces = template.generate(
        policy=_policy(css, script),
        css=Markup(css),  # noqa: S704 - our own file
        js=Markup(script),  # noqa: S704 - our own file
        headline=build_headline(report),
        lead=build_lead(report, page.summary),
        run=build_run(report),
        sums=build_sums(report),
        bars=build_bars(report),
        bars_label=", ".join(f"{sum_['figure']} {sum_['word']}" for sum_ in build_sums(report)),
        causes=build_causes(causes[:MOST_CAUSES]),
        problems=problems[:MOST_CAUSES],
        owed=build_owed(report, with_values=with_values),
        owed_hint=HINT,
        more_causes=f"{counted(hidden, 'more cause')}: see the table below." if hidden else None,
        syncs=build_syncs(report, page.summary),
        left_out=page.left_out,
        values_note="Values of rows are in this file: treat it as you treat the table."
        if with_values
        else "Values of rows are not in this file.",
        facts=page.facts(),
        rows=page.rows(),
    )
    yield from (escaped(hide_keys(piece)) for piece in pieces)


class _Page:
    """The data of a page. Names that repeat are numbers in its rows."""

    def __init__(self, report: RunReport, *, with_values: bool) -> None:
        self._report = report
        self._with_values = with_values
        self.summary = Summary()
        self._fields: dict[str, int] = {}
        self._syncs: dict[str, int] = {}
        # The cause of each failure by its number, so that the second walk need not find it again.
        self._causes = array("L")
        for outcome in report.outcomes:
            cause = self.summary.add(outcome, with_values=with_values)
            if cause is not None and len(self._causes) < MOST_FAILED:
                self._causes.append(cause.number)
            self._syncs.setdefault(outcome.change.sync, len(self._syncs))
            for part in outcome.change.changed:
                self._fields.setdefault(part.path, len(self._fields))

    @property
    def left_out(self) -> str | None:
        """What the page does not show, since there is too much of it."""
        succeeded = self.summary.total(Status.SUCCEEDED)
        failed = sum(self.summary.total(status) for status in _STATUSES) - succeeded
        more = max(0, succeeded - MOST_SUCCEEDED) + max(0, failed - MOST_FAILED)
        return f"{counted(more, 'more change')} are in stripe_sync_results.json alone." if more else None

    def facts(self) -> Markup:
        """What the rows' numbers mean."""
        header = self._report.header
        account = f"/{header.account}" if header.account.startswith("acct_") else ""
        facts = {
            "dashboard": f"{DASHBOARD}{account}{'' if header.livemode else '/test'}",
            "statuses": [status.value for status in _STATUSES],
            "actions": [action.value for action in _ACTIONS],
            "participles": [PARTICIPLES[action] for action in _ACTIONS],
            "syncs": list(self._syncs),
            "fields": list(self._fields),
            "causes": {
                cause.number: {"meaning": cause.meaning, "hint": cause.hint} for cause in self.summary.causes.values()
            },
        }
        return _island(facts)

    def rows(self) -> Iterator[Markup]:
        """One JSON array a change, each but the first after a comma."""
        causes = iter(self._causes)
        cause: int | None
        room = MOST_SUCCEEDED
        before = "\n"
        for outcome in self._report.outcomes:
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
        since = outcome.finished_at - self._report.started_at if outcome.finished_at is not None else None
        return [
            self._syncs[change.sync],
            change.key,
            _ACTIONS.index(change.action),
            _STATUSES.index(outcome.status),
            outcome.stripe_id or change.stripe_id,
            outcome.request_id,
            outcome.attempts,
            round(since.total_seconds() * 1000) if since is not None else None,
            [self._fields[part.path] for part in change.changed],
            cause,
            self._detail(outcome),
        ]

    def _detail(self, outcome: Outcome) -> dict[str, Any] | None:
        """What a row shows when it is opened: of one that succeeded only what adds to its columns."""
        change, detail = outcome.change, dict[str, Any]()
        is_failed = outcome.status is not Status.SUCCEEDED
        if outcome.failure is not None:
            failure = json_failure(outcome.failure, change, with_values=self._with_values) or {}
            detail["failure"] = {
                name: value for name, value in failure.items() if value is not None and name != "doc_url"
            }
        if reason := outcome.reason or change.reason:
            detail["reason"] = reason
        if is_failed or self._with_values:
            detail["calls"] = self._calls(change)
        if self._with_values:
            detail["values"] = [[part.path, part.before, part.after] for part in render_parts(change)]
        return detail or None

    def _calls(self, change: Change) -> list[list[Any]]:
        return [
            [
                f"{change.resource}.{call.operation}",
                call.target,
                json_params(call.params if self._with_values else describe_values(call.params)),
            ]
            for call in change.calls
        ]


def _island(value: Any) -> Markup:
    """JSON inside a script element: nothing in it can end the element or begin a comment."""
    text = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str).decode()
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704 - every character that HTML reads is escaped above


def _code(text: str) -> Markup:
    """A text whose parts in backticks are shown as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup().join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def _policy(css: str, script: str) -> str:
    """Nothing but the page's own style and script may act, named by their digests (w3.org/TR/CSP3)."""
    return (
        f"default-src 'none'; style-src '{_digest(css)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _read(name: str) -> str:
    return (files("dbt_stripe_sync.report") / "page" / name).read_text(encoding="utf-8")
