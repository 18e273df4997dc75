"""Implements dbt's selector methods (docs.getdbt.com/reference/node-selection/methods) that a manifest can answer.

Methods that a manifest can't answer (`state:`, `result:` …), and those that dbt would reject, are left to dbt itself.
"""

from __future__ import annotations

import re
from fnmatch import translate
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.dbt.nodes import read_part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from dbt_stripe_sync.dbt.manifest import Manifest
    from dbt_stripe_sync.dbt.nodes import GraphNode

    Matches: TypeAlias = Callable[[GraphNode], bool]

WILDCARDS = "*?[]"
# In the order of dbt's own list; `dbt ls --select resource_type:x` rejects any other.
RESOURCE_TYPES = frozenset(
    {
        "model",
        "analysis",
        "test",
        "snapshot",
        "operation",
        "seed",
        "source",
        "exposure",
        "metric",
        "saved_query",
        "semantic_model",
        "unit_test",
        "function",
    }
)
# Nodes that dbt keeps outside its `nodes`.
NOT_CONFIGURED = frozenset({"exposure", "metric", "saved_query", "semantic_model", "unit_test", "function"})
# Methods that both engines interpret in the same way, without wildcards. dbt 2 differs in these and in files, tests,
# configs and access, but answers quickly.
_ALIKE = frozenset({"fqn", "tag", "source", "exposure", "package", "resource_type"})
_ALL = "*"
_DEEP = "**"


def find_nodes(method: str, value: str, manifest: Manifest, root: Path) -> set[str] | None:
    """The unique ids that a method finds; None if only dbt can answer, or would reject it."""
    name, *arguments = method.split(".")
    if manifest.is_of_dbt_2 and (name not in _ALIKE or _is_pattern(value)):
        return None
    build = _METHODS.get(name)
    if build is None or (arguments and name != "config"):
        return None
    matches = build(value, arguments, manifest, root)
    if matches is None:
        return None
    return {unique_id for unique_id, node in manifest.graph.items() if matches(node)}


def _is_pattern(value: str) -> bool:
    return value != _ALL and any(mark in value for mark in WILDCARDS)


def default_method(value: str) -> str:
    """The method of a selector that names none."""
    if "/" in value:
        return "path"
    return "file" if value.lower().endswith((".sql", ".py", ".csv")) else "fqn"


@cache
def _pattern(value: str) -> re.Pattern[str]:
    return re.compile(translate(value))


def _fits(text: str | None, value: str) -> bool:
    return text is not None and _pattern(value).match(text) is not None


def _by_name(value: str, _arguments: Sequence[str], _manifest: Manifest, _root: Path) -> Matches:
    def matches(node: GraphNode) -> bool:
        fqn = node.fqn or []
        if node.resource_type == "source" or not fqn:
            return False
        return _is_named(fqn, value, node) or _is_named(fqn[1:], value, node)

    return matches


def _is_named(fqn: Sequence[str], value: str, node: GraphNode) -> bool:
    """Whether it matches the node's name, or the beginning of its qualified name."""
    if not fqn:
        return False
    steps = value.split(".")
    is_versioned = node.resource_type == "model" and node.version is not None and len(fqn) > 1
    # A versioned model's qualified name ends with its version.
    name = fqn[-2] if is_versioned else fqn[-1]
    if name == value or (is_versioned and "_".join(fqn[-2:]) == "_".join(steps[-2:])):
        return True
    flat = [step for part in fqn for step in part.split(".")]
    if len(flat) < len(steps):
        return False
    for index, step in enumerate(steps):
        if any(mark in step for mark in WILDCARDS):
            rest = _fits(".".join(flat[index:]), ".".join(steps[index:]))
            return rest or (len(steps) == 1 and _fits(name, value))
        if flat[index] != step:
            return False
    return True


def _by_tag(value: str, _arguments: Sequence[str], _manifest: Manifest, _root: Path) -> Matches:
    return lambda node: any(_fits(tag, value) for tag in _tags_of(node))


