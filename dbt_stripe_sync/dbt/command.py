"""Runs the user's own `dbt` as a program: for what only dbt knows, and for `run --build`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dbt_stripe_sync.dbt.project import dbt_variable
from dbt_stripe_sync.dbt.run_results import FAILED, read_run_results
from dbt_stripe_sync.model.errors import ConfigError, Problem
from dbt_stripe_sync.model.home import with_home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.dbt.project import Chosen, DbtProject

VARIABLE = "DBT_STRIPE_SYNC_DBT"


def find_dbt() -> Path:
    """The `dbt` to run: the one that `DBT_STRIPE_SYNC_DBT` names, the one next to this Python, or the one on the path.

    Raises `ConfigError` (`no-dbt`).
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(with_home(named))
    else:
        found = shutil.which("dbt", path=str(Path(sys.executable).parent)) or shutil.which("dbt")
    if not found:
        raise ConfigError(
            Problem(
                code="no-dbt",
                summary=f"{VARIABLE} is not an executable" if named else "no `dbt` was found in this environment",
                hint=f"install dbt in this environment, or name the program in {VARIABLE}",
            )
        )
    return Path(found).absolute()


def build_models(project: DbtProject, chosen: Chosen, models: Sequence[str]) -> frozenset[str]:
    """Run `dbt build` for some models and all their parents; its output goes to stderr.

    With `--defer`, only the models are built, because dbt never defers what it is asked to build. An unbuilt parent is
    read from where the manifest in `--state` has it. A partly failed build is not an error here: its results hold back
    what failed. Returns the unique ids of the nodes that it has results for. Raises `ConfigError` if dbt could not
    start (`dbt-build-failed`).
    """
    selectors = models if chosen.defer else [f"+{model}" for model in models]
    arguments = ["build", "--select", *selectors, *(["--defer"] if chosen.defer else [])]
    arguments += state_arguments(project, chosen)
    results = project.target_path / "run_results.json"
    before = _written_at(results)
    # stdout is only for our own data.
    done = start_dbt(project, chosen, arguments, stdout=_stderr(), stderr=subprocess.STDOUT)
    sys.stderr.write(done.stdout or "")
    if not _has_begun(done.returncode, results, before):
        raise ConfigError(
            Problem(code="dbt-build-failed", summary="`dbt build` could not run", hint="see its messages above")
        )
    # With nothing to do, dbt 1.x leaves the results of its previous command.
    return frozenset(read_run_results(results).statuses) if _written_at(results) != before else frozenset()


def parse_project(project: DbtProject, chosen: Chosen) -> None:
    """Run `dbt parse`, which writes the manifest; its output goes to stderr.

    Raises `ConfigError` if dbt rejects the project (`dbt-build-failed`).
    """
    done = start_dbt(project, chosen, ["parse"], stdout=_stderr(), stderr=subprocess.STDOUT)
    sys.stderr.write(done.stdout or "")
    if done.returncode != 0:
        raise ConfigError(Problem(code="dbt-build-failed", summary="`dbt parse` failed", hint="see its messages above"))


def _has_begun(exit_code: int, results: Path, before: int | None) -> bool:
    """Whether the results explain the exit code.

    docs.getdbt.com/reference/exit-codes: 1 is a node that failed, 2 is dbt itself. dbt 2 also exits with 1 for a
    project that it can't parse, and then writes empty results.
    """
    if exit_code != 1:
        return exit_code == 0
    return _written_at(results) != before and not FAILED.isdisjoint(read_run_results(results).statuses.values())


def _written_at(file: Path) -> int | None:
    return file.stat().st_mtime_ns if file.exists() else None


def _stderr() -> int:
    """Where dbt's output goes: to this process's stderr, or to a pipe if that isn't a real file."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return subprocess.PIPE


def state_arguments(project: DbtProject, chosen: Chosen) -> list[str]:
    """The option with the folder that `state:` compares with.

    dbt 1.x looks for a relative one in the project's folder, dbt 2 in the current one.
    """
    named = chosen.state or dbt_variable(os.environ, "STATE")
    if not named:
        return []
    here = Path(named).absolute()
    return ["--state", str(here if here.is_dir() else project.root / named)]


def start_dbt(
    project: DbtProject,
    chosen: Chosen,
    arguments: Sequence[str],
    *,
    stdout: int,
    stderr: int,
    without: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run the user's dbt on the chosen project, without some environment variables.

    Raises `ConfigError` (`no-dbt`).
    """
    command = [str(find_dbt()), *arguments]
    command += ["--project-dir", str(project.root), "--profiles-dir", str(project.profiles_dir)]
    for flag, value in (("--profile", chosen.profile), ("--target", chosen.target), ("--vars", chosen.variables)):
        command += [flag, value] if value else []
    command += ["--target-path", str(chosen.target_path)] if chosen.target_path else []
    # The user's own program, with its arguments as a list: no shell interprets them.
    return subprocess.run(
        command,
        check=False,
        encoding="utf-8",
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=project.root,
        env={name: value for name, value in os.environ.items() if name not in without},
    )
