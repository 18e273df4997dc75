"""One entry of the log: what a transaction executed, that a snapshot was taken, or that a new run has begun."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pyarrow as pa
from msgspec import Struct

from dbt_stripe_sync.state.session import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence


FOLDER = "journal"
DIGEST_BYTES = 32
FORMAT = 1


class BadEntryError(Exception):
    """The contents of an object aren't an entry, or aren't the one that was written."""


class Position(Struct, frozen=True, kw_only=True):
    """The position of a copy of the state: the number of its last entry, and that entry's digest."""

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """The inverse of `str`. Raises `ValueError`."""
        number, digest = text.split(":")
        return cls(number=int(number), digest=digest)


START = Position(number=0, digest="")


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of the whole file. `replayable` says that replaying every earlier entry gives the same result."""

    name: str
    sha256: str
    size: int
    replayable: bool


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    sql: str
    values: dict[str, Any]
    # The Arrow tables that it reads, by name; each is stored once.
    tables: dict[str, int]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One object of the log, the `number`th. `previous` is the digest of the one before."""

    number: int
    previous: str
    kind: Literal["write", "snapshot", "begin"]
    run: str | None = None
    holder: str = ""
    # The token of the lease under which it was written: no two runs ever write the same bytes.
    lease: str = ""
    steps: tuple[_Step, ...] = ()
    tables: tuple[bytes, ...] = ()
    snapshot: Snapshot | None = None
    format: int = FORMAT


def name_of(number: int) -> str:
    """The object name of an entry; names sort in the order of the numbers."""
    return f"{FOLDER}/{number:012}"


def number_of(name: str) -> int | None:
    """The number of an entry by its object's name, or None if it isn't an entry."""
    text = name.rpartition("/")[2]
    return int(text) if text.isdigit() else None


def build_write(
    position: Position, statements: Sequence[Statement], *, run: str | None, holder: str, lease: str
) -> Entry:
    """The entry of a transaction that comes after `position`."""
    places: dict[int, int] = {}
    tables: list[bytes] = []
    steps = []
    for statement in statements:
        for table in statement.tables.values():
            if id(table) not in places:
                places[id(table)] = len(tables)
                tables.append(_pack(table))
        named = {name: places[id(table)] for name, table in statement.tables.items()}
        steps.append(_Step(sql=statement.sql, values=dict(statement.values), tables=named))
    return Entry(
        number=position.number + 1,
        previous=position.digest,
        kind="write",
        run=run,
        holder=holder,
        lease=lease,
        steps=tuple(steps),
        tables=tuple(tables),
    )


def statements_of(entry: Entry) -> list[Statement]:
    """The inverse of `build_write`."""
    tables = [_unpack(packed) for packed in entry.tables]
    return [
        Statement(sql=step.sql, values=step.values, tables={name: tables[at] for name, at in step.tables.items()})
        for step in entry.steps
    ]


def encode(entry: Entry) -> tuple[bytes, str]:
    """An entry as the bytes of its object, and their digest."""
    plain = msgspec.msgpack.encode(entry)
    packed = len(plain).to_bytes(8, "big") + pa.compress(plain, codec="zstd", asbytes=True)
    digest = hashlib.sha256(packed)
    return digest.digest() + packed, digest.hexdigest()


def decode(body: bytes) -> tuple[Entry, str]:
    """The inverse of `encode`. Raises `BadEntryError`."""
    packed = body[DIGEST_BYTES:]
    digest = hashlib.sha256(packed)
    if digest.digest() != body[:DIGEST_BYTES]:
        raise BadEntryError
    try:
        plain = pa.decompress(
            packed[8:], decompressed_size=int.from_bytes(packed[:8], "big"), codec="zstd", asbytes=True
        )
        return msgspec.msgpack.decode(plain, type=Entry), digest.hexdigest()
    except (msgspec.MsgspecError, pa.ArrowException, OSError) as error:
        raise BadEntryError from error


def _pack(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _unpack(packed: bytes) -> pa.Table:
    with pa.ipc.open_stream(packed) as reader:
        return reader.read_all()
