"""Sends alerts about a run to the addresses in `alerts:`. An alert that can't be sent is only a warning."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from dbt_stripe_sync.event_loop import run_to_end
from dbt_stripe_sync.model.alert import AlertForm
from dbt_stripe_sync.model.errors import Location, Problem, Severity, SyncError
from dbt_stripe_sync.model.run import NOT_CONFIRMED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import aiohttp

    from dbt_stripe_sync.config.alerts import Alert
    from dbt_stripe_sync.model.alert import AlertMessage
    from dbt_stripe_sync.model.run import RunReport
    from dbt_stripe_sync.report.summary import Summary
    from dbt_stripe_sync.workload import ProjectOptions

MOST_ATTEMPTS = 3
ATTEMPT_SECONDS = 5.0
BETWEEN_SECONDS = 1.0
REDIRECT = 300
TOO_MANY = 429
SERVER_ERROR = 500
# The environment variables in which CI systems put the address of the current job.
RUN_PAGES = ("CI_JOB_URL", "BUILD_URL", "CIRCLE_BUILD_URL", "BUILDKITE_BUILD_URL")


def alert_about_run(report: RunReport, summary: Summary | None, alerts: Sequence[Alert]) -> tuple[Problem, ...]:
    """Send the alerts that match this run, whose totals are `summary`, if they are known.

    Never raises; alerts that couldn't be sent are returned as warnings.
    """
    if not alerts:
        return ()
    from dbt_stripe_sync.report.alert import build_alert
    from dbt_stripe_sync.report.summary import summarize

    return _send_all(build_alert(report, summary or summarize(report)), alerts)


@contextmanager
def alerting_about_stops(options: ProjectOptions) -> Iterator[None]:
    """Alert about a run that failed. Alerts that couldn't be sent are added to the error's problems."""
    try:
        yield
    except SyncError as error:
        # Whoever declined the plan knows that nothing was sent.
        if all(problem.code != NOT_CONFIRMED for problem in error.problems):
            error.problems += _alert_about_stop(options, error.problems)
        raise
    except Exception:
        _alert_about_stop(options, (Problem(code="unexpected-error", summary="the run failed unexpectedly"),))
        raise


def _alert_about_stop(options: ProjectOptions, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    from dbt_stripe_sync.config.settings import parse_settings
    from dbt_stripe_sync.dbt.project import read_project
    from dbt_stripe_sync.report.alert import build_stop_alert

    try:
        project = read_project(options.project_dir, options.chosen)
    except SyncError:
        return ()  # without a project there are no alerts
    settings, _ = parse_settings(project.settings)
    message = build_stop_alert(problems, project=project.name, target=project.target_name)
    return _send_all(message, settings.alerts)


def _send_all(message: AlertMessage, alerts: Sequence[Alert]) -> tuple[Problem, ...]:
    wanted = [alert for alert in alerts if alert.when.intersection(message.reasons)]
    if not wanted:
        return ()

    async def work() -> list[Problem | None]:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=ATTEMPT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
            return await asyncio.gather(*(_send(session, message, alert) for alert in wanted))

    try:
        return tuple(problem for problem in run_to_end(work()) if problem is not None)
    except Exception as error:  # noqa: BLE001 - an alert never fails the run that it tells about
        return (_not_sent(wanted[0], type(error).__name__),)


async def _send(session: aiohttp.ClientSession, message: AlertMessage, alert: Alert) -> Problem | None:
    import aiohttp

    url = os.environ.get(alert.url_env, "").strip()
    if not url:
        return _not_sent(alert, "the variable is not set")
    if not _is_address(url):
        return _not_sent(alert, "the variable does not hold an http address")
    body = _render(_with_links(message, alert), alert.form)
    trouble = ""
    for attempt in range(MOST_ATTEMPTS):
        if attempt:
            await asyncio.sleep(BETWEEN_SECONDS)
        try:
            async with session.post(url, json=body, allow_redirects=False) as answer:
                if answer.status < REDIRECT:
                    return None
                trouble = f"the receiver answered {answer.status}"
                if answer.status != TOO_MANY and answer.status < SERVER_ERROR:
                    break
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # The error's own message may contain the address.
            trouble = f"the receiver can't be reached ({type(error).__name__})"
    return _not_sent(alert, trouble)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False


def _render(message: AlertMessage, form: AlertForm) -> dict[str, Any]:
    from dbt_stripe_sync.report.alert import render_alert_json, render_alert_slack

    return render_alert_slack(message) if form is AlertForm.SLACK else render_alert_json(message)


def _with_links(message: AlertMessage, alert: Alert) -> AlertMessage:
    links = {"report": alert.link, "job": _job_page(), **message.links}
    return replace(message, links={name: url for name, url in links.items() if url})


def _job_page() -> str | None:
    """The page of the CI job or orchestrator task that runs this."""
    env = os.environ
    if env.get("GITHUB_RUN_ID") and env.get("GITHUB_REPOSITORY"):
        server = env.get("GITHUB_SERVER_URL", "https://github.com")
        return f"{server}/{env['GITHUB_REPOSITORY']}/actions/runs/{env['GITHUB_RUN_ID']}"
    return next((env[name] for name in RUN_PAGES if env.get(name)), None)


def _not_sent(alert: Alert, why: str) -> Problem:
    return Problem(
        code="alert-not-sent",
        summary=f"the alert to the address in {alert.url_env} was not sent: {why}",
        where=Location(field="vars.stripe_sync.alerts"),
        hint=f"check the address in {alert.url_env}; the run itself is not affected",
        severity=Severity.WARNING,
    )
