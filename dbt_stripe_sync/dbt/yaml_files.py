"""Reads YAML files with the same meaning as dbt does."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import MantissaNoDotYAML1_1Warning, MarkedYAMLError, YAMLError

from dbt_stripe_sync.model.errors import ConfigError, Location, Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def _load_yaml(text: str, *, may_repeat: bool = False) -> Any:
    # dbt reads YAML 1.1, where `on` is true and 010 is eight. The same text must have the same meaning here.
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)
    yaml.Constructor = _LastWins if may_repeat else yaml.Constructor
    with warnings.catch_warnings():
        # For a number like `5e-3`, which is text in YAML 1.1, and which dbt reads as text, too.
        warnings.simplefilter("ignore", MantissaNoDotYAML1_1Warning)
        return yaml.load(text)


class _LastWins(SafeConstructor):
    """Accepts duplicate names, and uses the last value, as dbt does."""

    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:
        """Always true: the mapping takes the value."""
        del node, key_node, value
        mapping.pop(key, None)
        return True


def parse_yaml(text: str) -> tuple[Any, list[int]]:
    """The YAML, and the lines of duplicate names. Raises `YAMLError`."""
    try:
        return _load_yaml(text), []
    except DuplicateKeyError as error:
        return _load_yaml(text, may_repeat=True), [error.problem_mark.line + 1] if error.problem_mark else [0]


def read_optional(file: Path) -> Mapping[str, Any]:
    """A file that a project may have. As in dbt, it may be empty. Raises `ConfigError`."""
    raw, _ = read_yaml(file, "bad-yaml", "the file can't be read", "check its permissions", may_be_empty=True)
    return raw


def read_yaml(
    file: Path, code: str, missing: str, hint: str, *, may_be_empty: bool = False
) -> tuple[Mapping[str, Any], list[int]]:
    """A mapping, and the lines of its duplicate names.

    `code`, `missing` and `hint` are the problem if the file can't be read. Raises `ConfigError`.
    """
    try:
        raw, twice = parse_yaml(file.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(Problem(code=code, summary=missing, where=Location(file=str(file)), hint=hint)) from None
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(_bad_yaml(f"{file}{line}", error.problem)) from None
    except UnicodeDecodeError:
        raise ConfigError(_bad_yaml(str(file), "it is not UTF-8 text")) from None
    except YAMLError:
        raise ConfigError(_bad_yaml(str(file), None)) from None
    if raw is None and may_be_empty:
        return {}, []
    if not isinstance(raw, dict):
        raise ConfigError(_bad_yaml(str(file), "it is not a YAML mapping"))
    return raw, twice


def named_twice(file: str, line: int) -> Problem:
    """A warning about a duplicate name."""
    return Problem(
        code="duplicate-yaml-key",
        summary="this file has the same name twice; the last value counts, as in dbt",
        where=Location(file=f"{file}, line {line}"),
        hint="keep one of the two",
        severity=Severity.WARNING,
    )


def _bad_yaml(file: str, why: str | None) -> Problem:
    return Problem(
        code="bad-yaml",
        summary=f"the file is not valid YAML{f': {why}' if why else ''}",
        where=Location(file=file),
        hint="`dbt parse` shows the details",
    )
