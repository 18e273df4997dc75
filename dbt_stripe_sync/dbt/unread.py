"""`stripe_sync` in YAML from which no model got it: dbt drops what it does not know, and the manifest says nothing.

Files are looked at line by line, by their indentation: that is enough for the place, and reads a thousand in no time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dbt_stripe_sync.dbt.manifest import TAG
from dbt_stripe_sync.model.errors import Location, Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dbt_stripe_sync.dbt.manifest import Manifest
    from dbt_stripe_sync.dbt.project import DbtProject

_KEY = re.compile(r"^(?P<indent> *)(?P<item>- +)?(?P<key>[\w+-]+) *:(?P<value> .*)?$")
# What stands above the names of models, in a file of properties.
_SECTIONS = {"models": "model", "seeds": "seed", "snapshots": "snapshot"}
# dbt has warned of these places, or `misplaced-sync` has.
_TOLD = frozenset({"sources", "exposures", "metrics", "semantic_models", "macros", "data_tests", "tests", "unit_tests"})


def find_unread(project: DbtProject, manifest: Manifest) -> Iterator[Problem]:
    """A warning for each `stripe_sync:` of the project's YAML that stands where no sync is read."""
    known = {node.name for node in manifest.nodes.values()}
    known |= {node.name for copies in manifest.disabled.values() for node in copies}
    for folder in project.property_paths:
        for file in sorted((project.root / folder).rglob("*.y*ml")):
            text = file.read_text(encoding="utf-8", errors="replace")
            if TAG in text:
                yield from _find_in(text, file.relative_to(project.root), known)


def _find_in(text: str, file: Path, known: set[str]) -> Iterator[Problem]:
    for line, path, names in _places(text):
        if not path or path[0] not in _SECTIONS or not _TOLD.isdisjoint(path):
            continue
        name = names.get(path[0])
        if path[-1] != "meta":
            summary = f"`{TAG}` stands below `{path[-1]}`, where nothing reads it"
            hint = f"write it below `config: meta: {TAG}:`"
        elif name is not None and name not in known:
            summary = f"`{name}` has a sync here, and dbt knows no {_SECTIONS[path[0]]} of that name"
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


def _places(text: str) -> Iterator[tuple[int, list[str], dict[str, str]]]:
    """Each `stripe_sync:` with its line, the keys above it, and the `name` of the entry below each of these."""
    above: list[tuple[int, str]] = []
    names: dict[str, str] = {}
    for line, content in enumerate(text.splitlines(), start=1):
        found = _KEY.match(content.split(" #")[0].rstrip())
        if not found:
            continue
        indent = len(found["indent"]) + len(found["item"] or "")
        while above and above[-1][0] >= indent:
            above.pop()
        key, value = found["key"], (found["value"] or "").strip()
        if key == TAG:
            yield line, [name for _, name in above], dict(names)
        if key == "name" and above:
            names[above[-1][1]] = value.strip("'\"")
        above.append((indent, key))
