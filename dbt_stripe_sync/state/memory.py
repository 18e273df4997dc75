"""How much memory DuckDB may use before it spills to disk: from the machine, or from the setting."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MEGABYTE = 1024 * 1024
# In a small container, Python and the driver need half. With a million rows, more than this makes nothing faster; with
# ten million, a gigabyte saves a twentieth of the time, which `memory_mb` allows.
SHARE = 4
LEAST_MEGABYTES = 256
MOST_MEGABYTES = 384
# With four threads, 384 MB were too little to sort the results of a million changes, and with three to compare four
# million rows of which an eighth had changed. DuckDB names 125 MB as the least
# (duckdb.org/docs/stable/guides/performance/environment).
MEGABYTES_OF_THREAD = 192
# docs.kernel.org/admin-guide/cgroup-v2.html, and version 1: the memory that a container may use.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def choose_megabytes(wanted: int | None) -> int:
    """The configured amount, or else a quarter of the machine's or container's memory, between 256 MB and 384 MB."""
    if wanted is not None:
        return wanted
    return max(LEAST_MEGABYTES, min(MOST_MEGABYTES, read_megabytes() // SHARE))


def choose_threads(megabytes: int, available: int) -> int:
    """As many threads as the memory allows, out of those that are available."""
    return max(1, min(available, megabytes // MEGABYTES_OF_THREAD))


def read_megabytes(limits: tuple[Path, ...] = LIMITS) -> int:
    """The machine's memory, or its container's limit if that is lower."""
    found = []
    with suppress(AttributeError, OSError, ValueError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in limits:
        with suppress(OSError, ValueError):  # `max` means that there is no limit
            found.append(int(path.read_text()))
    return min(found, default=SHARE * MOST_MEGABYTES * MEGABYTE) // MEGABYTE
