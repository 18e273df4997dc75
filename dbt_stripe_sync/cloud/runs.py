"""Runs of dbt Cloud jobs: read one, find the latest, start one, wait for its end."""

from __future__ import annotations

import asyncio
import time
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from msgspec import Struct

from dbt_stripe_sync.cloud.client import MOST_ATTEMPTS, MaybeSentError
from dbt_stripe_sync.model.errors import DbtCloudError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from dbt_stripe_sync.cloud.client import CloudClient

POLL_SECONDS = 10.0
# A new run is listed immediately. A few more are checked, since others may start runs, too.
RECENT_RUNS = "20"
FULL = {"include_related": '["run_steps","trigger","job"]'}


class RunState(Enum):
    """The state of a run, with dbt Cloud's own codes (docs.getdbt.com/dbt-cloud/api-v2, `status`)."""

    QUEUED = 1
    STARTING = 2
    RUNNING = 3
    SUCCESS = 10
    ERROR = 20
    CANCELLED = 30

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen in the run."""
        return self in {RunState.SUCCESS, RunState.ERROR, RunState.CANCELLED}

    @property
    def word(self) -> str:
        """The state in a sentence."""
        return "failed" if self is RunState.ERROR else "succeeded" if self is RunState.SUCCESS else self.name.lower()


class CloudStep(Struct, frozen=True, kw_only=True):
    """One step of a run. `index` counts from 1, the clone of the repository included."""

    index: int
    name: str
    state: RunState | None

    @property
    def command(self) -> str:
        """The dbt command in the step's name (`Invoke dbt with `dbt build``); empty if there is none."""
        _, mark, rest = self.name.partition("`")
        return rest.rpartition("`")[0] if mark else ""


class CloudRun(Struct, frozen=True, kw_only=True):
    """A run of a job. `cause` is the reason that was given when it was started."""

    id: int
    job_id: int
    state: RunState
    url: str
    message: str = ""
    cause: str = ""
    steps: tuple[CloudStep, ...] = ()

    @property
    def current_step(self) -> CloudStep | None:
        """The step that is running now."""
        running = (step for step in self.steps if step.state is RunState.RUNNING)
        return next(running, None) if self.state is RunState.RUNNING else None


async def read_run(client: CloudClient, run_id: int) -> CloudRun:
    """A run by its id. Raises `DbtCloudError`."""
    what = f"run {run_id}"
    return parse_run(await client.read(f"/runs/{run_id}/", what, FULL), what)


async def read_latest_run(client: CloudClient, job_id: int) -> CloudRun:
    """The run of a job that was started last. Raises `DbtCloudError` (`dbt-cloud-no-runs`)."""
    latest = await find_latest_run(client, job_id)
    if latest is None:
        await client.read(f"/jobs/{job_id}/", f"job {job_id}")  # an unknown job has no runs either
        raise DbtCloudError(
            Problem(
                code="dbt-cloud-no-runs",
                summary=f"job {job_id} of dbt Cloud has never run",
                hint=f"start it: `dbt-stripe-sync cloud trigger {job_id}`",
            )
        )
    return await read_run(client, latest.id)


async def find_latest_run(client: CloudClient, job_id: int) -> CloudRun | None:
    """The last run of a job, without its steps, or None."""
    runs = await _recent_runs(client, job_id, limit="1")
    return runs[0] if runs else None


async def start_run(client: CloudClient, job_id: int, cause: str) -> CloudRun:
    """Start a run exactly once, even if dbt Cloud's answer is lost. Raises `DbtCloudError`."""
    what = f"job {job_id}"
    mark = uuid4().hex[:8]
    cause = f"{cause} ({mark})"
    for attempt in range(1, MOST_ATTEMPTS + 1):
        try:
            return parse_run(await client.start(f"/jobs/{job_id}/run/", what, {"cause": cause}), what)
        except MaybeSentError:
            await asyncio.sleep(float(attempt))
            started = [run for run in await _recent_runs(client, job_id, limit=RECENT_RUNS) if mark in run.cause]
            if started:
                return started[0]
    raise DbtCloudError(
        Problem(
            code="dbt-cloud-unreachable",
            summary=f"dbt Cloud failed {MOST_ATTEMPTS} times to start job {job_id}; no run of it was started",
            hint="run it again later; https://status.getdbt.com says whether dbt Cloud has an incident",
        )
    )


async def wait_for_run(
    client: CloudClient,
    run: CloudRun,
    *,
    patience: float,
    poll: float = POLL_SECONDS,
    on_change: Callable[[CloudRun], None] = lambda _: None,
) -> CloudRun:
    """Wait for the run to finish, and return it; `on_change` is called with each new state and step.

    Raises `DbtCloudError`.
    """
    until = time.monotonic() + patience
    reported: object = None
    while True:
        seen = (run.state, run.current_step)
        if seen != reported:
            on_change(run)
            reported = seen
        if run.state.is_over:
            return run
        left = until - time.monotonic()
        if left <= 0:
            raise DbtCloudError(_active(run, waited=patience))
        await asyncio.sleep(min(poll, left))
        run = await read_run(client, run.id)


def check_over(run: CloudRun) -> None:
    """Whether a run is over. Raises `DbtCloudError` (`dbt-cloud-run-active`)."""
    if not run.state.is_over:
        raise DbtCloudError(_active(run))


def _active(run: CloudRun, *, waited: float | None = None) -> Problem:
    after = f" after {waited:,.0f} seconds" if waited else ""
    return Problem(
        code="dbt-cloud-run-active",
        summary=f"run {run.id} of dbt Cloud job {run.job_id} is still {run.state.word}{after}: {run.url}",
        hint=f"wait for it: `--dbt-cloud-run {run.id} --dbt-cloud-wait 3600`",
    )


def parse_run(data: Any, what: str) -> CloudRun:
    """A run from the API's JSON. Raises `DbtCloudError` if it isn't one."""
    try:
        return CloudRun(
            id=int(data["id"]),
            job_id=int(data.get("job_definition_id") or data.get("job_id") or 0),
            state=_parse_state(data),
            url=str(data.get("href") or ""),
            message=" ".join(str(data.get("status_message") or "").split()),
            cause=str((data.get("trigger") or {}).get("cause") or ""),
            steps=tuple(
                sorted((_parse_step(step) for step in data.get("run_steps") or ()), key=lambda step: step.index)
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DbtCloudError(
            Problem(
                code="dbt-cloud-refused",
                summary=f"the answer to the request for {what} is not a run of dbt Cloud's",
                hint="upgrade dbt-stripe-sync: dbt Cloud's API may have changed",
            )
        ) from None


def _parse_state(data: Any) -> RunState:
    code = int(data["status"])
    try:
        return RunState(code)
    except ValueError:
        if not data.get("is_complete"):
            return RunState.RUNNING
        return RunState.SUCCESS if data.get("is_success") else RunState.ERROR


def _parse_step(data: Any) -> CloudStep:
    code = data.get("status")
    state = RunState(code) if code in {state.value for state in RunState} else None
    return CloudStep(index=int(data["index"]), name=str(data.get("name") or ""), state=state)


async def _recent_runs(client: CloudClient, job_id: int, *, limit: str) -> list[CloudRun]:
    what = f"job {job_id}"
    asked = {**FULL, "job_definition_id": str(job_id), "order_by": "-id", "limit": limit}
    return [parse_run(data, what) for data in await client.find("/runs/", what, asked) or ()]
