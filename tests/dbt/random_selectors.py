"""Random selectors from a manifest's names, folders, tags and configs."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

PARTS = (
    "nodes",
    "sources",
    "exposures",
    "metrics",
    "semantic_models",
    "saved_queries",
    "unit_tests",
    "functions",
)
FIXED = (
    *(f"access:{access}" for access in ("public", "private", "protected")),
    *(f"version:{version}" for version in ("latest", "old", "none", "prerelease")),
    *(f"test_type:{kind}" for kind in ("generic", "singular", "unit", "data")),
    *("test_name:unique", "test_name:not_null", "test_name:rel*", "unit_test:*", "package:this", "source:*"),
    *("exposure:*", "metric:*", "semantic_model:*", "saved_query:*", "group:*", "config.enabled:true"),
)
# What no selector can say: dbt splits at blanks and commas, and takes a colon for the end of the method.
UNSPEAKABLE = frozenset(" ,:\n")


def random_selectors(manifest: Path, seed: int, count: int) -> list[str]:
    """Lines as in the selector table, the same for the same manifest and seed."""
    raw = json.loads(manifest.read_text())
    nodes = [node for part in PARTS for _, node in sorted(raw.get(part, {}).items())]
    chance = Random(seed)  # noqa: S311 - of no secret
    return list(dict.fromkeys(_line(nodes, chance) for _ in range(count)))


def _line(nodes: list[dict[str, Any]], chance: Random) -> str:
    selected = " ".join(_word(nodes, chance) for _ in range(chance.choice((1, 1, 1, 2))))
    if chance.random() < 0.75:
        return selected
    return f"{chance.choice(('*', _word(nodes, chance)))} --exclude {selected}"


def _word(nodes: list[dict[str, Any]], chance: Random) -> str:
    parts = (_with_relatives(_method(nodes, chance), chance) for _ in range(chance.choice((1, 1, 1, 2, 2, 3))))
    return ",".join(parts)


def _with_relatives(text: str, chance: Random) -> str:
    near = chance.randint(0, 3)
    forms = (text, text, f"+{text}", f"{text}+", f"{near}+{text}", f"{text}+{near}", f"@{text}", f"1+{text}+{near}")
    return chance.choice(forms)


def _method(nodes: list[dict[str, Any]], chance: Random) -> str:
    node = chance.choice(nodes)
    ways: tuple[Callable[[Mapping[str, Any], Random], str], ...] = (_name, _name, _place, _file, _tag, _config, _config)
    way = chance.choice((*ways, lambda node, _: f"resource_type:{node['resource_type']}", _package, _fixed))
    text = way(node, chance)
    return "*" if UNSPEAKABLE & set(text.partition(":")[2]) else text


def _name(node: Mapping[str, Any], chance: Random) -> str:
    if node["resource_type"] == "source":
        return chance.choice((f"source:{node['source_name']}", f"source:{_torn(node['source_name'], chance)}"))
    steps = node.get("fqn") or [node["name"]]
    name = chance.choice((node["name"], ".".join(steps[: chance.randint(1, len(steps))])))
    return chance.choice(("", "fqn:")) + _torn(name, chance)


def _place(node: Mapping[str, Any], chance: Random) -> str:
    file = PurePosixPath(node["original_file_path"])
    described = (node.get("patch_path") or "").rpartition("://")[2]
    place = chance.choice((str(file), str(file.parent), described or str(file)))
    return f"path:{_torn(place, chance)}"


def _file(node: Mapping[str, Any], chance: Random) -> str:
    file = PurePosixPath(node["original_file_path"])
    return f"file:{_torn(chance.choice((file.name, file.stem)), chance)}"


def _tag(node: Mapping[str, Any], chance: Random) -> str:
    return f"tag:{_torn(chance.choice(node.get('tags') or ['nosuch']), chance)}"


def _package(node: Mapping[str, Any], chance: Random) -> str:
    return f"package:{_torn(node['package_name'], chance)}"


def _fixed(_: Mapping[str, Any], chance: Random) -> str:
    return chance.choice(FIXED)


def _config(node: Mapping[str, Any], chance: Random) -> str:
    settings = list(_settings(node.get("config") or {}))
    if not settings:
        return _fixed(node, chance)
    path, value = chance.choice(settings)
    text = chance.choice((str(value), str(value).lower(), _torn(str(value), chance)))
    return f"config.{path}:{text}" if text and not UNSPEAKABLE & set(path) else _fixed(node, chance)


def _settings(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _settings(value, f"{above}{name}.")
        else:
            values = value if isinstance(value, list) else [value]
            plain = (entry for entry in values if entry is not None and not isinstance(entry, list | dict))
            yield from ((f"{above}{name}", entry) for entry in plain)


def _torn(text: str, chance: Random) -> str:
    """The text, now and then with a wildcard in it, or in capitals."""
    if len(text) < 3 or chance.random() < 0.7:
        return text
    at = chance.randrange(1, len(text))
    return chance.choice(
        (
            f"{text[:at]}*",
            f"*{text[at:]}",
            f"{text[:at]}?{text[at + 1 :]}",
            f"{text[:at]}*{text[at + 1 :]}",
            text.upper(),
        )
    )
