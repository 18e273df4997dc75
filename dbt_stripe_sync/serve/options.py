"""The options of the server: its address, its folder, its secrets, and how a sync is run."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dbt_stripe_sync.cloud.access import LOOPBACK, CloudAccess, read_access
from dbt_stripe_sync.dbt.project import read_project
from dbt_stripe_sync.model.errors import ConfigError, Problem, SyncError
from dbt_stripe_sync.model.home import with_home

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from dbt_stripe_sync.workload import ProjectOptions

SECRET = "DBT_CLOUD_WEBHOOK_SECRET"  # noqa: S105 - the variable's name
PASSWORD = "DBT_STRIPE_SYNC_SERVE_PASSWORD"  # noqa: S105 - the variable's name
# A run that was started by hand may hold the state when a delivery arrives.
LOCK_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """`folder` keeps the queue, and the report and log of each run. `jobs` are those that are synced; empty means all.

    `arguments` follow `dbt-stripe-sync run` in each run. `secret` signs the webhooks; `password` opens the pages where
    the request is not from this machine.
    """

    host: str
    port: int
    folder: Path
    target_path: Path
    project: str
    target: str
    access: CloudAccess
    arguments: tuple[str, ...]
    jobs: frozenset[int] = frozenset()
    keep_runs: int = 200
    secret: str = field(repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        return self.host in LOOPBACK


def read_serve_options(  # noqa: PLR0913 - one a setting
    options: ProjectOptions,
    *,
    host: str,
    port: int,
    folder: Path | None = None,
    jobs: Sequence[int] = (),
    arguments: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> ServeOptions:
    """The options of a server of one project. Raises `ConfigError` with everything that is missing."""
    env = os.environ if env is None else env
    problems: list[Problem] = []
    access = None
    try:
        access = read_access(env)
    except SyncError as error:
        problems += error.problems
    secret = env.get(SECRET, "").strip()
    if not secret:
        problems.append(
            Problem(
                code="serve-settings",
                summary=f"{SECRET} is not set, so dbt Cloud's webhooks can't be verified",
                hint="copy the secret that dbt Cloud shows once when the webhook is created",
            )
        )
    project = read_project(options.project_dir, options.chosen)
    if problems or access is None:
        raise ConfigError(problems)
    return ServeOptions(
        host=host,
        port=port,
        folder=folder or project.root / ".stripe_sync" / "serve",
        target_path=project.target_path,
        project=project.name,
        target=project.target_name,
        access=access,
        arguments=(*_project_arguments(options), *arguments),
        jobs=frozenset(jobs),
        secret=secret,
        password=env.get(PASSWORD, "").strip() or None,
    )


def _project_arguments(options: ProjectOptions) -> Iterator[str]:
    """The same project for the run, as options of the command line."""
    yield from ("--project-dir", str(with_home(options.project_dir).resolve()))
    named = {
        "--profiles-dir": options.profiles_dir and str(with_home(options.profiles_dir).resolve()),
        "--profile": options.profile,
        "--target": options.target,
        "--target-path": options.target_path,
        "--vars": options.variables,
        "--selector": options.selector,
        "--state": options.dbt_state and str(with_home(options.dbt_state).resolve()),
        "--state-path": options.state_path and str(with_home(options.state_path).resolve()),
        "--state-url": options.state_url,
        "--stripe-url": options.stripe_url,
    }
    for name, value in named.items():
        if value:
            yield from (name, str(value))
    for name, values in (("--select", options.select), ("--exclude", options.exclude)):
        for value in values:
            yield from (name, value)
    yield from ("--wait-for-lock", f"{options.wait_for_lock or LOCK_SECONDS:g}")
    flags = {
        "--allow-empty-selection": options.allow_empty_selection,
        "--ignore-dbt-results": options.ignore_dbt_results,
        "--allow-other-target": options.allow_other_target,
    }
    yield from (name for name, is_set in flags.items() if is_set)
