"""Airflow 2 and 3: an operator that syncs a project, and releases its worker slot while dbt Cloud builds."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.exceptions import AirflowException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from dbt_stripe_sync import PlanOptions, Project, ProjectOptions
from dbt_stripe_sync.cloud.access import ACCOUNT, HOST, TOKEN, CloudAccess, read_access
from dbt_stripe_sync.cloud.client import open_client
from dbt_stripe_sync.cloud.fetching import CloudChoice, fetch_artifacts
from dbt_stripe_sync.cloud.runs import read_latest_run, read_run, start_run
from dbt_stripe_sync.integrations.summary import explain_problems, summarize
from dbt_stripe_sync.model.errors import SyncError

try:  # Airflow 3
    from airflow.sdk import BaseHook, BaseOperator
except ImportError:  # Airflow 2
    from airflow.hooks.base import BaseHook
    from airflow.models import BaseOperator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from dbt_stripe_sync.cloud.runs import CloudRun

KEY = "STRIPE_API_KEY"
POLL_SECONDS = 30.0


class StripeSyncOperator(BaseOperator):  # type: ignore[misc] # Airflow's types are not at hand
    """Make Stripe match the models of a dbt project.

    With `dbt_cloud_job` or `dbt_cloud_run`, it syncs the artifacts of that dbt Cloud run once it has finished;
    `trigger_job` starts the job first. While dbt Cloud builds, the task is deferred (`deferrable`, as Airflow's setting
    `operators.default_deferrable` says) or waits for at most `timeout` seconds. `stripe_conn_id` and
    `dbt_cloud_conn_id` name connections of Airflow's to use instead of the environment: the key in the first one's
    password; account, host and token in login, host and password of the second. The other arguments are those of
    `ProjectOptions` and `Project.run`.

    The task fails if nothing could be done and, unless `fail_on_rejected` is False, if rows or models were left out.
    Its XCom has the numbers of the run.
    """

    template_fields: Sequence[str] = (
        "project_dir",
        "profiles_dir",
        "profile",
        "dbt_target",
        "variables",
        "select",
        "exclude",
        "state_path",
        "state_url",
        "stripe_url",
        "dbt_cloud_job",
        "dbt_cloud_run",
    )
    ui_color = "#dfe1ff"

    def __init__(  # noqa: PLR0913 - one a setting
        self,
        *,
        project_dir: str,
        profiles_dir: str | None = None,
        profile: str | None = None,
        dbt_target: str | None = None,
        variables: str | None = None,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        state_path: str | None = None,
        state_url: str | None = None,
        stripe_url: str | None = None,
        wait_for_lock: float = 0.0,
        ignore_dbt_results: bool = False,
        full_refresh: bool = False,
        agreed: bool = False,
        fail_on_rejected: bool = True,
        stripe_conn_id: str | None = None,
        dbt_cloud_conn_id: str | None = None,
        dbt_cloud_job: int | str | None = None,
        dbt_cloud_run: int | str | None = None,
        dbt_cloud_step: int | None = None,
        trigger_job: bool = False,
        deferrable: bool | None = None,
        timeout: float = 4 * 60 * 60,
        poll: float = POLL_SECONDS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_dir = project_dir
        self.profiles_dir = profiles_dir
        self.profile = profile
        self.dbt_target = dbt_target
        self.variables = variables
        self.select = select
        self.exclude = exclude
        self.state_path = state_path
        self.state_url = state_url
        self.stripe_url = stripe_url
        self.wait_for_lock = wait_for_lock
        self.ignore_dbt_results = ignore_dbt_results
        self.full_refresh = full_refresh
        self.agreed = agreed
        self.fail_on_rejected = fail_on_rejected
        self.stripe_conn_id = stripe_conn_id
        self.dbt_cloud_conn_id = dbt_cloud_conn_id
        self.dbt_cloud_job = dbt_cloud_job
        self.dbt_cloud_run = dbt_cloud_run
        self.dbt_cloud_step = dbt_cloud_step
        self.trigger_job = trigger_job
        self.deferrable = (
            conf.getboolean("operators", "default_deferrable", fallback=False) if deferrable is None else deferrable
        )
        self.timeout = timeout
        self.poll = poll

    def execute(self, context: Any) -> dict[str, Any]:
        """Sync, or wait for dbt Cloud first."""
        del context
        if self.dbt_cloud_job is None and self.dbt_cloud_run is None:
            return self._sync()
        run = _with_airflow_errors(lambda: asyncio.run(self._find_run()))
        self.log.info("dbt Cloud run %s is %s: %s", run.id, run.state.word, run.url)
        if self.deferrable and not run.state.is_over:
            until = datetime.now(UTC) + timedelta(seconds=self.timeout)
            trigger = DbtCloudRunTrigger(
                run_id=run.id, until=until.isoformat(), poll=self.poll, conn_id=self.dbt_cloud_conn_id
            )
            self.defer(trigger=trigger, method_name="resume")
        self._fetch(run.id, wait=self.timeout)
        return self._sync()

    def resume(self, context: Any, event: Mapping[str, Any]) -> dict[str, Any]:
        """Continue once the dbt Cloud run has finished, or can't be waited for any longer."""
        del context
        if event["error"]:
            raise AirflowException(event["error"])
        self._fetch(int(event["run_id"]), wait=0.0)
        return self._sync()

    async def _find_run(self) -> CloudRun:
        async with open_client(read_cloud_access(self.dbt_cloud_conn_id)) as client:
            if self.dbt_cloud_run is not None:
                return await read_run(client, int(self.dbt_cloud_run))
            job = int(self.dbt_cloud_job or 0)
            return (
                await start_run(client, job, self._cause()) if self.trigger_job else await read_latest_run(client, job)
            )

    def _cause(self) -> str:
        return f"Started by Airflow: {self.dag_id}.{self.task_id}"

    def _fetch(self, run_id: int, *, wait: float) -> None:
        choice = CloudChoice(run=run_id, step=self.dbt_cloud_step, wait=wait, poll=self.poll)
        access = read_cloud_access(self.dbt_cloud_conn_id)
        _with_airflow_errors(lambda: fetch_artifacts(self._options(), choice, access=access))

    def _sync(self) -> dict[str, Any]:
        project = Project(self._options())
        with _key_of(self.stripe_conn_id):
            report = _with_airflow_errors(
                lambda: project.run(PlanOptions(full_refresh=self.full_refresh), agreed=self.agreed)
            )
        summary = summarize(report, project.artifacts)
        for sync in summary.syncs:
            self.log.info("%s: %s", sync.sync, sync.explanation)
        if self.fail_on_rejected and not summary.has_succeeded:
            raise AirflowException(summary.explanation)
        return summary.as_json()

    def _options(self) -> ProjectOptions:
        return ProjectOptions(
            project_dir=Path(self.project_dir),
            profiles_dir=Path(self.profiles_dir) if self.profiles_dir else None,
            profile=self.profile,
            target=self.dbt_target,
            variables=self.variables,
            select=_texts(self.select),
            exclude=_texts(self.exclude),
            state_path=Path(self.state_path) if self.state_path else None,
            state_url=self.state_url,
            stripe_url=self.stripe_url,
            wait_for_lock=self.wait_for_lock,
            ignore_dbt_results=self.ignore_dbt_results,
        )


