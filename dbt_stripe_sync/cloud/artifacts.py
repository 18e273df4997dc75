"""The artifacts of a run: which step's manifest to use, which models failed, and the needed part of `compiled/`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

from dbt_stripe_sync.cloud.runs import RunState
from dbt_stripe_sync.dbt.run_results import FAILED, SKIPPED
from dbt_stripe_sync.model.errors import DbtCloudError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from dbt_stripe_sync.cloud.client import CloudClient
    from dbt_stripe_sync.cloud.runs import CloudRun, CloudStep

MANIFEST = "manifest.json"
RESULTS = "run_results.json"
# Commands that build models: the manifest of their step has the compiled SQL, which that of `dbt test` may lack.
BUILDING = frozenset({"build", "run", "retry"})
SHOWN_STEPS = 12


class StepArtifacts(Struct, frozen=True, kw_only=True):
    """A step with the paths of the files that it left."""

    step: CloudStep
    paths: frozenset[str]


async def list_artifacts(client: CloudClient, run: CloudRun) -> list[StepArtifacts]:
    """The steps of a run that left a manifest or results, in their order. Raises `DbtCloudError`."""
    found = []
    for step in run.steps:
        asked = {"step": str(step.index)}
        what = f"artifacts of step {step.index} of run {run.id}"
        paths = frozenset(str(path) for path in await client.find(f"/runs/{run.id}/artifacts/", what, asked) or ())
        if paths & {MANIFEST, RESULTS}:
            found.append(StepArtifacts(step=step, paths=paths))
    return found


def choose_step(run: CloudRun, listed: Sequence[StepArtifacts], wanted: int | None) -> StepArtifacts:
    """The step whose manifest is used: the one that is wanted, or the last that built models.

    Raises `DbtCloudError` (`dbt-cloud-no-artifacts`, `dbt-cloud-run-failed`).
    """
    with_manifest = [left for left in listed if MANIFEST in left.paths]
    if wanted is not None:
        chosen = next((left for left in with_manifest if left.step.index == wanted), None)
        if chosen is None:
            raise DbtCloudError(_no_artifacts(run, with_manifest, f"step {wanted} of "))
        return chosen
    if not with_manifest:
        raise DbtCloudError(run_failed(run) if run.state is RunState.ERROR else _no_artifacts(run, (), ""))
    building = [left for left in with_manifest if RESULTS in left.paths and _subcommand(left.step) in BUILDING]
    with_results = [left for left in with_manifest if RESULTS in left.paths]
    return (building or with_results or with_manifest)[-1]


def check_run(run: CloudRun, results: Mapping[str, Any] | None, *, any_step: bool) -> None:
    """Check that a failed run names the models that failed, so that the rest can be synced.

    Raises `DbtCloudError` (`dbt-cloud-run-failed`).
    """
    if run.state is RunState.CANCELLED:
        raise DbtCloudError(run_failed(run))
    statuses = {str(result.get("status")).lower() for result in _results_of(results or {})}
    if run.state is RunState.ERROR and not any_step and FAILED.isdisjoint(statuses):
        raise DbtCloudError(run_failed(run))


def run_failed(run: CloudRun) -> Problem:
    """A run that doesn't name the models that failed."""
    said = f": {run.message}" if run.message else ""
    step = next((step for step in run.steps if step.state is RunState.ERROR), None)
    at = f" in step {step.index} (`{step.command or step.name}`)" if step is not None else ""
    return Problem(
        code="dbt-cloud-run-failed",
        summary=f"run {run.id} of dbt Cloud job {run.job_id} was cancelled{said}"
        if run.state is RunState.CANCELLED
        else f"run {run.id} of dbt Cloud job {run.job_id} failed{at}, and no model or test of it is to blame{said}",
        hint=f"look at {run.url or 'the run in dbt Cloud'}, fix the job and run it again; `--dbt-cloud-step N` uses "
        "the artifacts of one step anyway",
    )


