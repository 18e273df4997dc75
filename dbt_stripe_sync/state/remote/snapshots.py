"""Compresses, uploads and downloads the state's file as one object, and maintains the head, which names the newest."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING

import msgspec
import pyarrow as pa

from dbt_stripe_sync.state.remote.log import FOLDER, Position, Snapshot, number_of
from dbt_stripe_sync.state.session import PRIVATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dbt_stripe_sync.state.remote.objects import Objects

HEAD = "head.json"
SNAPSHOTS = "snapshots"
# Older ones are kept for people, to restore by hand.
KEPT_SNAPSHOTS = 3
# The first entry of a run is kept this long: it blocks the run before it, if that one resumes.
BEGUN_KEPT = timedelta(days=30)
CHUNK = 1 << 20


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """The first entry of a run, and its time."""

    number: int
    at: datetime


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The newest snapshot and its entry in the log; `previous` is the digest of the entry before."""

    number: int
    digest: str
    previous: str
    snapshot: Snapshot
    begun: tuple[Begun, ...] = ()
    written_at: datetime
    check: str = ""

    @property
    def position(self) -> Position:
        """The position of the log after it."""
        return Position(number=self.number, digest=self.digest)


def encode_head(head: Head) -> bytes:
    """The head as readable JSON, with its digest."""
    return msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(head, check=_check(head))), indent=2)


def decode_head(body: bytes) -> Head | None:
    """The inverse of `encode_head`; None if it was altered."""
    try:
        head = msgspec.json.decode(body, type=Head)
    except msgspec.MsgspecError:
        return None
    return head if head.check == _check(head) else None


def _check(head: Head) -> str:
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(head, check=""))).hexdigest()


def upload_snapshot(objects: Objects, file: Path, number: int, *, replayable: bool) -> Snapshot:
    """Compress a file of the state that isn't being written to, and upload it. Raises `StateError`."""
    packed = file.with_name(f"{file.name}.packed")
    try:
        with file.open("rb") as source, _private(packed) as sink, pa.CompressedOutputStream(sink, "zstd") as target:
            while chunk := source.read(CHUNK):
                target.write(chunk)
        digest = _digest(packed)
        name = f"{SNAPSHOTS}/{number:012}-{digest[:16]}.duckdb.zst"
        objects.upload(name, packed)
        return Snapshot(name=name, sha256=digest, size=packed.stat().st_size, replayable=replayable)
    finally:
        packed.unlink(missing_ok=True)


def download_snapshot(objects: Objects, snapshot: Snapshot, file: Path) -> bool | None:
    """Replace a file by a snapshot.

    None if it doesn't exist, False if it isn't what was uploaded. Raises `StateError`.
    """
    packed, fresh = file.with_name(f"{file.name}.packed"), file.with_name(f"{file.name}.download")
    try:
        with _private(packed):
            pass
        if not objects.download(snapshot.name, packed):
            return None
        if _digest(packed) != snapshot.sha256:
            return False
        with pa.input_stream(str(packed), compression="zstd") as source, _private(fresh) as target:
            while chunk := source.read(CHUNK):
                target.write(chunk)
        # Otherwise the write-ahead log of the previous file would be applied to this one.
        file.with_name(f"{file.name}.wal").unlink(missing_ok=True)
        fresh.replace(file)
        return True
    finally:
        packed.unlink(missing_ok=True)
        fresh.unlink(missing_ok=True)


def remove_old(objects: Objects, head: Head, *, snapshots: int = KEPT_SNAPSHOTS) -> None:
    """Remove what the newest snapshot has made unnecessary. Raises `StateError`."""
    kept = {begun.number for begun in head.begun}
    numbers = {name: number_of(name) for name in objects.names(FOLDER)}
    old = [name for name, number in numbers.items() if number is not None and number < head.number]
    objects.remove([name for name in old if number_of(name) not in kept])
    objects.remove(objects.names(SNAPSHOTS)[:-snapshots])


def entries_after(objects: Objects, number: int) -> list[int]:
    """The numbers of the log's entries after one, in their order. Raises `StateError`."""
    numbers = (number_of(name) for name in objects.names(FOLDER))
    return sorted(found for found in numbers if found is not None and found > number)


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _private(file: Path) -> Iterator[IO[bytes]]:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
    with os.fdopen(descriptor, "wb") as opened:
        yield opened
