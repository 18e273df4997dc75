"""The options that commands share, under the names that dbt gives them."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dbt_stripe_sync.alerts import alerting_about_stops
from dbt_stripe_sync.api import Project
from dbt_stripe_sync.cli.arguments import project_options
from dbt_stripe_sync.cli.screen import Screen, wants_color
from dbt_stripe_sync.workload import ProjectOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Command = TypeVar("Command", bound="Callable[..., Any]")
# Commands whose failure sends an alert. For read-only commands, a person sees the failure.
SENDING = frozenset({"run", "apply", "retry", "undo", "trigger"})
# The largest number that SQL's LIMIT takes. No table has more rows.
MOST = 2**63 - 1
# Errors about the path itself, not about the file or about who may see it.
NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP)


class _Place(click.Path):
    """A path that a person has named. An empty one is a script's unset variable, and not the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Fails if it is empty, or if no file can have it, such as one with a name that is too long."""
        if not str(value):
            self.fail("the path is empty.", param, ctx)
        try:
            Path(value).stat()
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        except OSError as error:
            if error.errno in NO_PATH:
                self.fail(f"{error.strerror}.", param, ctx)
        return super().convert(value, param, ctx)


class _Count(click.IntRange):
    """How many there may be: at least one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, or the largest that SQL takes."""
        return min(int(super().convert(value, param, ctx)), MOST)


COUNT = _Count(min=1)

FOLDER = _Place(path_type=Path, file_okay=False)
FILE = _Place(path_type=Path, dir_okay=False)
# dbt 1.11 and later read the first one first.
PROJECT_DIR = ["DBT_ENGINE_PROJECT_DIR", "DBT_PROJECT_DIR"]


def _complete_selected(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from dbt_stripe_sync.cli.completing import complete_selected

    return complete_selected(ctx, param, incomplete)


_PROJECT = (
    click.option("--project-dir", type=FOLDER, envvar=PROJECT_DIR, help="Folder of dbt_project.yml [default: .]"),
    click.option("--profiles-dir", type=FOLDER, help="Folder of profiles.yml, searched as dbt does."),
    click.option("--profile", help="Profile to use instead of the project's."),
    click.option("--target", "-t", help="Target of the profile."),
    click.option("--target-path", type=FOLDER, help="Folder that dbt writes to [default: target]"),
    click.option("--vars", "variables", help="dbt variables, as YAML."),
    click.option(
        "--select",
        "-s",
        multiple=True,
        shell_complete=_complete_selected,
        help="Models or syncs, in dbt's selector syntax.",
    ),
    click.option("--exclude", multiple=True, shell_complete=_complete_selected, help="Models or syncs to leave out."),
    click.option("--selector", help="Selector from selectors.yml, in place of --select and --exclude."),
    click.option("--allow-empty-selection", is_flag=True, help="Don't fail if --exclude matches nothing."),
    click.option("--state", "dbt_state", type=FOLDER, help="Folder with the manifest that `state:` compares with."),
    click.option("--state-path", type=FILE, help="State file [default: .stripe_sync/<target>.duckdb]"),
    click.option("--state-url", help="State on an object store, as s3://bucket/prefix, in place of a file."),
    click.option(
        "--stripe-url", envvar="STRIPE_API_BASE", help="Address of another Stripe API: the sandbox or stripe-mock."
    ),
    click.option(
        "--wait-for-lock",
        type=click.FloatRange(min=0),
        default=0,
        help="Seconds to wait for another run that holds the state.",
    ),
    click.option("--ignore-dbt-results", is_flag=True, help="Also sync models that dbt failed to build or test."),
    click.option("--allow-other-target", is_flag=True, help="Sync even if dbt has built another target."),
)
_CLOUD = (
    click.option("--dbt-cloud-job", type=int, help="Fetch the artifacts of this dbt Cloud job's latest run first."),
    click.option("--dbt-cloud-run", type=int, help="Fetch the artifacts of this dbt Cloud run first."),
    click.option("--dbt-cloud-step", type=int, help="Step of that run [default: the last that built models]"),
    click.option("--dbt-cloud-wait", type=click.FloatRange(min=0), default=0, help="Seconds to wait for that run."),
)
_SCREEN = (
    click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Progress output format."),
    click.option("--no-color", is_flag=True, help="Disable colors, as NO_COLOR does."),
    click.option("--quiet", "-q", is_flag=True, help="Print data and errors only: no progress, no notes, no warnings."),
)


def with_project(command: Command) -> Command:
    """Give a command the shared options. Its first two arguments are then the project and the screen."""

    @wraps(command)
    def wrapped(**given: Any) -> Any:
        cloud = {name: given.pop(f"dbt_cloud_{name}") for name in ("job", "run", "step", "wait")}
        options, screen, rest = _split(given)
        _fetch(options, screen, cloud)
        return command(Project(options), screen, **rest)

    return _with_options(wrapped, (*_PROJECT, *_CLOUD, *_SCREEN))  # type: ignore[no-any-return]


def with_local_project(command: Command) -> Command:
    """As `with_project`, for a command that chooses the run of dbt Cloud itself."""

    @wraps(command)
    def wrapped(**given: Any) -> Any:
        options, screen, rest = _split(given)
        return command(Project(options), screen, **rest)

    return _with_options(wrapped, (*_PROJECT, *_SCREEN))  # type: ignore[no-any-return]


def _with_options(wrapped: Callable[..., Any], options: Sequence[Callable[..., Any]]) -> Any:
    # Click lists options in reverse order; the command's own options come first in its help.
    own = getattr(wrapped, "__click_params__", [])
    wrapped.__click_params__ = []  # type: ignore[attr-defined]
    for option in reversed(options):
        wrapped = option(wrapped)
    wrapped.__click_params__ += own  # type: ignore[attr-defined]
    return wrapped


def _split(given: dict[str, Any]) -> tuple[ProjectOptions, Screen, dict[str, Any]]:
    """Split a command's arguments into the project, the screen, and the command's own."""
    screen = Screen(
        log_format=given.pop("log_format"),
        color=not given.pop("no_color") and wants_color(),
        is_quiet=bool(given.pop("quiet")),
    )
    screen.listen()
    rest = {name: value for name, value in given.items() if name not in ProjectOptions.__struct_fields__}
    return project_options(given), screen, rest


def _fetch(options: ProjectOptions, screen: Screen, cloud: Mapping[str, Any]) -> None:
    """Fetch the artifacts of dbt Cloud into the target folder, if a run or a job is named."""
    if cloud["job"] is None and cloud["run"] is None:
        if cloud["step"] is not None or cloud["wait"]:
            raise click.UsageError("`--dbt-cloud-step` and `--dbt-cloud-wait` need a job or a run of dbt Cloud")
        return
    # dbt Cloud's client and its HTTP library are imported only where they are used.
    from dbt_stripe_sync.cli.cloud_progress import CloudProgress
    from dbt_stripe_sync.cloud import CloudChoice, fetch_artifacts

    progress = CloudProgress(screen)
    is_sending = click.get_current_context().command.name in SENDING
    with alerting_about_stops(options) if is_sending else nullcontext():
        progress.fetched(fetch_artifacts(options, CloudChoice(**cloud), on_change=progress.run_changed))
