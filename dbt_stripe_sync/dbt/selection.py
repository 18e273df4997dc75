"""dbt's selectors: the common ones read here in no time, all others by asking the user's own `dbt ls`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from dbt_stripe_sync.errors import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dbt_stripe_sync.dbt.manifest import Manifest
    from dbt_stripe_sync.engine.types import ModelNode, Sync

# docs.getdbt.com/reference/node-selection/graph-operators
_GRAPH = re.compile(r"^(?P<up>(?P<up_depth>\d*)\+)?(?P<core>[^+@]+)(?P<down>\+(?P<down_depth>\d*))?$")
_METHODS = ("tag", "path", "fqn", "package", "file", "resource_type", "sync")
ENDLESS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """The syncs that a selection means, and what is odd about it."""

    syncs: tuple[Sync, ...]
    warnings: tuple[Problem, ...] = ()


def select_syncs(
    syncs: Sequence[Sync],
    manifest: Manifest,
    *,
    select: Sequence[str],
    exclude: Sequence[str],
    ask_dbt: Callable[[str], frozenset[str]],
) -> Selected:
    """The syncs that `select` names and `exclude` does not; all where nothing is named.

    A selector means a sync by its name or by its model. `ask_dbt` gives the unique ids that dbt finds for a selector
    that is not understood here. Raises what it raises.
    """
    selector = _Selector(manifest=manifest, syncs=syncs, ask_dbt=ask_dbt)
    chosen = {sync.name for sync in syncs} if not select else selector.names(select)
    left_out = selector.names(exclude)
    kept = tuple(sync for sync in syncs if sync.name in chosen and sync.name not in left_out)
    return Selected(syncs=kept, warnings=tuple(selector.warnings))


class _Selector:
    def __init__(self, *, manifest: Manifest, syncs: Sequence[Sync], ask_dbt: Callable[[str], frozenset[str]]) -> None:
        self._manifest = manifest
        self._syncs = syncs
        self._ask_dbt = ask_dbt
        self.warnings: list[Problem] = []

    def names(self, selectors: Iterable[str]) -> set[str]:
        """Words are a union, words joined by commas an intersection."""
        found: set[str] = set()
        for word in (word for selector in selectors for word in selector.split()):
            parts = [self._part(part) for part in word.split(",") if part]
            matched = set.intersection(*parts) if parts else set()
            if not matched:
                self._warn(word)
            found |= matched
        return found

    def _part(self, part: str) -> set[str]:
        graph = _GRAPH.match(part)
        if graph is None or not self._is_ours(graph["core"]):
            return self._by_model(self._ask_dbt(part))
        by_name = {sync.name for sync in self._syncs if fnmatchcase(sync.name, graph["core"].removeprefix("sync:"))}
        models = self._models(graph["core"]) | {s.model.unique_id for s in self._syncs if s.name in by_name}
        reached = set(models)
        if graph["up"]:
            reached |= self._walk(models, self._parents, int(graph["up_depth"] or ENDLESS))
        if graph["down"]:
            reached |= self._walk(models, self._children, int(graph["down_depth"] or ENDLESS))
        if by_name and not self._models(graph["core"]):
            # A sync that is named by its own name does not drag in its model's other syncs.
            reached -= models
        return by_name | self._by_model(reached)

    @staticmethod
    def _is_ours(core: str) -> bool:
        method, colon, _ = core.partition(":")
        return not colon or method in _METHODS

    def _models(self, core: str) -> set[str]:
        method, colon, value = core.partition(":")
        if not colon:
            method, value = ("path", core) if "/" in core else ("fqn", core)
        return {uid for uid, node in self._manifest.nodes.items() if _matches(node, method, value)}

    def _by_model(self, unique_ids: Iterable[str]) -> set[str]:
        wanted = set(unique_ids)
        return {sync.name for sync in self._syncs if sync.model.unique_id in wanted}

    def _parents(self, unique_id: str) -> Sequence[str]:
        node = self._manifest.nodes.get(unique_id)
        return node.depends_on if node else ()

    def _children(self, unique_id: str) -> Sequence[str]:
        return self._manifest.children.get(unique_id, ())

    @staticmethod
    def _walk(start: Iterable[str], step: Callable[[str], Sequence[str]], depth: int) -> set[str]:
        seen: set[str] = set()
        edge = set(start)
        while edge and depth > 0:
            edge = {other for unique_id in edge for other in step(unique_id)} - seen
            seen |= edge
            depth -= 1
        return seen

    def _warn(self, word: str) -> None:
        names = [*(sync.name for sync in self._syncs), *(sync.model.name for sync in self._syncs)]
        close = get_close_matches(word.strip("+@"), names, n=1)
        self.warnings.append(
            Problem(
                code="nothing-selected",
                summary=f"the selector `{word}` matches no sync",
                hint=f"did you mean `{close[0]}`?" if close else "`dbt-stripe-sync ls` lists the syncs",
                severity=Severity.WARNING,
            )
        )


def _matches(node: ModelNode, method: str, value: str) -> bool:
    """docs.getdbt.com/reference/node-selection/methods."""
    if method == "tag":
        return any(fnmatchcase(tag, value) for tag in node.tags)
    if method == "path":
        path = value.rstrip("/").removesuffix("/*")
        return node.path == path or node.path.startswith(f"{path}/") or fnmatchcase(node.path, value)
    if method == "file":
        return fnmatchcase(node.path.rsplit("/", 1)[-1], value)
    if method == "package":
        return fnmatchcase(node.package, value)
    if method == "resource_type":
        return node.resource_type == value
    if fnmatchcase(node.name, value):
        return True
    wanted = value.split(".")
    for start in (0, 1):
        fqn = node.fqn[start:]
        if len(wanted) <= len(fqn) and all(fnmatchcase(a, b) for a, b in zip(fqn, wanted, strict=False)):
            return len(wanted) > 1 or fnmatchcase(fqn[0], wanted[0])
    return False
