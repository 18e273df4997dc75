"""Completes arguments in a shell: the project's syncs, models and runs, and Stripe's resources."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dbt_stripe_sync.api import Project
from dbt_stripe_sync.cli.arguments import project_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import click

MOST_RUNS = 50


def _matching(names: Callable[[click.Context], Iterable[str]]) -> Callable[..., list[str]]:
    """Names that begin with the typed text. A project that can't be read has none, because a shell shows no errors."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        del param
        logging.disable()
        try:
            return sorted(name for name in set(names(ctx)) if name.startswith(incomplete))
        except Exception:  # noqa: BLE001
            return []

    return complete


def _project(ctx: click.Context) -> Project:
    """The project that the options before the cursor name."""
    given = {name: value for name, value in ctx.params.items() if value is not None}
    return Project(project_options({"project_dir": None, **given}))


def _syncs(ctx: click.Context) -> Iterator[str]:
    project = _project(ctx)
    project.look_back()
    return (sync.name for sync in project.workload.syncs)


def _models(ctx: click.Context) -> Iterator[str]:
    project = _project(ctx)
    project.look_back()
    nodes = project.workload.manifest.nodes.values()
    return (node.name for node in nodes if node.resource_type in {"model", "seed", "snapshot"})


def _runs(ctx: click.Context) -> Iterator[str]:
    project = _project(ctx)
    project.look_back()
    return (run.id for run in project.state.runs(limit=MOST_RUNS))


def _resources(ctx: click.Context) -> Iterator[str]:
    del ctx
    return (str(resource["resource"]) for resource in Project.resources())


complete_sync = _matching(_syncs)
complete_selected = _matching(lambda ctx: {*_syncs(ctx), *_models(ctx)})
complete_model = _matching(_models)
complete_run = _matching(_runs)
complete_resource = _matching(_resources)
