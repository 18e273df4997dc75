"""The user's own `dbt`, run as a program: for what only dbt knows, and for `run --build`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from dbt_stripe_sync.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.dbt.project import Chosen, DbtProject

VARIABLE = "DBT_STRIPE_SYNC_DBT"


def find_dbt() -> Path:
    """The `dbt` to run: the one that is named, the one beside our Python, or the one on the path.

    Raises `ConfigError`.
    """
    beside = Path(sys.executable).parent / "dbt"
    named = os.environ.get(VARIABLE)
    found = named or (str(beside) if beside.exists() else shutil.which("dbt"))
    if not found or not Path(found).exists():
        raise ConfigError(
            Problem(
                code="no-dbt",
                summary="there is no `dbt` here",
                hint=f"install dbt in this environment, or name the program in {VARIABLE}",
            )
        )
    return Path(found)


def list_models(project: DbtProject, chosen: Chosen, selector: str) -> frozenset[str]:
    """The unique ids that `dbt ls` gives for a selector. Raises `ConfigError` where dbt refuses it."""
    arguments = ["ls", "--select", selector, "--output", "json", "--output-keys", "unique_id", "--quiet"]
    done = _run_dbt(project, chosen, arguments, capture=True)
    if done.returncode != 0:
        raise ConfigError(
            Problem(
                code="bad-selector",
                summary=f"dbt does not take the selector `{selector}`",
                hint=f"try it: dbt ls --select '{selector}'",
            )
        )
    found = set()
    for line in done.stdout.splitlines():
        start = line.find("{")
        if start >= 0:
            try:
                found.add(str(orjson.loads(line[start:])["unique_id"]))
            except (orjson.JSONDecodeError, KeyError):
                continue
    return frozenset(found)


def build_models(project: DbtProject, chosen: Chosen, models: Sequence[str]) -> None:
    """`dbt build` for some models and all that they come from; its output goes to stderr.

    A build that fails in part is no error here: what it could not build is held back by its results.
    Raises `ConfigError` where dbt could not begin.
    """
    selectors = [f"+{model}" for model in models]
    done = _run_dbt(project, chosen, ["build", "--select", *selectors], capture=False)
    # docs.getdbt.com/reference/exit-codes: 1 is a node that failed, 2 is dbt itself.
    if done.returncode > 1:
        raise ConfigError(
            Problem(code="dbt-build-failed", summary="`dbt build` could not run", hint="its messages stand above")
        )


def _run_dbt(
    project: DbtProject, chosen: Chosen, arguments: Sequence[str], *, capture: bool
) -> subprocess.CompletedProcess[str]:
    command = [
        str(find_dbt()),
        *arguments,
        "--project-dir",
        str(project.root),
        "--profiles-dir",
        str(project.profiles_dir),
    ]
    for flag, value in (("--profile", chosen.profile), ("--target", chosen.target), ("--vars", chosen.variables)):
        command += [flag, value] if value else []
    # The user's own program, with arguments as a list: no shell reads them.
    return subprocess.run(
        command,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else sys.stderr.fileno(),
        stderr=subprocess.PIPE if capture else None,
        cwd=project.root,
    )
