"""Renders the status page: the current sync, the queue, and the results of the last syncs. It loads nothing."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from dbt_stripe_sync import __version__
from dbt_stripe_sync.artifacts import PAGE
from dbt_stripe_sync.serve.syncing import LOG, folder_of

if TYPE_CHECKING:
    from jinja2 import Template

    from dbt_stripe_sync.serve.deliveries import Deliveries, Delivery
    from dbt_stripe_sync.serve.options import ServeOptions

SHOWN = 50
MINUTE = 60
WORDS = {"partial": "partly done"}
DONE = {"succeeded": "changes done"}


class Line(Struct, frozen=True, kw_only=True):
    """One delivery as the page shows it."""

    number: int
    state: str
    word: str
    job: str
    run_id: int
    run_url: str
    received: str
    took: str
    counts: str
    note: str | None
    has_report: bool
    has_log: bool


def render_status(options: ServeOptions, deliveries: Deliveries) -> str:
    """The page as HTML."""
    latest = deliveries.latest(SHOWN + 1)
    running, waiting, last = deliveries.running(), deliveries.waiting(), deliveries.last_ended()
    return _template().render(
        css=Markup(_css()),  # noqa: S704 - our own file
        project=options.project,
        target=options.target,
        headline=_headline(running, waiting, last),
        waiting=f"{waiting:,} waiting" if waiting else "empty",
        last_success=_last_success(deliveries),
        lines=[_line(options, delivery) for delivery in latest[:SHOWN]],
        is_cut=len(latest) > SHOWN,
        now=_moment(datetime.now(UTC).timestamp()),
        version=__version__,
    )


def policy() -> str:
    """Only the page's own style is allowed, identified by its digest (w3.org/TR/CSP3)."""
    digest = b64encode(sha256(_css().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _headline(running: Delivery | None, waiting: int, last: Delivery | None) -> str:
    if running is not None:
        return f"Syncing dbt Cloud run {running.run_id}"
    if waiting:
        return "About to sync"
    if last is None:
        return "Waiting for the first delivery"
    return {"succeeded": "The last sync succeeded", "partial": "The last sync was incomplete"}.get(
        last.state, f"The last sync {last.state}"
    )


def _last_success(deliveries: Deliveries) -> str:
    good = deliveries.last_ended("succeeded")
    return _moment(good.finished_at) if good and good.finished_at else "never"


def _line(options: ServeOptions, delivery: Delivery) -> Line:
    folder = folder_of(options, delivery.number)
    took = ""
    if delivery.started_at and delivery.finished_at:
        took = _duration(delivery.finished_at - delivery.started_at)
    access = options.access
    return Line(
        number=delivery.number,
        state=delivery.state,
        word=WORDS.get(delivery.state, delivery.state),
        job=delivery.job_name or f"job {delivery.job_id}",
        run_id=delivery.run_id,
        run_url=f"{access.base_url}/deploy/{access.account_id}/runs/{delivery.run_id}",
        received=_moment(delivery.received_at),
        took=took,
        counts=", ".join(f"{count:,} {DONE.get(status, status)}" for status, count in delivery.totals.items() if count),
        note=delivery.note,
        has_report=(folder / PAGE).is_file(),
        has_log=(folder / LOG).is_file(),
    )


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _duration(seconds: float) -> str:
    if seconds < MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), MINUTE)
    return f"{minutes:,} min {rest} s"


@cache
def _css() -> str:
    return (files("dbt_stripe_sync.serve") / "page" / "status.css").read_text(encoding="utf-8")


@cache
def _template() -> Template:
    source = (files("dbt_stripe_sync.serve") / "page" / "status.html.jinja").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(source)
