"""The user's own `dbt`, run as a program: for what only dbt knows, and for `run --build`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dbt_stripe_sync.dbt.run_results import FAILED, read_run_results
from dbt_stripe_sync.model.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dbt_stripe_sync.dbt.project import Chosen, DbtProject

VARIABLE = "DBT_STRIPE_SYNC_DBT"
# With `--output-keys unique_id` a line holds nothing else.
_LISTED = re.compile(r'\{"unique_id": ?"([^"]+)"\}')


def find_dbt() -> Path:
    """The `dbt` to run: the one that is named, the one beside our Python, or the one on the path.

    Raises `ConfigError` (`no-dbt`).
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(Path(named).expanduser())
    else:
        found = shutil.which("dbt", path=str(Path(sys.executable).parent)) or shutil.which("dbt")
    if not found:
        raise ConfigError(
            Problem(
                code="no-dbt",
                summary=f"{VARIABLE} names no program that is here" if named else "there is no `dbt` here",
                hint=f"install dbt in this environment, or name the program in {VARIABLE}",
            )
        )
    return Path(found).absolute()


def list_models(project: DbtProject, chosen: Chosen, selector: str) -> frozenset[str]:
    """The unique ids that `dbt ls` gives for a selector. Raises `ConfigError` where dbt refuses it (`bad-selector`)."""
    # dbt 1.x's `ls` would write a manifest without the compiled SQL of ephemeral models over the one of the build.
    arguments = ["ls", "--no-write-json", "--select", selector, "--output", "json", "--output-keys", "unique_id"]
    done = _start_dbt(project, chosen, [*arguments, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        raise ConfigError(
            Problem(
                code="bad-selector",
                summary=f"dbt does not take the selector `{selector}`",
                hint=f"its messages stand above; try it: dbt ls --select '{selector}'",
            )
        )
    return frozenset(_parse_listing(done.stdout))


def build_models(project: DbtProject, chosen: Chosen, models: Sequence[str]) -> None:
    """`dbt build` for some models and all that they come from; its output goes to stderr.

    A build that fails in part is no error here: what it could not build is held back by its results.
    Raises `ConfigError` where dbt could not begin (`dbt-build-failed`).
    """
    selectors = [f"+{model}" for model in models]
    arguments = ["build", "--select", *selectors]
    results = project.target_path / "run_results.json"
    before = _written_at(results)
    # stdout belongs to our own data.
    done = _start_dbt(project, chosen, arguments, stdout=_stderr(), stderr=subprocess.STDOUT)
    sys.stderr.write(done.stdout or "")
    if not _has_begun(done.returncode, results, before):
        raise ConfigError(
            Problem(code="dbt-build-failed", summary="`dbt build` could not run", hint="its messages stand above")
        )


def _parse_listing(text: str) -> Iterator[str]:
    """The unique ids among the lines of `dbt ls --output json`; dbt may write warnings between them."""
    for line in text.splitlines():
        found = _LISTED.search(line)
        if found:
            yield found.group(1)


def _has_begun(exit_code: int, results: Path, before: int | None) -> bool:
    """Whether what went wrong, if anything did, is told by the results.

    docs.getdbt.com/reference/exit-codes: 1 is a node that failed, 2 is dbt itself. dbt 2 ends with 1 for a project that
    it can't parse too, and writes empty results then.
    """
    if exit_code != 1:
        return exit_code == 0
    return _written_at(results) != before and not FAILED.isdisjoint(read_run_results(results).statuses.values())


def _written_at(file: Path) -> int | None:
    return file.stat().st_mtime_ns if file.exists() else None


def _stderr() -> int:
    """Where dbt's output goes as it comes: our stderr; a pipe where that is no real file."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return subprocess.PIPE


def _start_dbt(
    project: DbtProject, chosen: Chosen, arguments: Sequence[str], *, stdout: int, stderr: int
) -> subprocess.CompletedProcess[str]:
    command = [str(find_dbt()), *arguments]
    command += ["--project-dir", str(project.root), "--profiles-dir", str(project.profiles_dir)]
    for flag, value in (("--profile", chosen.profile), ("--target", chosen.target), ("--vars", chosen.variables)):
        command += [flag, value] if value else []
    # The user's own program, with arguments as a list: no shell reads them.
    return subprocess.run(
        command,
        check=False,
        encoding="utf-8",
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=project.root,
    )
