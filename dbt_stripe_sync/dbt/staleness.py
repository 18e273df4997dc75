"""Checks that dbt's artifacts match the project: changed files, results of another run."""

from __future__ import annotations

from datetime import UTC, datetime
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from dbt_stripe_sync.model.errors import Location, Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.dbt.manifest import Manifest
    from dbt_stripe_sync.dbt.project import DbtProject
    from dbt_stripe_sync.dbt.run_results import RunResults

READ_BY_DBT = frozenset({".sql", ".py", ".yml", ".yaml"})
# `docs` writes only dbt's own documentation, which no sync depends on.
NOT_OURS = frozenset({"stripe_sync_exposures.yml"})
SHOWN_FILES = 3
# A marker next to artifacts from elsewhere, to which the times of this machine's files don't apply.
FETCHED = "stripe_sync_dbt_cloud.json"


def find_stale(
    project: DbtProject, manifest: Manifest, results: RunResults, held: Mapping[str, str]
) -> Iterator[Problem]:
    """Warnings: the manifest is older than the project's files, or models are held by results of another run.

    A manifest that is newer than results that hold nothing back comes from `dbt parse`, and needs no warning.
    """
    changed = [] if _is_fetched(project, manifest) else _changed_since(project, manifest.generated_at)
    if changed:
        names = ", ".join(f"`{name}`" for name in changed[:SHOWN_FILES])
        more = f" and {len(changed) - SHOWN_FILES:,} more" if len(changed) > SHOWN_FILES else ""
        yield Problem(
            code="stale-manifest",
            summary=f"the project has changed since dbt read it: {names}{more}",
            where=Location(file=str(project.target_path / "manifest.json")),
            hint="run `dbt build` again (or `dbt parse` if only YAML has changed)",
            severity=Severity.WARNING,
        )
    if held and results.builds and manifest.invocation_id not in {"", results.invocation_id}:
        yield Problem(
            code="stale-run-results",
            summary="dbt's last results and its manifest are from different runs, and the results hold back models",
            where=Location(file=str(project.target_path / "run_results.json")),
            hint="run `dbt build` again, or ignore them with `--ignore-dbt-results`",
            severity=Severity.WARNING,
        )


def _is_fetched(project: DbtProject, manifest: Manifest) -> bool:
    """Whether this very manifest was built elsewhere."""
    try:
        noted = orjson.loads((project.target_path / FETCHED).read_bytes())
        return bool((noted["generated_at"], noted["invocation_id"]) == (manifest.generated_at, manifest.invocation_id))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return False


def _changed_since(project: DbtProject, generated_at: str) -> list[str]:
    """Files below the model paths that are younger than the manifest, by their path from the project's root."""
    read_at = parse_time(generated_at)
    if read_at is None:
        return []
    files = (file for folder in project.model_paths for file in sorted((project.root / folder).rglob("*")))
    read = (file for file in files if file.suffix in READ_BY_DBT and file.name not in NOT_OURS)
    return [Path(relpath(file, project.root)).as_posix() for file in read if _changed_at(file) > read_at]


def _changed_at(file: Path) -> float:
    """When a file was changed; 0 for a file that doesn't exist.

    An editor's lock is a link to nothing, and its backup may vanish while the folder is read.
    """
    try:
        return file.stat().st_mtime
    except OSError:
        return 0


def parse_time(text: str) -> float | None:
    """Seconds since the epoch; None if dbt wrote no valid time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
