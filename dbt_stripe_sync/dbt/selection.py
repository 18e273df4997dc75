"""Implements dbt's selectors.

Those that the manifest can answer are resolved here; the rest by the user's `dbt ls`.

Nothing may be selected that dbt would not select: excluded nodes must stay out of Stripe.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from dbt_stripe_sync.model.errors import ConfigError, Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from dbt_stripe_sync.dbt.manifest import Manifest
    from dbt_stripe_sync.model.sync import Sync

# docs.getdbt.com/reference/node-selection/graph-operators
_SPEC = re.compile(
    r"(?P<whole_family>@)?(?P<up>(?P<up_depth>\d*)\+)?((?P<method>[\w.]+):)?(?P<value>.*?)(?P<down>\+(?P<down_depth>\d*))?"
)
_SYNC = "sync"


class AskDbt(Protocol):
    """Returns the unique ids that dbt finds. Raises `ConfigError` if that fails."""

    def selector(self, selector: str) -> frozenset[str]:
        """The nodes that a selector of `--select` finds."""
        ...

    def named(self, name: str) -> frozenset[str]:
        """The nodes that a selector in selectors.yml finds."""
        ...


class Selection(Struct, frozen=True, kw_only=True):
    """The selection on the command line: `--select`, `--exclude`, or `--selector` in their place."""

    select: Sequence[str] = ()
    exclude: Sequence[str] = ()
    selector: str | None = None
    allow_empty: bool = False


class Selected(Struct, frozen=True, kw_only=True):
    """The selected syncs, and warnings."""

    syncs: tuple[Sync, ...]
    warnings: tuple[Problem, ...] = ()


def select_syncs(syncs: Sequence[Sync], manifest: Manifest, root: Path, asked: Selection, ask_dbt: AskDbt) -> Selected:
    """The selected syncs, or all without a selection.

    A selector matches a sync by its name or by its model. Raises `ConfigError` if an exclusion excludes nothing, or if
    dbt can't answer.
    """
    selector = _Selector(manifest=manifest, root=root, syncs=syncs, ask_dbt=ask_dbt)
    if asked.selector is not None:
        if asked.select or asked.exclude:
            raise ConfigError(_two_ways(asked.selector))
        chosen = selector.of_models(ask_dbt.named(asked.selector))
        return Selected(syncs=tuple(sync for sync in syncs if sync.name in chosen))
    chosen = selector.names(asked.select) if asked.select else {sync.name for sync in syncs}
    left_out = selector.names(asked.exclude, is_exclusion=not asked.allow_empty)
    if selector.errors:
        raise ConfigError(selector.errors)
    kept = tuple(sync for sync in syncs if sync.name in chosen and sync.name not in left_out)
    return Selected(syncs=kept, warnings=tuple(selector.warnings))


class _Matched(Struct, frozen=True):
    """What a part of a selector finds: nodes of the project, and syncs by their own name."""

    nodes: frozenset[str]
    syncs: frozenset[str] = frozenset()


class _Selector(Struct, kw_only=True):
    manifest: Manifest
    root: Path
    syncs: Sequence[Sync]
    ask_dbt: AskDbt
    warnings: list[Problem] = field(default_factory=list)
    errors: list[Problem] = field(default_factory=list)

    def names(self, selectors: Iterable[str], *, is_exclusion: bool = False) -> set[str]:
        """Words are a union, words joined by commas an intersection."""
        found: set[str] = set()
        for word in (word for selector in selectors for word in selector.split()):
            # For dbt 1.x, nothing between commas is a selector that finds nothing; dbt 2 ignores it.
            parts = [self._part(part) for part in word.split(",") if part or not self.manifest.is_of_dbt_2]
            matched = set.intersection(*(self.of_models(part.nodes) | part.syncs for part in parts))
            if not matched and is_exclusion and not frozenset.intersection(*(part.nodes for part in parts)):
                self.errors.append(self._nothing_excluded(word))
            elif not matched:
                self.warnings.append(self._nothing_selected(word))
            found |= matched
        return found

    def of_models(self, unique_ids: Iterable[str]) -> set[str]:
        """The syncs of some models."""
        wanted = set(unique_ids)
        return {sync.name for sync in self.syncs if sync.model.unique_id in wanted}

    def _part(self, part: str) -> _Matched:
        from dbt_stripe_sync.dbt.methods import default_method, find_nodes

        spec = _SPEC.fullmatch(part)
        if spec is None or (spec["whole_family"] and (spec["down"] or self.manifest.is_of_dbt_2)):
            return _Matched(self.ask_dbt.selector(part))
        method, value = spec["method"], spec["value"]
        by_name = frozenset(
            sync.name for sync in self.syncs if method in {None, _SYNC} and fnmatchcase(sync.name, value)
        )
        nodes = (
            set() if method == _SYNC else find_nodes(method or default_method(value), value, self.manifest, self.root)
        )
        named = {sync.model.unique_id for sync in self.syncs if sync.name in by_name}
        if nodes is None:
            # dbt doesn't know syncs, nor how they depend on models.
            return _Matched(self.ask_dbt.selector(part) | self._relatives(named, spec), by_name)
        start = nodes | named
        # A sync that is selected by its own name does not select its model's other syncs.
        return _Matched(frozenset(nodes | self._relatives(start, spec)), by_name)

    def _relatives(self, start: set[str], spec: re.Match[str]) -> set[str]:
        found: set[str] = set()
        if spec["whole_family"]:
            below = start | _walk(start, self._children)
            found |= below | _walk(below, self._parents)
        if spec["up"]:
            found |= _walk(start, self._parents, spec["up_depth"])
        if spec["down"]:
            found |= _walk(start, self._children, spec["down_depth"])
        return found

    def _parents(self, unique_id: str) -> Sequence[str]:
        node = self.manifest.graph.get(unique_id)
        return node.parents if node else ()

    def _children(self, unique_id: str) -> Sequence[str]:
        return self.manifest.children.get(unique_id, ())

    def _nothing_selected(self, word: str) -> Problem:
        return Problem(
            code="nothing-selected",
            summary=f"the selector `{word}` matches no sync",
            hint=self._did_you_mean(word),
            severity=Severity.WARNING,
        )

    def _nothing_excluded(self, word: str) -> Problem:
        return Problem(
            code="nothing-excluded",
            summary=f"`--exclude {word}` matches nothing in this project",
            hint=f"{self._did_you_mean(word)} (`--allow-empty-selection` runs without the exclusion)",
        )

    def _did_you_mean(self, word: str) -> str:
        names = [*(sync.name for sync in self.syncs), *(sync.model.name for sync in self.syncs)]
        close = get_close_matches(word.strip("+@"), names, n=1)
        return f"did you mean `{close[0]}`?" if close else "`dbt-stripe-sync ls` lists the syncs"


def _walk(start: set[str], step: Callable[[str], Sequence[str]], depth: str | None = None) -> set[str]:
    """Everything that is reached in this many steps; without a depth, everything that is reached."""
    seen: set[str] = set()
    edge, left = start, int(depth) if depth else None
    while edge and left != 0:
        edge = {other for unique_id in edge for other in step(unique_id)} - seen
        seen |= edge
        left = left - 1 if left is not None else None
    return seen


def _two_ways(name: str) -> Problem:
    return Problem(
        code="two-selections",
        summary=f"`--selector {name}` can't be combined with `--select` or `--exclude`",
        hint="drop one of them (dbt 1.x would use `--selector` alone), or move the whole selection into selectors.yml",
    )