class DbtCloudRunTrigger(BaseTrigger):  # type: ignore[misc] # Airflow's types are not at hand
    """Waits in Airflow's triggerer until a dbt Cloud run has finished. Holds the id of a connection, but no token."""

    def __init__(self, *, run_id: int, until: str, poll: float, conn_id: str | None) -> None:
        super().__init__()
        self.run_id = run_id
        self.until = until
        self.poll = poll
        self.conn_id = conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How Airflow stores it."""
        values = {"run_id": self.run_id, "until": self.until, "poll": self.poll, "conn_id": self.conn_id}
        return f"{type(self).__module__}.{type(self).__qualname__}", values

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Check the run at intervals."""
        yield TriggerEvent({"run_id": self.run_id, "error": await self._wait()})

    async def _wait(self) -> str | None:
        """None once the run has finished, otherwise why it can't be waited for any longer."""
        until = datetime.fromisoformat(self.until)
        try:
            access = await asyncio.to_thread(read_cloud_access, self.conn_id)
            async with open_client(access) as client:
                while True:
                    run = await read_run(client, self.run_id)
                    if run.state.is_over:
                        return None
                    if datetime.now(UTC) >= until:
                        return f"run {run.id} of dbt Cloud job {run.job_id} is still {run.state.word}: {run.url}"
                    await asyncio.sleep(self.poll)
        except SyncError as error:
            return explain_problems(error.problems)


def read_cloud_access(conn_id: str | None) -> CloudAccess:
    """The dbt Cloud account in an Airflow connection, or in the environment. Raises `ConfigError`."""
    if conn_id is None:
        return read_access()
    connection = BaseHook.get_connection(conn_id)
    values = {HOST: connection.host, ACCOUNT[0]: connection.login, TOKEN[0]: connection.password}
    return read_access({name: str(value) for name, value in values.items() if value})


@contextmanager
def _key_of(conn_id: str | None) -> Iterator[None]:
    """The key of a connection in this task's environment, while it is needed."""
    if conn_id is None:
        yield
        return
    before = os.environ.get(KEY)
    os.environ[KEY] = str(BaseHook.get_connection(conn_id).password or "")
    try:
        yield
    finally:
        if before is None:
            del os.environ[KEY]
        else:
            os.environ[KEY] = before


def _with_airflow_errors(act: Any) -> Any:
    """The result of `act`, with its problems as Airflow shows them."""
    try:
        return act()
    except SyncError as error:
        raise AirflowException(explain_problems(error.problems)) from None


def _texts(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
