"""The status page as a user sees it, in Debian's Chromium, on a wide screen and on a phone."""

from __future__ import annotations

from typing import Any

import pytest

from dbt_stripe_sync.artifacts import PAGE
from dbt_stripe_sync.cloud import CloudAccess
from dbt_stripe_sync.serve.deliveries import Deliveries, SyncEnd
from dbt_stripe_sync.serve.options import ServeOptions
from dbt_stripe_sync.serve.status_page import SHOWN, render_status
from dbt_stripe_sync.serve.syncing import LOG, folder_of
from dbt_stripe_sync.serve.webhook import Event

pytestmark = pytest.mark.browser

LONG_NAME = "A_job_with_one_rather_long_name_and_without_a_single_blank"
ENDS = [
    SyncEnd(state="succeeded", totals={"succeeded": 12_401, "rejected": 0}),
    SyncEnd(state="succeeded", totals={"succeeded": 3}),
    SyncEnd(state="partial", totals={"succeeded": 311, "rejected": 2, "skipped": 1}),
    SyncEnd(state="superseded", note="a later run of the job has finished: its own delivery is synced instead"),
    SyncEnd(
        state="failed",
        note="error[dbt-cloud-run-failed]: run 70403103926818 of dbt Cloud job 7 failed in step 1 (`dbt deps`)",
    ),
    SyncEnd(state="succeeded", totals={"succeeded": 0}),
]


@pytest.fixture
def options(tmp_path):
    access = CloudAccess(base_url="https://ab123.us1.dbt.com", account_id="4321", token="x")
    return ServeOptions(
        host="127.0.0.1",
        port=0,
        folder=tmp_path / "serve",
        target_path=tmp_path,
        project="shop",
        target="prod",
        access=access,
        arguments=(),
        secret="x",
    )


RUNNING, QUEUED = None, "queued"
HISTORIES: dict[str, tuple[list[Any], str]] = {
    "every end": ([*ENDS, RUNNING, QUEUED], "Syncing dbt Cloud run 70403103926818"),
    "none yet": ([], "Waiting for the first delivery"),
    "failed last": ([ENDS[0], ENDS[4]], "The last sync failed"),
    "long": (ENDS * 30, "The last sync succeeded"),
}


def write_page(options, ends):
    """The page after syncs that ended so, in a file."""
    deliveries = Deliveries(options.folder)
    for number, end in enumerate(ends):
        event = Event(
            id=f"wev_{number}",
            kind="job.run.completed",
            account_id="4321",
            job_id=7,
            job_name="Daily Job (dbt build)" if number % 2 else LONG_NAME,
            run_id=70403103926812 + number,
            status="Success",
            status_code=10,
        )
        deliveries.add(event)
        if end == QUEUED:
            continue
        delivery = deliveries.begin_next()
        if end is RUNNING:
            continue
        folder = folder_of(options, delivery.number)
        folder.mkdir(parents=True)
        (folder / LOG).write_text("log")
        if end.state in {"succeeded", "partial"}:
            (folder / PAGE).write_text("report")
        deliveries.end(delivery, end)
    file = options.folder / "status.html"
    file.write_text(render_status(options, deliveries))
    deliveries.close()
    return file.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 380])
@pytest.mark.parametrize("history", HISTORIES)
def test_everything_fits_and_is_readable(browser, options, tmp_path, history, width, scheme):
    ends, headline = HISTORIES[history]
    page = write_page(options, ends)
    requests, errors = [], []
    opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened.on("request", lambda request: requests.append(request.url))
    opened.on("pageerror", lambda error: errors.append(error))  # noqa: PLW0108 - Playwright marks what it is given

    opened.goto(page)
    opened.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)

    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.locator("h1").inner_text() == headline
    shown = ends[-SHOWN:]
    assert opened.get_by_text(f"Only the latest {SHOWN} deliveries").count() == (len(ends) > SHOWN)
    assert opened.locator("tbody tr").count() == len(shown)
    reports = [end for end in shown if isinstance(end, SyncEnd) and end.state in {"succeeded", "partial"}]
    assert opened.locator("a", has_text="report").count() == len(reports)
    cut = "els => els.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"
    assert opened.locator("tbody th, tbody td").evaluate_all(cut) == []
    assert requests == [page]
    assert errors == []
    opened.close()
