"""dbt's selectors: the common ones read here in no time, all others by asking the user's own `dbt ls`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.errors import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dbt_stripe_sync.dbt.manifest import Manifest
    from dbt_stripe_sync.model.nodes import ModelNode
    from dbt_stripe_sync.model.sync import Sync

# docs.getdbt.com/reference/node-selection/graph-operators
_GRAPH = re.compile(r"^(?P<up>(?P<up_depth>\d*)\+)?(?P<core>[^+@]+)(?P<down>\+(?P<down_depth>\d*))?$")
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
        models = self._models(graph["core"])
        start = models | {sync.model.unique_id for sync in self._syncs if sync.name in by_name}
        reached: set[str] = set()
        if graph["up"]:
            reached |= self._walk(start, self._parents, int(graph["up_depth"] or ENDLESS))
        if graph["down"]:
            reached |= self._walk(start, self._children, int(graph["down_depth"] or ENDLESS))
        # A sync that is named by its own name does not drag in its model's other syncs.
        return by_name | self._by_model(models | reached)

    @staticmethod
    def _is_ours(core: str) -> bool:
        method, colon, _ = core.partition(":")
        return not colon or method in _METHODS or method == "sync"

    def _models(self, core: str) -> set[str]:
        method, colon, value = core.partition(":")
        if not colon:
            method, value = _default_method(core), core
        if method == "sync":
            return set()
        matches, project = _METHODS[method], self._manifest.project_name
        return {unique_id for unique_id, node in self._manifest.nodes.items() if matches(node, value, project)}

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


def _default_method(value: str) -> str:
    if "/" in value:
        return "path"
    return "file" if value.lower().endswith((".sql", ".py", ".csv")) else "fqn"


def _is_tagged(node: ModelNode, value: str, _: str) -> bool:
    return any(fnmatchcase(tag, value) for tag in node.tags)


def _is_at(node: ModelNode, value: str, _: str) -> bool:
    """The model's file, the YAML that describes it, or a folder above it, as `pathlib` finds them by a pattern."""
    pattern = re.sub(r"^(\./)+", "", value.rstrip("/")).split("/")
    steps = node.path.split("/")
    folders = (steps[:depth] for depth in range(1, len(steps) + 1))
    return any(_fits(place, pattern) for place in (*folders, node.file.split("/")))


def _fits(steps: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path has the form of a pattern; `**` stands for any number of folders."""
    if not pattern or not steps:
        return not pattern and not steps
    if pattern[0] == "**":
        return _fits(steps, pattern[1:]) or _fits(steps[1:], pattern)
    return fnmatchcase(steps[0], pattern[0]) and _fits(steps[1:], pattern[1:])


def _is_in_file(node: ModelNode, value: str, _: str) -> bool:
    file = node.path.rpartition("/")[2]
    return fnmatchcase(file, value) or fnmatchcase(file.rpartition(".")[0], value)


def _is_in_package(node: ModelNode, value: str, project: str) -> bool:
    return fnmatchcase(node.package, project if value == "this" else value)


def _is_resource_type(node: ModelNode, value: str, _: str) -> bool:
    return node.resource_type == value


def _is_named(node: ModelNode, value: str, _: str) -> bool:
    """By its name, or by the beginning of its qualified name, with or without the package in front."""
    if fnmatchcase(node.name, value):
        return True
    # A versioned model's qualified name ends with its version: `model.v2` and `model_v2` are the same.
    if "_".join(node.fqn[-2:]) in {value, value.replace(".", "_")} and node.fqn[-1:] != (node.name,):
        return True
    wanted = value.split(".")
    return any(_begins(".".join(fqn).split("."), wanted) for fqn in (node.fqn, node.fqn[1:]) if fqn)


def _begins(steps: Sequence[str], wanted: Sequence[str]) -> bool:
    if len(steps) < len(wanted):
        return False
    for index, part in enumerate(wanted):
        if any(mark in part for mark in "*?["):
            return fnmatchcase(".".join(steps[index:]), ".".join(wanted[index:]))
        if steps[index] != part:
            return False
    return True


# docs.getdbt.com/reference/node-selection/methods: what costs no call of dbt.
_METHODS: Mapping[str, Callable[[ModelNode, str, str], bool]] = {
    "tag": _is_tagged,
    "path": _is_at,
    "file": _is_in_file,
    "package": _is_in_package,
    "resource_type": _is_resource_type,
    "fqn": _is_named,
}
