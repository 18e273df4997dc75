"""Reads and replaces the project's own files: a file is replaced as a whole, or stays as it was."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from pathlib import Path


def read_file(file: Path, name: str) -> str:
    """The text of a file, with its line ends; `name` is for messages. Raises `ConfigError` if it isn't UTF-8."""
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError:
        raise ConfigError(
            Problem(
                code="bad-yaml",
                summary="the file is not UTF-8 text",
                where=Location(file=name),
                hint="save it as UTF-8, which dbt requires",
            )
        ) from None


def replace_file(file: Path, text: str) -> None:
    """Write a file, and its folder if there is none.

    Raises `OSError` about `file`; then an existing one is unchanged.
    """
    target = file.resolve()  # a symbolic link stays one
    fresh = target.with_name(f".{target.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(text.encode())
        with suppress(FileNotFoundError):
            shutil.copymode(target, fresh)
        fresh.replace(target)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        # The one that was named, not the one that was to replace it.
        raise OSError(error.errno, error.strerror, str(file)) from None
