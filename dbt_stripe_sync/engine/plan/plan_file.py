"""Reads and writes plan files.

Changes are written as they are found, read as they are sent, and checked when loaded.

A plan file is JSON lines: the header, a line for each change, and a last line. The last line has the counts, the
problems, where each sync's changes begin, a digest of everything, and the state's signature of the digest. The file
contains row values, so only its owner may read it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import islice
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

import orjson
from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.engine.plan.withholding import withhold_waiting
from dbt_stripe_sync.model.codec import (
    decode_change,
    decode_counts,
    decode_header,
    decode_owed,
    decode_problem,
    decode_refreshed,
    dump_change,
    encode_counts,
    encode_header,
    encode_owed,
    encode_problem,
    encode_refreshed,
)
from dbt_stripe_sync.model.errors import Location, PlanError, Problem
from dbt_stripe_sync.model.plan import FormerObject, Plan, Touched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from hashlib import _Hash as Hash
    from pathlib import Path

    from dbt_stripe_sync.engine.plan.order import Order
    from dbt_stripe_sync.model.change import Change, Owed
    from dbt_stripe_sync.model.plan import PlanHeader, Refreshed, SyncCounts
    from dbt_stripe_sync.model.record import Record

FORMAT = 4
PROOF = ("sha256", "signature")
_AGAIN = "make a new plan with `dbt-stripe-sync plan --out FILE`"


class _Section(Struct, frozen=True):
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

    @property
    def lanes(self) -> Sequence[str]:
        """The lanes, in the order in which they were planned: parents before children."""
        return tuple(self._sections)

    def of(self, sync: str) -> Iterator[Change]:
        """The changes of one sync, in the order of their keys."""
        section = self._sections.get(sync)
        if section is None:
            return
        with _opened(self.path) as file:
            file.seek(section.start)
            for _ in range(section.count):
                yield decode_change(orjson.loads(file.readline()))


class _Refreshes:
    """The record updates in a plan file, which need no call. They can be iterated many times."""

    def __init__(self, path: Path, section: _Section) -> None:
        self._path = path
        self._section = section

    def __iter__(self) -> Iterator[Refreshed]:
        with _opened(self._path) as file:
            file.seek(self._section.start)
            for _ in range(self._section.count):
                yield decode_refreshed(orjson.loads(file.readline()))


class PlanWriter:
    """Writes a plan, sync by sync.

    `sign` returns the state's signature. Raises `PlanError` if something can't be written.
    """

    def __init__(self, path: Path, header: PlanHeader, sign: Callable[[str], str]) -> None:
        self._path = path
        self._header = header
        self._sign = sign
        self._sections: dict[str, _Section] = {}
        with _written(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file: IO[bytes] = os.fdopen(descriptor, "w+b")
        self._write({"dbt_stripe_sync_plan": FORMAT, "header": encode_header(header)})
        self._first = self._start = self._file.tell()
        self._count = 0
        self._aside: IO[bytes] | None = None
        self._noted = 0

    @property
    def header(self) -> PlanHeader:
        """What the plan is made for."""
        return self._header

    def add(self, change: Change) -> None:
        """Add a change of the sync that is being planned."""
        self._write_line(dump_change(change))
        self._count += 1

    def end_sync(self, sync: str, *, keep: bool) -> None:
        """End the changes of a sync or another lane, or drop them if a guard holds the sync back."""
        if not keep:
            with _written(self._path):
                self._file.seek(self._start)
                self._file.truncate()
        elif self._count:
            self._sections[sync] = _Section(start=self._start, count=self._count)
        self._start = self._file.tell()
        self._count = 0

    def refresh(self, record: Record, *, only_touched: bool = False) -> None:
        """Add an update that needs no call: a record, or only its hash and references."""
        touched = Touched(sync=record.sync, key=record.key, source_hash=record.source_hash, refs=record.refs)
        self.note(touched if only_touched else record)

    def former(self, sync: str, key: str, stripe_id: str) -> None:
        """Add an object that a row had before, and that others may still refer to."""
        self.note(FormerObject(sync=sync, key=key, stripe_id=stripe_id))

    def note(self, entry: Refreshed) -> None:
        """Add a record update."""
        with _written(self._path):
            if self._aside is None:
                # A sync's changes are contiguous in the file, so other lines that are found meanwhile are kept aside.
                self._aside = TemporaryFile(dir=self._path.parent)  # noqa: SIM115 - open for as long as the plan grows
            self._aside.write(orjson.dumps(encode_refreshed(entry), option=orjson.OPT_APPEND_NEWLINE))
        self._noted += 1

    def _take_aside(self) -> _Section:
        section = _Section(start=self._start, count=self._noted)
        if self._aside is not None:
            with _written(self._path), self._aside as aside:
                aside.seek(0)
                copyfileobj(aside, self._file)
        return section

    def changes_of(self, sync: str) -> Iterator[Change]:
        """The changes of a sync that has ended."""
        with _written(self._path):
            self._file.flush()
        return ChangeFile(self._path, self._sections).of(sync)

    def rewrite(self, order: Order) -> list[Change]:
        """Rewrite every change in the plan's order, and return those that are withheld.

        In each lane, changes that others wait for come first.
        """
        withheld: list[Change] = []
        kept, self._sections = ChangeFile(self._path, self._sections), {}
        with _written(self._path):
            self._file.flush()
            aside: IO[bytes] = TemporaryFile(dir=self._path.parent)  # noqa: SIM115 - closed below
        with aside:
            lanes: list[tuple[str, int]] = []
            if order.withheld:
                withhold_waiting(((lane, kept.of(lane)) for lane in kept.lanes), order)
            first = order.first
            for lane in kept.lanes:
                count = 0
                for is_early in (True, False):
                    for change in kept.of(lane):
                        if order.is_withheld(change):
                            withheld += [change] if is_early else []
                            continue
                        for part in order.apply_to(change):
                            if (part.id in first) is is_early:
                                aside.write(dump_change(part))
                                count += 1
                lanes.append((lane, count))
            self._replace_changes(aside, lanes)
        return withheld

    def _replace_changes(self, aside: IO[bytes], lanes: Sequence[tuple[str, int]]) -> None:
        with _written(self._path):
            aside.seek(0)
            self._file.seek(self._first)
            self._file.truncate()
            for lane, count in lanes:
                if count:
                    self._sections[lane] = _Section(self._file.tell(), count)
                self._file.writelines(islice(aside, count))
            self._start = self._file.tell()

    def finish(
        self,
        counts: Sequence[SyncCounts],
        problems: Sequence[Problem],
        *,
        state_serial: int,
        owed: Sequence[Owed] = (),
        reads: int = 0,
    ) -> Plan:
        """Sign the file and return the plan. `state_serial` is the state's serial at the end of planning."""
        refreshes = self._take_aside()
        with _written(self._path):
            self._file.flush()
        end = {
            "refreshes": [refreshes.start, refreshes.count],
            "sections": {sync: [part.start, part.count] for sync, part in self._sections.items()},
            "counts": [encode_counts(count) for count in counts],
            "problems": [encode_problem(problem) for problem in problems],
            "owed": [encode_owed(step) for step in owed],
            "state_serial": state_serial,
            "reads": reads,
        }
        digest = _whole_digest(_digest(self._path), end)
        signature = self._sign(digest)
        self._write({**end, **dict(zip(PROOF, (digest, signature), strict=True))})
        with _written(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return Plan(
            header=replace(self._header, state_serial=state_serial),
            changes=ChangeFile(self._path, self._sections),
            counts=tuple(counts),
            problems=tuple(problems),
            refreshes=_Refreshes(self._path, refreshes),
            owed=tuple(owed),
            reads=reads,
            digest=digest,
            signature=signature,
        )

    def discard(self) -> None:
        """Close and remove the file."""
        # If the disk is full, closing fails, too. Unwritten data is dropped together with the file.
        with suppress(OSError):
            self._file.close()
        with suppress(FileNotFoundError):
            self._path.unlink()

    def _write(self, value: Any) -> None:
        self._write_line(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))

    def _write_line(self, encoded: bytes) -> None:
        try:  # every change passes through here: `_written` takes longer than the write itself
            self._file.write(encoded)
        except OSError as error:
            raise _unwritable(self._path, error) from None


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> PlanError:
    return PlanError(
        Problem(
            code="plan-unwritable",
            summary=f"the plan can't be written: {(error.strerror or type(error).__name__).lower()}",
            where=Location(file=str(path)),
            hint="free some space, or create its folder or make it writable, and run again: none of this plan was sent",
        )
    )


