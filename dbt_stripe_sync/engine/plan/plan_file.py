"""Plans as files: changes are written as they are found, read as they are sent, and checked when they come back.

A plan file is JSON lines: the header, one line a change, and a last line with the counts, the problems, where each
sync's changes begin, and a digest of it all. It holds row values, so only its owner may read it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Any

import orjson

from dbt_stripe_sync.model.codec import (
    decode_change,
    decode_counts,
    decode_header,
    decode_problem,
    encode_change,
    encode_counts,
    encode_header,
    encode_problem,
)
from dbt_stripe_sync.model.errors import Location, PlanError, Problem
from dbt_stripe_sync.model.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from hashlib import _Hash as Hash
    from pathlib import Path

    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.plan import PlanHeader, SyncCounts

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    start: int
    count: int


class ChangeFile:
    """The changes of a plan file. Implements `Changes`."""

    def __init__(self, path: Path, sections: dict[str, _Section]) -> None:
        self.path = path
        self._sections = sections

    def __iter__(self) -> Iterator[Change]:
        for sync in self._sections:
            yield from self.of(sync)

    def __len__(self) -> int:
        return sum(section.count for section in self._sections.values())

    def of(self, sync: str) -> Iterator[Change]:
        """The changes of one sync, in the order of their keys."""
        section = self._sections.get(sync)
        if section is None:
            return
        with self.path.open("rb") as file:
            file.seek(section.start)
            for _ in range(section.count):
                yield decode_change(orjson.loads(file.readline()))


class PlanWriter:
    """Writes a plan, sync by sync. Whatever can't be written raises `PlanError`."""

    def __init__(self, path: Path, header: PlanHeader) -> None:
        self._path = path
        self._header = header
        self._sections: dict[str, _Section] = {}
        with _written(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file: IO[bytes] = os.fdopen(descriptor, "w+b")
        self._write({"dbt_stripe_sync_plan": FORMAT, "header": encode_header(header)})
        self._start = self._file.tell()
        self._count = 0

    def add(self, change: Change) -> None:
        """Add a change of the sync that is being planned."""
        self._write(encode_change(change))
        self._count += 1

    def end_sync(self, sync: str, *, keep: bool) -> None:
        """Finish the changes of a sync, or of another lane, or drop them where a guard holds the sync."""
        if not keep:
            with _written(self._path):
                self._file.seek(self._start)
                self._file.truncate()
        elif self._count:
            self._sections[sync] = _Section(start=self._start, count=self._count)
        self._start = self._file.tell()
        self._count = 0

    def changes_of(self, sync: str) -> Iterator[Change]:
        """The changes of a sync that is finished."""
        with _written(self._path):
            self._file.flush()
        return ChangeFile(self._path, self._sections).of(sync)

    def finish(self, counts: Sequence[SyncCounts], problems: Sequence[Problem], *, state_serial: int) -> Plan:
        """Seal the file and give the plan. `state_serial` is the state's, now that planning has read it."""
        with _written(self._path):
            self._file.flush()
        end = {
            "sections": {sync: [part.start, part.count] for sync, part in self._sections.items()},
            "counts": [encode_counts(count) for count in counts],
            "problems": [encode_problem(problem) for problem in problems],
            "state_serial": state_serial,
        }
        self._write({**end, "sha256": _sealed(_digest(self._path), end)})
        with _written(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return Plan(
            header=replace(self._header, state_serial=state_serial),
            changes=ChangeFile(self._path, self._sections),
            counts=tuple(counts),
            problems=tuple(problems),
        )

    def discard(self) -> None:
        """Close and remove the file."""
        # Where the disk is full, closing fails too: what it could not write goes with the file.
        with suppress(OSError):
            self._file.close()
        with suppress(FileNotFoundError):
            self._path.unlink()

    def _write(self, line: Any) -> None:
        with _written(self._path):
            self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PlanError(
            Problem(
                code="plan-unwritable",
                summary=f"the plan can't be written: {(error.strerror or type(error).__name__).lower()}",
                where=Location(file=str(path)),
                hint="free some space, or make its folder writable, and run again: nothing of this plan was sent",
            )
        ) from None


def read_plan(path: Path) -> Plan:
    """A plan file, checked against its own digest.

    Raises `PlanError`.
    """
    where = Location(file=str(path))
    again = "make it anew with `dbt-stripe-sync plan --out FILE`"
    try:
        lines = path.open("rb")
    except OSError as error:
        raise PlanError(
            Problem(code="no-plan", summary=f"the plan can't be read: {error.strerror}", where=where, hint=again)
        ) from None
    with lines as file:
        try:
            return _parse_plan(path, file)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            raise PlanError(
                Problem(
                    code="plan-altered",
                    summary="the plan is cut short or was altered after it was made",
                    where=where,
                    hint=again,
                )
            ) from None


def _parse_plan(path: Path, file: IO[bytes]) -> Plan:
    digest = sha256()
    first = file.readline()
    digest.update(first)
    head = orjson.loads(first)
    if head["dbt_stripe_sync_plan"] != FORMAT:
        raise PlanError(
            Problem(
                code="plan-format",
                summary="the plan was made by another version of dbt-stripe-sync",
                where=Location(file=str(path)),
                hint="make it anew with this version",
            )
        )
    last = b""
    for line in file:
        digest.update(last)
        last = line
    end = orjson.loads(last)
    seal = end.pop("sha256")
    if seal != _sealed(digest, end):
        raise ValueError(path)
    sections = {sync: _Section(start=start, count=count) for sync, (start, count) in end["sections"].items()}
    return Plan(
        header=replace(decode_header(head["header"]), state_serial=int(end["state_serial"])),
        changes=ChangeFile(path, sections),
        counts=tuple(decode_counts(count) for count in end["counts"]),
        problems=tuple(decode_problem(problem) for problem in end["problems"]),
    )


def _sealed(digest: Hash, end: dict[str, Any]) -> str:
    """The digest of all lines, the last one with everything but the digest itself."""
    digest.update(orjson.dumps(end, option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()


def _digest(path: Path) -> Hash:
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest
