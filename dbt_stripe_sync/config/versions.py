"""Resolves which model a name means, and which version of a versioned model a sync belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dbt_stripe_sync.model.nodes import ModelNode


def models_by_name(nodes: Iterable[ModelNode], project: str) -> Mapping[str, ModelNode]:
    """Models by the names that YAML can use: `orders`, `shop.orders`, and `orders.v2` for one version.

    As with `ref()`, a name without a version means the latest one. A name without a package means the project's own
    model if several packages have one.
    """
    by_name: dict[str, ModelNode] = {}
    for node in sorted(nodes, key=lambda node: (node.package == project, node.is_latest)):
        names = [node.name] if node.is_latest else []
        if node.version is not None:
            names.append(f"{node.name}.v{node.version}")
        for name in names:
            by_name[name] = by_name[f"{node.package}.{name}"] = node
    return by_name


def without_inherited(nodes: Iterable[ModelNode], tag: str) -> Iterable[ModelNode]:
    """The models whose meta can describe syncs.

    Older versions that only share their model's meta are left out. dbt copies the meta of a versioned model into every
    version. Written there, it means the latest version, as `ref()` does.
    """
    nodes = list(nodes)
    latest = {(node.package, node.name): node for node in nodes if node.version is not None and node.is_latest}
    for node in nodes:
        newest = latest.get((node.package, node.name), node)
        if newest is node or tag not in node.meta or node.meta[tag] != newest.meta.get(tag):
            yield node
