"""The workflows of dbt Cloud: fetch a run's artifacts into the project's target folder, and start a job."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

from dbt_stripe_sync.cloud.access import read_access
from dbt_stripe_sync.cloud.artifacts import (
    MANIFEST,
    RESULTS,
    check_run,
    choose_step,
    download_compiled,
    download_manifest,
    download_results,
    list_artifacts,
)
from dbt_stripe_sync.cloud.client import open_client
from dbt_stripe_sync.cloud.runs import (
    POLL_SECONDS,
    check_over,
    read_latest_run,
    read_run,
    start_run,
    wait_for_run,
)
from dbt_stripe_sync.dbt.project import read_project
from dbt_stripe_sync.dbt.staleness import FETCHED
from dbt_stripe_sync.event_loop import run_to_end
from dbt_stripe_sync.model.errors import DbtCloudError, Location, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dbt_stripe_sync.cloud.access import CloudAccess
    from dbt_stripe_sync.cloud.client import CloudClient
    from dbt_stripe_sync.cloud.runs import CloudRun
    from dbt_stripe_sync.dbt.project import DbtProject
    from dbt_stripe_sync.workload import ProjectOptions

COMPILED = "compiled"


class CloudChoice(Struct, frozen=True, kw_only=True):
    """Which run of dbt Cloud: `run`, or the latest of `job`.

    `step` names the step whose artifacts are used, instead of the last one that built models. `wait` is how many
    seconds to wait for a run that isn't finished.
    """

    job: int | None = None
    run: int | None = None
    step: int | None = None
    wait: float = 0.0
    poll: float = POLL_SECONDS


class Fetched(Struct, frozen=True, kw_only=True):
    """What was fetched into the target folder."""

    run: CloudRun
    step: int
    target_path: Path


def fetch_artifacts(
    options: ProjectOptions,
    choice: CloudChoice,
    *,
    access: CloudAccess | None = None,
    on_change: Callable[[CloudRun], None] = lambda _: None,
) -> Fetched:
    """Replace the artifacts in the project's target folder with those of a run.

    Side effects: writes `manifest.json`, `run_results.json` and `compiled/` in the target folder. Raises `SyncError`.
    """
    project = read_project(options.project_dir, options.chosen)

    async def work() -> Fetched:
        async with open_client(access or read_access()) as client:
            run = await _chosen_run(client, choice, on_change)
            return await _fetch(client, run, choice.step, project)

    return run_to_end(work())


def trigger_job(
    job_id: int,
    *,
    cause: str = "Started by dbt-stripe-sync",
    timeout: float,
    poll: float = POLL_SECONDS,
    access: CloudAccess | None = None,
    on_change: Callable[[CloudRun], None] = lambda _: None,
) -> CloudRun:
    """Start a job and wait for the end of its run, whichever it is. Raises `SyncError`."""

    async def work() -> CloudRun:
        async with open_client(access or read_access()) as client:
            run = await start_run(client, job_id, cause)
            return await wait_for_run(client, run, patience=timeout, poll=poll, on_change=on_change)

    return run_to_end(work())


async def _chosen_run(client: CloudClient, choice: CloudChoice, on_change: Callable[[CloudRun], None]) -> CloudRun:
    if choice.run is not None:
        run = await read_run(client, choice.run)
        if choice.job is not None and run.job_id != choice.job:
            raise DbtCloudError(
                Problem(
                    code="dbt-cloud-not-found",
                    summary=f"run {run.id} is of dbt Cloud job {run.job_id}, not {choice.job}",
                    hint="leave out `--dbt-cloud-job`, or name another run",
                )
            )
    else:
        run = await read_latest_run(client, choice.job or 0)
    if choice.wait:
        return await wait_for_run(client, run, patience=choice.wait, poll=choice.poll, on_change=on_change)
    check_over(run)
    return run


async def _fetch(client: CloudClient, run: CloudRun, wanted: int | None, project: DbtProject) -> Fetched:
    listed = await list_artifacts(client, run)
    chosen = choose_step(run, listed, wanted)
    project.target_path.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=project.target_path, prefix=".dbt_cloud-") as name:
        folder = Path(name)
        manifest = await download_manifest(client, run, chosen, folder / MANIFEST)
        _check_project(manifest, project, run)
        steps = listed if wanted is None else [chosen]
        results = await download_results(client, run, steps, chosen, folder / RESULTS)
        check_run(run, results, any_step=wanted is not None)
        await download_compiled(client, run, chosen, manifest, folder)
        _put_in_place(folder, project.target_path, _provenance(run, chosen.step.index, manifest))
    return Fetched(
        run=run,
        step=chosen.step.index,
        target_path=project.target_path,
    )


def _check_project(manifest: Mapping[str, Any], project: DbtProject, run: CloudRun) -> None:
    name = manifest["metadata"].get("project_name")
    if name and name != project.name:
        raise DbtCloudError(
            Problem(
                code="dbt-cloud-other-project",
                summary=f"run {run.id} of dbt Cloud is of the project `{name}`, and this is `{project.name}`",
                where=Location(file=str(project.root / "dbt_project.yml")),
                hint="name a job of this project, or the other project with `--project-dir`",
            )
        )


def _provenance(run: CloudRun, step: int, manifest: Mapping[str, Any]) -> dict[str, Any]:
    metadata = manifest["metadata"]
    return {
        "run_id": run.id,
        "job_id": run.job_id,
        "step": step,
        "url": run.url,
        "generated_at": metadata.get("generated_at") or "",
        "invocation_id": metadata.get("invocation_id") or "",
    }


def _put_in_place(folder: Path, target_path: Path, provenance: Mapping[str, Any]) -> None:
    """Move the results before the manifest, so that no manifest is ever left with results that hide its failures."""
    results = folder / RESULTS
    if results.exists():
        results.replace(target_path / RESULTS)
    else:
        with suppress(FileNotFoundError):
            (target_path / RESULTS).unlink()
    (folder / FETCHED).write_bytes(orjson.dumps(provenance))
    (folder / FETCHED).replace(target_path / FETCHED)
    if (folder / COMPILED).is_dir():
        shutil.copytree(folder / COMPILED, target_path / COMPILED, dirs_exist_ok=True)
    (folder / MANIFEST).replace(target_path / MANIFEST)