def _tags_of(node: GraphNode) -> Sequence[str]:
    """A unit test only has tags in its config."""
    if node.tags is not None or node.resource_type != "unit_test":
        return node.tags or ()
    tags = node.settings().get("tags") or ()
    return (tags,) if isinstance(tags, str) else tags


def _by_group(value: str, _arguments: Sequence[str], _manifest: Manifest, _root: Path) -> Matches:
    def matches(node: GraphNode) -> bool:
        is_groupable = node.resource_type == "metric" or node.resource_type not in {*NOT_CONFIGURED, "source"}
        return is_groupable and _fits(node.settings().get("group") or None, value)

    return matches


def _by_access(value: str, _arguments: Sequence[str], _manifest: Manifest, _root: Path) -> Matches:
    return lambda node: node.resource_type == "model" and (node.access or "protected") == value


def _by_source(value: str, _arguments: Sequence[str], _manifest: Manifest, _root: Path) -> Matches | None:
    parts = value.split(".")
    if len(parts) > len(("package", "source", "table")):
        return None
    if len(parts) == 1:
        parts.append("*")
    *package, source, table = parts

    def matches(node: GraphNode) -> bool:
        if node.resource_type != "source":
            return False
        in_package = not package or _fits(node.package_name, package[0])
        return in_package and _fits(node.source_name, source) and _fits(node.name, table)

    return matches


def _named(kind: str) -> Callable[[str, Sequence[str], Manifest, Path], Matches | None]:
    """Nodes by `exposure:name`, `exposure:package.name`, and so on."""

    def build(value: str, _arguments: Sequence[str], _manifest: Manifest, _root: Path) -> Matches | None:
        *package, name = value.split(".")
        if len(package) > 1:
            return None

        def matches(node: GraphNode) -> bool:
            in_package = not package or _fits(node.package_name, package[0])
            return node.resource_type == kind and in_package and _fits(node.name, name)

        return matches

    return build


def _by_path(value: str, _arguments: Sequence[str], _manifest: Manifest, root: Path) -> Matches | None:
    """Nodes by file, by the YAML that describes them, or by a parent folder, if the project has that path.

    dbt looks for the pattern in the project's folder, so it never finds a file of a package.
    """
    pattern = [step for step in value.split("/") if step not in {"", "."}]
    if (
        value.startswith("/")
        or not pattern
        or pattern[-1] == _DEEP
        or any(_is_unusual_pattern(step) for step in pattern)
    ):
        return None

    @cache
    def is_there(path: str) -> bool:
        return (root / path).exists()

    @cache
    def places(path: str) -> bool:
        steps = path.split("/")
        wanted = (steps[:depth] for depth in range(1, len(steps) + 1))
        return any(_leads_to(place, pattern) and is_there("/".join(place)) for place in wanted)

    def matches(node: GraphNode) -> bool:
        described_in = node.described_in.rpartition("://")[2]
        described = bool(described_in) and _leads_to(described_in.split("/"), pattern) and is_there(described_in)
        return described or (bool(node.path) and places(node.path))

    return matches


def _is_unusual_pattern(step: str) -> bool:
    """Whether `pathlib` rejects a pattern, or reads it differently in some Python versions, such as a final `**`."""
    return step == ".." or (_DEEP in step and step != _DEEP)


