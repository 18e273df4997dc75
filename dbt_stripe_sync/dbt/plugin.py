"""The plugin for dbt 1.x: `dbt parse` and `dbt build` fail at once on a sync that `dbt-stripe-sync parse` would refuse.

dbt finds it as `dbt_stripe_sync.plugins`. It does nothing where no model is tagged, and nothing where the environment
says `DBT_STRIPE_SYNC_PLUGIN=0`. dbt 2 has no plugins in Python: there `dbt-stripe-sync parse` does it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from dbt.plugins.manager import dbt_hook, dbtPlugin

from dbt_stripe_sync.model.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SWITCH = "DBT_STRIPE_SYNC_PLUGIN"
TAG = "stripe_sync"
_OFF = frozenset({"0", "false", "off", "no"})
_READABLE = frozenset({"model", "seed", "snapshot"})


def find_plugins() -> Iterator[type]:
    """The plugin, unless it is turned off."""
    if os.environ.get(SWITCH, "").lower() not in _OFF:
        yield StripeSyncPlugin


class StripeSyncPlugin(dbtPlugin):  # type: ignore[misc]
    """Checks the syncs each time that dbt has parsed the project."""

    @dbt_hook  # type: ignore[untyped-decorator]
    def get_manifest_artifacts(self, manifest: Any) -> dict[str, Any]:
        """Add no artifact; raise with every problem of the project's syncs, which dbt then shows."""
        try:
            tagged = _is_tagged(manifest.nodes.values())
            problems = _find_problems(manifest.nodes.values(), self.project_name) if tagged else ""
        except Exception as error:  # noqa: BLE001 - dbt calls this interface experimental: it may move, dbt must go on
            sys.stderr.write(f"dbt-stripe-sync could not check the syncs in this dbt ({type(error).__name__}); ")
            sys.stderr.write("`dbt-stripe-sync parse` does\n")
            return {}
        if problems:
            raise SyncsRefusedError(problems)
        return {}


class SyncsRefusedError(Exception):
    """The syncs have problems; its text is what a person reads."""


def _is_tagged(nodes: Iterable[Any]) -> bool:
    return any(TAG in (getattr(getattr(node, "config", None), "meta", None) or ()) for node in nodes)


def _find_problems(nodes: Iterable[Any], project: str) -> str:
    # Only here, since importing dbt_stripe_sync must cost dbt nothing in a project without syncs.
    from dbt_stripe_sync.report.problems_text import render_problems
    from dbt_stripe_sync.wiring import check_syncs

    raw = {node.unique_id: _raw(node) for node in nodes if str(node.resource_type) in _READABLE}
    try:
        check_syncs(raw, project)
    except ConfigError as error:
        count = len(error.problems)
        title = f"dbt-stripe-sync refuses the syncs of this project: {count:,} problem{'' if count == 1 else 's'}"
        return "\n".join([title, "", *render_problems(error.problems)])
    return ""


def _raw(node: Any) -> Mapping[str, Any]:
    """What is read of a node, as the manifest's file has it; `to_dict` would take a second for a large project."""
    config = node.config
    return {
        "unique_id": node.unique_id,
        "name": node.name,
        "resource_type": str(node.resource_type),
        "package_name": node.package_name,
        "original_file_path": node.original_file_path,
        "patch_path": getattr(node, "patch_path", None),
        "fqn": node.fqn,
        "tags": node.tags,
        "meta": node.meta,
        "config": {"materialized": config.materialized, "meta": config.meta},
        "unrendered_config": getattr(node, "unrendered_config", None) or {},
        "depends_on": {"nodes": getattr(getattr(node, "depends_on", None), "nodes", None) or []},
        "relation_name": getattr(node, "relation_name", None),
        "alias": node.alias,
        "database": node.database,
        "schema": node.schema,
        "columns": {name: _raw_column(column) for name, column in node.columns.items()},
    }


def _raw_column(column: Any) -> Mapping[str, Any]:
    config = getattr(column, "config", None)
    return {
        "name": column.name,
        "data_type": column.data_type,
        "meta": column.meta,
        "config": {"meta": getattr(config, "meta", None) or {}},
    }
