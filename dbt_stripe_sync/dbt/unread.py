"""Finds `stripe_sync` in YAML that dbt drops: it ignores unknown keys, and the manifest doesn't mention them.

Only files that contain the word are parsed.
"""

from __future__ import annotations

from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from dbt_stripe_sync.dbt.manifest import TAG
from dbt_stripe_sync.model.errors import Location, Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ruamel.yaml.nodes import Node

    from dbt_stripe_sync.dbt.manifest import Manifest
    from dbt_stripe_sync.dbt.project import DbtProject

# The keys above the names of models in a properties file.
_SECTIONS = {"models": "model", "seeds": "seed", "snapshots": "snapshot"}
# dbt already warns of these places, or `misplaced-sync` does.
_TOLD = frozenset({"sources", "exposures", "metrics", "semantic_models", "data_tests", "tests", "unit_tests"})
# These may have meta, but dbt's manifest keeps them separate from what a selector finds.
_NEVER = {"macros": "macro", "groups": "group"}
_MERGE = "<<"


class _Place(Struct, frozen=True, kw_only=True):
    """A node of the YAML: the keys above it, and the `name` of the entry below each of these."""

    path: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    above: frozenset[int] = frozenset()


def find_unread(project: DbtProject, manifest: Manifest) -> Iterator[Problem]:
    """A warning for each `stripe_sync:` in a place of the project's YAML where it is ignored."""
    known = {node.name for node in manifest.nodes.values()}
    known |= {node.name for copies in manifest.disabled.values() for node in copies}
    for folder in project.property_paths:
        for file in sorted((project.root / folder).rglob("*.y*ml")):
            text = _text_of(file)
            if TAG in text:
                yield from _find_in(text, Path(relpath(file, project.root)), known)


def _text_of(file: Path) -> str:
    """The text of a file, or nothing if it can't be read, such as an editor's lock, which is a link to nothing."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _find_in(text: str, file: Path, known: set[str]) -> Iterator[Problem]:
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except YAMLError:
        return  # dbt rejects the file, with the reason
    for line, place in _tags(root, _Place()):
        section = place.path[0] if place.path else ""
        if section not in {*_SECTIONS, *_NEVER} or not _TOLD.isdisjoint(place.path):
            continue
        name = place.names.get(section)
        if section in _NEVER:
            summary = f"`{name}` is a {_NEVER[section]}, and only models, seeds and snapshots are synced"
            hint = "move the block to a model"
        elif place.path[-1] != "meta":
            summary = f"`{TAG}` is below `{place.path[-1]}`, where it is ignored"
            hint = f"write it below `config: meta: {TAG}:`"
        elif name is not None and name not in known:
            summary = f"`{name}` has a sync here, but dbt has no {_SECTIONS[section]} of that name"
            hint = "name the model as its file is named; `dbt parse` reads a change"
        else:
            continue
        yield Problem(
            code="unread-sync",
            summary=summary,
            where=Location(file=f"{file.as_posix()}, line {line}", model=name),
            hint=hint,
            severity=Severity.WARNING,
        )


def _tags(node: Node | None, place: _Place) -> Iterator[tuple[int, _Place]]:
    """Each key `stripe_sync` below a node, with its line and its place."""
    if id(node) in place.above:  # an alias may refer to a node that contains it
        return
    place = replace(place, above=place.above | {id(node)})
    if isinstance(node, SequenceNode):
        for item in node.value:
            yield from _tags(item, place)
    elif isinstance(node, MappingNode):
        keys = {key.value: value for key, value in node.value if isinstance(key, ScalarNode)}
        name = keys.get("name")
        if place.path and isinstance(name, ScalarNode):
            place = replace(place, names={**place.names, place.path[-1]: str(name.value)})
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                if key.value == TAG:
                    yield key.start_mark.line + 1, place
                below = place.path if key.value == _MERGE else (*place.path, key.value)
                yield from _tags(value, replace(place, path=below))