def _leads_to(steps: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path matches a pattern; `**` means any number of folders."""
    if not pattern or not steps:
        return not steps and all(step == _DEEP for step in pattern)
    if pattern[0] == _DEEP:
        return _leads_to(steps, pattern[1:]) or _leads_to(steps[1:], pattern)
    return _fits(steps[0], pattern[0]) and _leads_to(steps[1:], pattern[1:])


def _by_file(value: str, _arguments: Sequence[str], _manifest: Manifest, _root: Path) -> Matches:
    def matches(node: GraphNode) -> bool:
        file = PurePosixPath(node.path)
        return _fits(file.name, value) or _fits(file.stem, value)

    return matches


def _by_package(value: str, _arguments: Sequence[str], manifest: Manifest, _root: Path) -> Matches:
    wanted = manifest.project_name if value == "this" else value
    return lambda node: _fits(node.package_name, wanted)


def _by_config(value: str, arguments: Sequence[str], _manifest: Manifest, _root: Path) -> Matches | None:
    """Nodes by `config.materialized:table`, `config.meta.owner:finance`: text as text, `true` and `false` as both."""
    if not arguments:
        return None

    def matches(node: GraphNode) -> bool:
        if node.resource_type in NOT_CONFIGURED:
            return False
        found: Any = node.settings()
        for step in arguments:
            # dbt finds the methods of a dict before its keys, and no selector equals a method.
            if not isinstance(found, dict) or step not in found or hasattr(dict, step):
                return False
            found = found[step]
        return any(_is_value(entry, value, arguments) for entry in (found if isinstance(found, list) else [found]))

    return matches


def _is_value(found: Any, value: str, arguments: Sequence[str]) -> bool:
    if isinstance(found, bool):
        return str(found).lower() == value.lower()
    if list(arguments) == ["severity"] and isinstance(found, str):
        return found.upper() == value.upper()
    return bool(found == value)


class _TestMetadata(Struct):
    name: str | None = None


def _by_test_name(value: str, _arguments: Sequence[str], _manifest: Manifest, _root: Path) -> Matches:
    def matches(node: GraphNode) -> bool:
        if node.resource_type == "test":
            metadata = read_part(node.test_metadata, _TestMetadata)
            return metadata is not None and _fits(metadata.name, value)
        return node.resource_type == "unit_test" and _fits(node.name, value)

    return matches


def _by_test_type(value: str, _arguments: Sequence[str], _manifest: Manifest, _root: Path) -> Matches | None:
    kinds = {
        "generic": {"generic"},
        "schema": {"generic"},
        "data": {"generic", "singular"},
        "singular": {"singular"},
        "unit": {"unit"},
    }.get(value)
    return None if kinds is None else lambda node: _kind_of_test(node) in kinds


def _kind_of_test(node: GraphNode) -> str | None:
    if node.resource_type == "unit_test":
        return "unit"
    if node.resource_type != "test":
        return None
    return "generic" if read_part(node.test_metadata, _TestMetadata) else "singular"


def _by_resource_type(value: str, _arguments: Sequence[str], _manifest: Manifest, _root: Path) -> Matches | None:
    return (lambda node: node.resource_type == value) if value in RESOURCE_TYPES else None


def _by_version(value: str, _arguments: Sequence[str], _manifest: Manifest, _root: Path) -> Matches | None:
    if value not in {"latest", "prerelease", "old", "none"}:
        return None

    def matches(node: GraphNode) -> bool:
        if node.resource_type != "model":
            return False
        if value == "none" or node.version is None:
            return value == "none" and node.version is None
        if value == "latest":
            return node.version == node.latest_version
        if not node.version or not node.latest_version:
            return False
        pair = (node.latest_version, node.version) if value == "prerelease" else (node.version, node.latest_version)
        return _is_older(*pair)

    return matches


def _is_older(one: float | str, other: float | str) -> bool:
    """Whether a version comes before another: as numbers if both are, otherwise as text."""
    try:
        return float(one) < float(other)
    except ValueError:
        return str(one) < str(other)


_METHODS: Mapping[str, Callable[[str, Sequence[str], Manifest, Path], Matches | None]] = {
    "fqn": _by_name,
    "tag": _by_tag,
    "group": _by_group,
    "access": _by_access,
    "source": _by_source,
    "path": _by_path,
    "file": _by_file,
    "package": _by_package,
    "config": _by_config,
    "test_name": _by_test_name,
    "test_type": _by_test_type,
    "resource_type": _by_resource_type,
    "version": _by_version,
    **{kind: _named(kind) for kind in ("exposure", "metric", "semantic_model", "saved_query", "unit_test")},
}
