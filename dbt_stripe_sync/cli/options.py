"""The options that commands share, under the names that dbt gives them."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dbt_stripe_sync.api import Project
from dbt_stripe_sync.cli.screen import Screen
from dbt_stripe_sync.wiring import ProjectOptions

if TYPE_CHECKING:
    from collections.abc import Callable

Command = TypeVar("Command", bound="Callable[..., Any]")
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)

_PROJECT = (
    click.option("--project-dir", type=FOLDER, envvar="DBT_PROJECT_DIR", help="Folder of dbt_project.yml [default: .]"),
    click.option("--profiles-dir", type=FOLDER, help="Folder of profiles.yml, searched as dbt does."),
    click.option("--profile", help="Profile to use instead of the project's."),
    click.option("--target", "-t", help="Target of the profile."),
    click.option("--vars", "variables", help="dbt variables, as YAML."),
    click.option("--select", "-s", multiple=True, help="Models or syncs, in dbt's selector syntax."),
    click.option("--exclude", multiple=True, help="Models or syncs to leave out."),
    click.option("--state-path", type=FILE, help="State file [default: .stripe_sync/<target>.duckdb]"),
    click.option("--stripe-url", envvar="STRIPE_API_BASE", help="Another Stripe: the sandbox, stripe-mock."),
    click.option("--wait-for-lock", type=click.FloatRange(min=0), default=0, help="Seconds to wait for another run."),
    click.option("--ignore-dbt-results", is_flag=True, help="Sync models that dbt did not build well, too."),
)
_SCREEN = (
    click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="How progress is told."),
    click.option("--no-color", is_flag=True, envvar="NO_COLOR", help="No colours."),
)


def with_project(command: Command) -> Command:
    """Give a command the shared options, as its first two arguments: the project and the screen."""

    @wraps(command)
    def wrapped(**given: Any) -> Any:
        screen = Screen(log_format=given.pop("log_format"), colour=not given.pop("no_color"))
        screen.listen()
        names = [name for name in ProjectOptions.__slots__ if name in given]
        chosen = {name: given.pop(name) for name in names}
        chosen["project_dir"] = chosen["project_dir"] or Path()
        return command(Project(ProjectOptions(**chosen)), screen, **given)

    for option in reversed((*_PROJECT, *_SCREEN)):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]