def save_plan(path: Path, out: Path) -> None:
    """Copy a plan to the file that the user has named, which only its owner can read. Raises `PlanError`."""
    with _written(out), path.open("rb") as made, out.open("wb") as saved:
        out.chmod(0o600)
        copyfileobj(made, saved)


def take_plan(path: Path, folder: Path) -> Plan:
    """Load a saved plan from a copy in `folder`, so that later writes to the file don't affect what is sent.

    Raises `PlanError` as `read_plan` does.
    """
    copy = folder / "plan.jsonl"
    with _opened(path) as file, _written(copy), copy.open("wb") as kept:
        copyfileobj(file, kept)
    return read_plan(copy, Location(file=str(path)))


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        summary = f"the plan can't be read: {error.strerror}"
        problem = Problem(code="no-plan", summary=summary, where=Location(file=str(path)), hint=_AGAIN)
        raise PlanError(problem) from None


def read_plan(path: Path, named: Location | None = None) -> Plan:
    """Load a saved plan.

    `named` is the file's name for messages, if this is a copy of it. Raises `PlanError` if it can't be read, or is
    damaged. It doesn't check whether the signature is the state's.
    """
    where = named or Location(file=str(path))
    with _opened(path) as file:
        try:
            return _parse_plan(path, file, where)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
            raise PlanError(
                Problem(
                    code="plan-altered",
                    summary="the plan file is truncated, or was altered after it was made",
                    where=where,
                    hint=_AGAIN,
                )
            ) from None


