"""The benchmark results of a session, each compared with its lower bound, and how it grows with the rows."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from math import log
from statistics import median
from typing import TYPE_CHECKING

from business import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from large import Measured

PAGE = ROOT / "docs" / "performance.md"
# Sizes and rounds are settings: a full run with 10,000,000 rows takes an hour.
SIZES = tuple(int(size) for size in os.environ.get("DBT_STRIPE_SYNC_BENCHMARK_ROWS", "100000,1000000").split(","))
ROUNDS = int(os.environ.get("DBT_STRIPE_SYNC_BENCHMARK_ROUNDS", "3"))
PACKAGES = ("duckdb", "pyarrow", "adbc-driver-postgresql", "stripe")


@dataclass(frozen=True)
class Figure:
    """One thing at one size: medians of its rounds, and its floor's seconds."""

    what: str
    rows: int
    seconds: float
    cpu: float
    peak: int
    floor: float
    floor_cpu: float


@dataclass(frozen=True)
class Beside:
    """The same work done by this program and by another one. `ours` and `theirs` name them with their versions."""

    what: str
    ours: str
    theirs: str
    own: Measured
    other: Measured


@dataclass
class Figures:
    """What a session has measured. `others` are sentences about what has no rows."""

    measured: list[Figure] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    peers: list[Beside] = field(default_factory=list)

    def compare(self, what: str, rows: int, rounds: int, ours: Callable[[], Measured], floor: Callable[[], Measured]):
        """Measure both in turn, so that what else the machine does falls on both."""
        pairs = [(floor(), ours()) for _ in range(rounds)]
        floors, own = ([pair[index] for pair in pairs] for index in (0, 1))
        figure = Figure(
            what,
            rows,
            median(one.seconds for one in own),
            median(one.cpu for one in own),
            max(one.peak for one in own),
            median(one.seconds for one in floors),
            median(one.cpu for one in floors),
        )
        self.measured.append(figure)
        print(f"\n{_line(figure)}")
        return [one.out for one in own]

    def say(self, sentence: str) -> None:
        """A figure that has no rows."""
        self.others.append(sentence)
        print(f"\n{sentence}")

    def beside(self, peer: Beside) -> None:
        """The same work by another program."""
        self.peers.append(peer)
        print(f"\n{_peer_line(peer)}")

    def write(self) -> None:
        """Write the page of what was measured."""
        lines = [
            "# Performance",
            "",
            "`pytest -m benchmark_figures -n 0` measured these figures and wrote this page. They describe one machine",
            "and promise nothing about yours: measure it there.",
            "",
            f"Machine: {_machine()}. Versions: {_versions()}. Commit: `{_commit()}`.",
            "",
            "Each figure covers a whole process, from start to exit. Seconds and CPU seconds are medians of the",
            "rounds, and the memory is the highest peak. The floor is a process that only reads the same rows:",
            "`COPY (SELECT * …) TO STDOUT (FORMAT binary)` for PostgreSQL, a scan of the file for DuckDB.",
            "The two run alternately; the parentheses compare the seconds with the floor's. Each row has",
            "twelve columns. Growth is the exponent of the CPU time compared with the next smaller size: 1 means in",
            "proportion to the rows.",
            *(line for warehouse in dict.fromkeys(map(_warehouse, self.measured)) for line in self._table(warehouse)),
            "",
            "## Without rows",
            "",
            *(f"- {sentence}" for sentence in self.others),
            *self._peers(),
        ]
        PAGE.write_text("\n".join(lines).rstrip() + "\n")

    def _table(self, warehouse: str) -> Iterator[str]:
        yield from ("", f"## {warehouse}", "", "| what | rows | seconds | CPU seconds | memory | growth |")
        yield "|---|---:|---:|---:|---:|---:|"
        for figure in self.measured:
            if _warehouse(figure) == warehouse:
                what = figure.what.removesuffix(f", {warehouse}")
                yield f"| {what} {_line(figure).removeprefix(f'| {figure.what} ')} {self._growth(figure)} |"

    def _peers(self) -> list[str]:
        if not self.peers:
            return []
        first = self.peers[0]
        return [
            "",
            "## Compared with a general tool",
            "",
            "Both programs read the same table of a DuckDB file and send its rows to the same local server,",
            "which answers immediately. drt sends the rows that are newer than the last one it sent. It keeps no",
            "record of a row, so it has nothing to compare with, to recover from, or to remove.",
            "",
            f"| | {first.ours} | {first.theirs} |",
            "|---|---:|---:|",
            *map(_peer_line, self.peers),
        ]

    def _growth(self, figure: Figure) -> str:
        same = sorted((one for one in self.measured if one.what == figure.what), key=lambda one: one.rows)
        for smaller, larger in pairwise(same):
            if larger is figure:
                return f"{log(larger.cpu / smaller.cpu) / log(larger.rows / smaller.rows):.2f}"
        return ""


def _line(figure: Figure) -> str:
    return (
        f"| {figure.what} | {figure.rows:,} | {figure.seconds:.2f} ({figure.seconds / figure.floor:.1f} times "
        f"{figure.floor:.2f}) | {figure.cpu:.2f} | {figure.peak:,} MB |"
    )


def _warehouse(figure: Figure) -> str:
    return figure.what.rpartition(", ")[2]


def _peer_line(peer: Beside) -> str:
    cells = (f"{one.seconds:.1f} s, {one.cpu:.1f} s of CPU, {one.peak} MB" for one in (peer.own, peer.other))
    return f"| {peer.what} | {' | '.join(cells)} |"


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return f"{os.cpu_count()} cores, {memory} GB, {platform.system()}, Python {platform.python_version()}"


def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in PACKAGES)


def _commit() -> str:
    command: Sequence[str] = ("git", "rev-parse", "--short", "HEAD")
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
