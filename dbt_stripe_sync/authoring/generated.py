"""Writes project files that a command generates completely each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.authoring.files import replace_file
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from pathlib import Path


def write_generated(text: str, file: Path, *, header: str, command: str) -> bool:
    """Write the file, and return whether it has changed.

    Raises `ConfigError` if a file exists that doesn't begin with `header`, because then it isn't a generated one.
    """
    if file.exists():
        before = file.read_bytes()  # a file that isn't text was not written by the command, either
        if before == text.encode():
            return False
        if not before.startswith(header.encode()):
            raise ConfigError(
                Problem(
                    code="file-exists",
                    summary=f"the file already exists, and was not written by `dbt-stripe-sync {command}`",
                    where=Location(file=str(file)),
                    hint="name another one with `--out`",
                )
            )
    replace_file(file, text)
    return True