def _parse_plan(path: Path, file: IO[bytes], where: Location) -> Plan:
    digest = sha256()
    first = file.readline()
    digest.update(first)
    head = orjson.loads(first)
    if head["dbt_stripe_sync_plan"] != FORMAT:
        raise PlanError(
            Problem(
                code="plan-format",
                summary="the plan was made by another version of dbt-stripe-sync",
                where=where,
                hint="make a new plan with this version",
            )
        )
    last = b""
    for line in file:
        digest.update(last)
        last = line
    end = orjson.loads(last)
    expected, signature = (end.pop(name) for name in PROOF)
    if expected != _whole_digest(digest, end):
        raise ValueError(path)
    sections = {sync: _Section(start, count) for sync, (start, count) in end["sections"].items()}
    return Plan(
        header=replace(decode_header(head["header"]), state_serial=int(end["state_serial"])),
        changes=ChangeFile(path, sections),
        counts=tuple(decode_counts(count) for count in end["counts"]),
        problems=tuple(decode_problem(problem) for problem in end["problems"]),
        refreshes=_Refreshes(path, _Section(*end["refreshes"])),
        owed=tuple(decode_owed(step) for step in end["owed"]),
        reads=int(end.get("reads", 0)),
        digest=expected,
        signature=str(signature),
    )


def _whole_digest(digest: Hash, end: dict[str, Any]) -> str:
    """The digest of all lines, the last one without the digest itself and its signature."""
    digest.update(orjson.dumps(end, option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()


def _digest(path: Path) -> Hash:
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest
