"""Builds the synced models with the user's own dbt, for `run --build`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dbt_stripe_sync.dbt.command import build_models, parse_project
from dbt_stripe_sync.dbt.project import dbt_variable, read_project
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem
from dbt_stripe_sync.workload import MANIFEST, load_workload

if TYPE_CHECKING:
    from dbt_stripe_sync.dbt.project import DbtProject
    from dbt_stripe_sync.model.nodes import ModelNode
    from dbt_stripe_sync.workload import ProjectOptions, Workload

# docs.getdbt.com/reference/global-configs/resource-type: they leave nodes out of a build, without an error.
_LIMITING = ("RESOURCE_TYPES", "RESOURCE_TYPE", "EXCLUDE_RESOURCE_TYPES", "EXCLUDE_RESOURCE_TYPE")


def build_synced_models(options: ProjectOptions) -> dict[str, str]:
    """Run the user's `dbt build` for the synced models and all their parents.

    Returns the synced models that dbt left out, by their unique ids, with the reason. Raises `ConfigError`.
    """
    dbt = read_project(options.project_dir, options.chosen)
    if not (dbt.target_path / MANIFEST).is_file():
        parse_project(dbt, options.chosen)
        if not (dbt.target_path / MANIFEST).is_file():
            raise ConfigError(_wrote_nothing(dbt))
    asked: set[str] = set()
    done: set[str] = set()
    workload = load_workload(options)
    # dbt reads the project anew, so that its new manifest may have syncs of models that the one before lacked.
    while models := sorted(_names_for_dbt(workload) - asked):
        done |= build_models(dbt, options.chosen, models)
        asked.update(models)
        workload = load_workload(options)
    return {
        model.unique_id: _left_out(model)
        for sync in workload.syncs
        for model in sync.models
        if model.unique_id not in done and model.materialized != "ephemeral"
    }


def _left_out(model: ModelNode) -> str:
    """Why a model's rows may be older than the build: variables of the environment can keep dbt from building it."""
    is_set = next((name for name in _LIMITING if dbt_variable(os.environ, name)), None)
    why = f" (DBT_{is_set} is set)" if is_set is not None else ""
    return f"`dbt build` left `{model.label}` out{why}, so its rows may be old"


def _wrote_nothing(dbt: DbtProject) -> Problem:
    return Problem(
        code="no-manifest",
        summary="dbt has parsed the project, and wrote no manifest",
        where=Location(file=str(dbt.target_path / MANIFEST)),
        hint="unset DBT_WRITE_JSON, and remove `write_json` from `flags:` in dbt_project.yml",
    )


def _names_for_dbt(workload: Workload) -> set[str]:
    """The synced models by their qualified names; a bare one means every version, and models of other packages."""
    return {".".join(model.fqn) or model.name for sync in workload.syncs for model in sync.models}
