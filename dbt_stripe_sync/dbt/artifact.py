"""Reads the JSON files in dbt's target folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from dbt_stripe_sync.model.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from pathlib import Path


def read_artifact(path: Path, what: str) -> Any:
    """The JSON at `path`; `what` names it for messages. Raises `ConfigError` (`no-manifest`, `broken-manifest`)."""
    try:
        return orjson.loads(read_bytes(path, what))
    except (orjson.JSONDecodeError, UnicodeDecodeError):
        raise ConfigError(broken_artifact(path, "it is not valid JSON, or it is truncated")) from None


def read_bytes(path: Path, what: str) -> bytes:
    """The file at `path`. Raises `ConfigError` (`no-manifest`, `broken-manifest`)."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            Problem(
                code="no-manifest",
                summary=f"dbt's {what} was not found here",
                where=Location(file=str(path)),
                hint="run `dbt build` first, or name the project with `--project-dir`",
            )
        ) from None
    except OSError as error:
        raise ConfigError(broken_artifact(path, error.strerror or "it can't be opened")) from None


def broken_artifact(path: Path, why: str) -> Problem:
    """An artifact that doesn't have dbt's format."""
    return Problem(
        code="broken-manifest",
        summary=f"dbt's artifact can't be read: {why}",
        where=Location(file=str(path)),
        hint="remove it and run `dbt build` again",
    )
