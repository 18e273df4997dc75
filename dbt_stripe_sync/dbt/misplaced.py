"""Finds `stripe_sync` where dbt ignores it: on a source, a test, a disabled model, or next to `meta`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.dbt.manifest import READABLE, TAG
from dbt_stripe_sync.model.errors import Location, Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.dbt.manifest import Manifest
    from dbt_stripe_sync.dbt.nodes import GraphNode

_MARK = TAG.encode()


def find_misplaced(manifest: Manifest) -> Iterator[Problem]:
    """A warning for each place in the manifest that looks like a sync but isn't read as one."""
    for unique_id, node in manifest.graph.items():
        if _mentions(node):
            is_read = unique_id in manifest.nodes
            if is_read and TAG in node.settings():
                yield _warn(node, f"config.{TAG}", f"`{TAG}` of `{node.name}` is next to `meta`, not inside it", _BELOW)
            elif not is_read and _has_meta(node):
                yield _warn(
                    node, f"meta.{TAG}", f"`{node.name}` is {_a_kind(node)}, and only {_READ} are synced", _MOVE
                )
    for copies in manifest.disabled.values():
        for node in copies:
            if node.resource_type in READABLE and _mentions(node) and _has_meta(node):
                hint = "enable it, or set `enabled: false` in the sync if this is intended"
                if not _is_switched_off(node):
                    yield _warn(
                        node, f"meta.{TAG}", f"the {_kind(node)} `{node.name}` is disabled, so it is not synced", hint
                    )


_READ = "models, seeds and snapshots"
_BELOW = f"write it below `config: meta: {TAG}:`"
_MOVE = "move the block to a model that reads it"


def _mentions(node: GraphNode) -> bool:
    """Whether the word occurs at all: few nodes need a closer look."""
    return any(_MARK in bytes(part) for part in (node.config, node.meta))


def _has_meta(node: GraphNode) -> bool:
    return bool(_blocks(node))


def _blocks(node: GraphNode) -> list[Any]:
    metas = (node.settings().get("meta"), node.own_meta())
    return [meta[TAG] for meta in metas if isinstance(meta, dict) and TAG in meta]


def _is_switched_off(node: GraphNode) -> bool:
    return any(isinstance(block, dict) and block.get("enabled") is False for block in _blocks(node))


def _kind(node: GraphNode) -> str:
    return node.resource_type.replace("_", " ")


def _a_kind(node: GraphNode) -> str:
    return f"{'an' if node.resource_type[:1] in 'aeo' else 'a'} {_kind(node)}"


def _warn(node: GraphNode, field: str, summary: str, hint: str) -> Problem:
    file = node.described_in.rpartition("://")[2] or node.path
    return Problem(
        code="misplaced-sync",
        summary=summary,
        where=Location(file=file, model=node.name, field=field),
        hint=hint,
        severity=Severity.WARNING,
    )
