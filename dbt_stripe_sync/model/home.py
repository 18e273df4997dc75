"""Expands `~` in paths, also on machines whose user has no home folder."""

from __future__ import annotations

import os
from pathlib import Path


def with_home(path: str | Path) -> Path:
    """The path with its leading `~` expanded.

    If the home folder is unknown, the path stays as it is, so that a message can name it. A container that runs under
    any user id has no entry for it in /etc/passwd, and `Path.expanduser` raises there.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111 - see above
