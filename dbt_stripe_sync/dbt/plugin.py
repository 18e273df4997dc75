"""The plugin for dbt 1.x: `dbt parse` and `dbt build` fail on a sync that `dbt-stripe-sync parse` would reject.

It also stores the results of the last dbt command before the next one overwrites them, since `dbt docs generate` may
follow a failed `dbt build`. dbt finds the plugin as `dbt_stripe_sync.plugins`. It does nothing if no model has a sync,
or with `DBT_STRIPE_SYNC_PLUGIN=0` in the environment. dbt 2 has no Python plugins: use `dbt-stripe-sync parse` there.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
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

    def initialize(self) -> None:
        """Called at the start of each command, while the target folder still has the results of the previous one."""
        with suppress(Exception):  # whatever is wrong with the project or with this dbt, its commands must continue
            _remember_last_command()

    @dbt_hook  # type: ignore[untyped-decorator]
    def get_manifest_artifacts(self, manifest: Any) -> dict[str, Any]:
        """Add no artifact. Raises with every problem of the project's syncs, which dbt then shows."""
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


def _remember_last_command() -> None:
    from dbt.flags import get_flags

    flags = get_flags()
    root = Path(flags.PROJECT_DIR or Path.cwd())
    named = flags.TARGET_PATH or _named_target_path(root, getattr(flags, "VARS", None) or {})
    target_path = root / (named or "target")
    results = target_path / "run_results.json"
    if results.is_file() and _mentions_syncs(target_path / "manifest.json"):
        from dbt_stripe_sync.dbt.memory import remember
        from dbt_stripe_sync.dbt.run_results import read_run_results

        remember(root, read_run_results(results))


def _named_target_path(root: Path, overrides: Mapping[str, Any]) -> str | None:
    text = (root / "dbt_project.yml").read_text(encoding="utf-8")
    if "target-path" not in text:
        return None
    from dbt.clients.yaml_helper import load_yaml_text

    raw = load_yaml_text(text) or {}
    named = str(raw.get("target-path") or "")
    if "{{" in named:
        from dbt_stripe_sync.dbt.project import read_variables, scoped_to
        from dbt_stripe_sync.dbt.rendering import Renderer
        from dbt_stripe_sync.model.errors import Location

        declared, _ = read_variables(root, raw)
        variables = {**declared, **scoped_to(declared, str(raw.get("name"))), **overrides}
        named = Renderer(env=os.environ, variables=variables).render(named, Location())
    return named or None


def _mentions_syncs(manifest: Path) -> bool:
    """Whether a manifest mentions `stripe_sync` at all, without parsing its JSON."""
    with manifest.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return content.find(f'"{TAG}"'.encode()) >= 0


class SyncsRefusedError(Exception):
    """The syncs have problems; its message is for people."""


def _is_tagged(nodes: Iterable[Any]) -> bool:
    return any(TAG in (getattr(getattr(node, "config", None), "meta", None) or ()) for node in nodes)


def _find_problems(nodes: Iterable[Any], project: str) -> str:
    # Imported only here, since importing dbt_stripe_sync must cost dbt nothing in a project without syncs.
    from dbt_stripe_sync.report.problems_text import render_problems
    from dbt_stripe_sync.workload import check_syncs

    raw = {node.unique_id: _raw(node) for node in nodes if str(node.resource_type) in _READABLE}
    try:
        check_syncs(raw, project)
    except ConfigError as error:
        count = len(error.problems)
        title = f"dbt-stripe-sync found {count:,} problem{'' if count == 1 else 's'} in the syncs of this project"
        return "\n".join([title, "", *render_problems(error.problems)])
    return ""


def _raw(node: Any) -> Mapping[str, Any]:
    """The needed parts of a node, as the manifest file has them; `to_dict` would take a second for a large project."""
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
        "version": getattr(node, "version", None),
        "latest_version": getattr(node, "latest_version", None),
        "database": node.database,
        "schema": node.schema,
        "columns": {name: _raw_column(column) for name, column in node.columns.items()},
    }


def _raw_column(column: Any) -> Mapping[str, Any]:
    config = getattr(column, "config", None)
    return {
        "name": column.name,
        "meta": column.meta,
        "config": {"meta": getattr(config, "meta", None) or {}},
    }
