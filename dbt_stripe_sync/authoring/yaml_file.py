"""Adds a sync to a model's YAML without changing any other line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from dbt_stripe_sync.model.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

STEP = "  "
TAG = "stripe_sync"
SECTIONS = {"model": "models", "seed": "seeds", "snapshot": "snapshots"}


def new_file(kind: str, model: str, snippet: Sequence[str]) -> str:
    """The YAML for a model that has no file."""
    lines = ["config:", f"{STEP}meta:", f"{STEP * 2}{TAG}:", *_indented(snippet, 3)]
    return "\n".join(["version: 2", "", f"{SECTIONS[kind]}:", f"{STEP}- name: {model}", *_indented(lines, 2), ""])


def has_model(text: str, kind: str, model: str, *, file: str) -> bool:
    """Whether the YAML describes a model. Raises `ConfigError` if it can't be read."""
    return _find_model(_load(text, file), kind, model) is not None


def insert_sync(text: str, kind: str, model: str, snippet: Sequence[str], *, file: str) -> str:
    """The same file with the sync under the model's meta.

    Raises `ConfigError` if the model already has a sync there, or if lines can't be added to its YAML.
    """
    node = _find_model(_load(text, file), kind, model)
    if node is None:
        raise ConfigError(_problem("model-not-in-file", f"`{model}` is not in this file", file, model))
    holder, below = _place(node)
    if holder is None:
        column = node.lc.col
        line, names = node.lc.data["name"][0] + 1, ["config", "meta", TAG]
    else:
        if _is_flow(holder):
            how = f"`{below}:` of `{model}` is written on one line, where comments can't be added"
            raise ConfigError(_problem("flow-yaml", how, file, model))
        column = holder.lc.col
        line, names = holder.lc.line, ["meta", TAG] if below == "config" else [TAG]
    if holder is not None and TAG in holder:
        raise ConfigError(_problem("already-synced", f"`{model}` already has a `{TAG}`", file, model))
    lines = [f"{STEP * depth}{name}:" for depth, name in enumerate(names)] + _indented(snippet, len(names))
    rows = text.splitlines(keepends=True)
    end = "\r\n" if rows[0].endswith("\r\n") else "\n"
    added = "".join(f"{' ' * column}{row}{end}" for row in lines)
    if line == len(rows) and not rows[-1].endswith("\n"):  # the file's last line has no end
        added = end + added.removesuffix(end)
    changed = "".join((*rows[:line], added, *rows[line:]))
    _check_rest(text, changed, kind, model, file)
    return changed


def _place(node: CommentedMap) -> tuple[CommentedMap | None, str]:
    """The map that the sync goes into, and its name: `meta` if there is one, otherwise `config`."""
    config = node.get("config")
    if isinstance(config, CommentedMap):
        if isinstance(config.get("meta"), CommentedMap):
            return config["meta"], "meta"
        return config, "config"
    if isinstance(node.get("meta"), CommentedMap):
        return node["meta"], "meta"
    return None, ""


def _is_flow(node: CommentedMap) -> bool:
    return bool(node.fa.flow_style()) or node.lc.col is None


def _load(text: str, file: str) -> Any:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    try:
        return yaml.load(text)
    except YAMLError:
        raise ConfigError(_problem("bad-yaml", "the file is not valid YAML", file, None)) from None


def _find_model(document: Any, kind: str, model: str) -> CommentedMap | None:
    entries = document.get(SECTIONS[kind]) if isinstance(document, dict) else None
    found = [entry for entry in entries or () if isinstance(entry, CommentedMap) and entry.get("name") == model]
    return found[0] if found else None


def _check_rest(before: str, after: str, kind: str, model: str, file: str) -> None:
    """Check that the file has the same contents as before, apart from the new sync."""
    was, now = _load(before, file), _load(after, file)
    node = _find_model(now, kind, model)
    holder, _ = _place(node) if node is not None else (None, "")
    if node is None or holder is None or holder.pop(TAG, None) is None:
        raise ConfigError(_problem("flow-yaml", "there is no place for the sync in this file", file, model))
    old = _find_model(was, kind, model)
    for name in ("config", "meta"):
        part = node.get(name)
        if isinstance(part, dict) and isinstance(part.get("meta"), dict) and not part["meta"]:
            del part["meta"]
        if part == {} and old is not None and not old.get(name):
            del node[name]
    if was != now:
        raise ConfigError(_problem("flow-yaml", "there is no place for the sync in this file", file, model))


def _problem(code: str, summary: str, file: str, model: str | None) -> Problem:
    hints = {
        "already-synced": "change it there; `dbt-stripe-sync init` only adds what is missing",
        "flow-yaml": "write the model's `config:` and `meta:` on lines of their own, and try again",
        "bad-yaml": "`dbt parse` shows the details",
        "model-not-in-file": "run `dbt parse`, so that the manifest has its location",
    }
    return Problem(code=code, summary=summary, where=Location(file=file, model=model), hint=hints[code])


def _indented(lines: Sequence[str], steps: int) -> list[str]:
    return [f"{STEP * steps}{line}" for line in lines]