async def download_manifest(client: CloudClient, run: CloudRun, left: StepArtifacts, into: Path) -> Mapping[str, Any]:
    """Write the manifest of a step to a file. Raises `DbtCloudError`."""
    return await _download_json(client, run, left, MANIFEST, into)


async def download_results(
    client: CloudClient, run: CloudRun, steps: Sequence[StepArtifacts], chosen: StepArtifacts, into: Path
) -> Mapping[str, Any] | None:
    """Merge the results of several steps into one file in dbt's format; None if there are none.

    A model that failed in any step counts as failed, even if a later step succeeded.
    """
    results: dict[str, Any] = {}
    merged: Mapping[str, Any] | None = None
    for left in steps:
        if RESULTS not in left.paths:
            continue
        document = await _download_json(client, run, left, RESULTS, into)
        for result in _results_of(document):
            before = results.get(result["unique_id"])
            if before is None or _badness(result) >= _badness(before):
                results[result["unique_id"]] = result
        if merged is None or left is chosen:
            merged = document
    if merged is None:
        return None
    merged = {**merged, "results": list(results.values())}
    await asyncio.to_thread(into.write_bytes, orjson.dumps(merged))
    return merged


async def download_compiled(
    client: CloudClient, run: CloudRun, left: StepArtifacts, manifest: Mapping[str, Any], folder: Path
) -> None:
    """Fetch the compiled SQL of ephemeral models that the manifest lacks, as dbt 2's does."""
    paths = sorted(path for path in left.paths if path.startswith("compiled/"))
    for original in _uncompiled(manifest):
        found = next((path for path in paths if path.endswith(f"/{original}")), None)
        if found is None or ".." in found.split("/"):
            continue
        file = folder / found
        file.parent.mkdir(parents=True, exist_ok=True)
        asked = {"step": str(left.step.index)}
        await client.download(f"/runs/{run.id}/artifacts/{found}", f"{found} of run {run.id}", file, asked)


def _uncompiled(manifest: Mapping[str, Any]) -> Iterator[str]:
    """The files of ephemeral models without compiled SQL.

    These are executed; other models are read from their tables.
    """
    for node in (manifest.get("nodes") or {}).values():
        is_ephemeral = (node.get("config") or {}).get("materialized") == "ephemeral"
        if is_ephemeral and not node.get("compiled_code") and node.get("original_file_path"):
            yield str(node["original_file_path"]).replace("\\", "/")


async def _download_json(
    client: CloudClient, run: CloudRun, left: StepArtifacts, name: str, into: Path
) -> Mapping[str, Any]:
    what = f"{name} of step {left.step.index} of run {run.id}"
    await client.download(f"/runs/{run.id}/artifacts/{name}", what, into, {"step": str(left.step.index)})
    try:
        document = orjson.loads(await asyncio.to_thread(into.read_bytes))
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
        raise DbtCloudError(
            Problem(
                code="dbt-cloud-no-artifacts",
                summary=f"{what} doesn't have dbt's format",
                hint="run the job again; `--dbt-cloud-step N` uses another step",
            )
        )
    return document


def _results_of(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The results that name a node, and so a model."""
    for result in document.get("results") or ():
        if isinstance(result, dict) and isinstance(result.get("unique_id"), str):
            yield result


def _badness(result: Mapping[str, Any]) -> int:
    status = str(result.get("status")).lower()
    return 2 if status in FAILED else 1 if status == SKIPPED else 0


def _subcommand(step: CloudStep) -> str:
    words = (word for word in step.command.split()[1:] if not word.startswith("-"))
    return next(words, "")


def _no_artifacts(run: CloudRun, with_manifest: Sequence[StepArtifacts], which: str) -> Problem:
    have = ", ".join(
        f"{left.step.index} (`{left.step.command or left.step.name}`)" for left in with_manifest[:SHOWN_STEPS]
    )
    return Problem(
        code="dbt-cloud-no-artifacts",
        summary=f"{which}run {run.id} of dbt Cloud job {run.job_id} has no manifest.json",
        hint=f"steps with one: {have}" if have else "add a step with `dbt build` to the job, then run the job again",
    )
