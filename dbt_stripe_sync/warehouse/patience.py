"""Adds time-outs to any warehouse: a wait is reported, and finally fails with an error instead of hanging.

The reader's rows are also converted to canonical form here, so that no reader can forget it.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
from msgspec import Struct

from dbt_stripe_sync.model.errors import Location, Problem, WarehouseError
from dbt_stripe_sync.warehouse.canonical import canonical_batch, canonical_schema
from dbt_stripe_sync.warehouse.worker import Pending, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dbt_stripe_sync.engine.ports import Warehouse
    from dbt_stripe_sync.model.nodes import RowSource

T = TypeVar("T")

logger = logging.getLogger("dbt_stripe_sync.warehouse")

CONNECT_SECONDS = 30.0
# A view over a large table may take minutes to return its first row, but a dead connection never returns one.
READ_SECONDS = 600.0
NOTICE_SECONDS = 5.0
# Importing dbt and an adapter takes seconds, and much longer on a busy machine.
PREPARE_SECONDS = 600.0
# How long to wait for a connection to close. dbt can't write to a DuckDB file before that.
CLOSE_SECONDS = 30.0
# The same for a connection that no longer responds.
SILENT_CLOSE_SECONDS = 3.0


class Patience(Struct, frozen=True, kw_only=True):
    """How long to wait for the connection, and for each response and each batch of rows."""

    connect_seconds: float = CONNECT_SECONDS
    read_seconds: float = READ_SECONDS


class PatientWarehouse:
    """A warehouse whose driver runs in its own thread. Use `open_patiently` to create it."""

    def __init__(self, inner: Warehouse, worker: Worker, place: str, patience: Patience) -> None:
        self._inner = inner
        self._worker = worker
        self._place = place
        self._patience = patience
        self._silent: WarehouseError | None = None
        self._closed = False

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """Every column with the warehouse's name for its type. Raises `WarehouseError`."""
        return self._answer(self._begin(lambda: self._inner.columns(source)), source)

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The columns that `source` names, streamed. Raises `WarehouseError`."""
        reader = self._answer(self._begin(lambda: self._inner.rows(source)), source)
        schema = canonical_schema(reader.schema)
        return pa.RecordBatchReader.from_batches(schema, self._batches(reader, schema, source))

    def close(self) -> None:
        """Close the connection. If it no longer responds, it is abandoned after a while."""
        if self._closed:
            return
        self._closed = True
        closing = self._worker.begin(self._inner.close)
        self._worker.end()
        seconds = CLOSE_SECONDS if self._silent is None else SILENT_CLOSE_SECONDS
        with contextlib.suppress(TimeoutError):
            closing.wait(seconds, notice_after=seconds, notice=lambda: None)

    def _batches(self, reader: pa.RecordBatchReader, schema: pa.Schema, source: RowSource) -> Iterator[pa.RecordBatch]:
        def read_next() -> pa.RecordBatch | None:
            batch = next(reader, None)
            return None if batch is None else canonical_batch(batch, schema)

        pending = self._begin(read_next)
        try:
            while (batch := self._answer(pending, source)) is not None:
                pending = self._begin(read_next)  # the driver reads ahead while the caller processes this batch
                yield batch
        finally:
            self._worker.begin(reader.close)

    def _begin(self, work: Callable[[], T]) -> Pending[T]:
        if self._silent is not None:
            raise self._silent
        return self._worker.begin(work)

    def _answer(self, pending: Pending[T], source: RowSource) -> T:
        seconds = self._patience.read_seconds
        try:
            return pending.wait(
                seconds,
                notice_after=NOTICE_SECONDS,
                notice=lambda: logger.warning(
                    "waiting for %s to answer about model `%s` (at most %g s)", self._place, source.name, seconds
                ),
            )
        except TimeoutError:
            self._cancel()
            self._silent = _no_answer(self._place, source, seconds)
            raise self._silent from None

    def _cancel(self) -> None:
        """Cancel the current query, if the driver supports that from another thread."""
        cancel = getattr(self._inner, "cancel", None)
        if cancel is not None:
            with contextlib.suppress(Exception):
                cancel()


def open_patiently(prepare: Callable[[], Callable[[], Warehouse]], place: str, patience: Patience) -> PatientWarehouse:
    """Prepare and connect in a separate thread. `prepare` does what doesn't need the warehouse, and may be slow.

    Raises `WarehouseError` (`warehouse-timeout`), and the exceptions of `prepare` and of the function that it returns.
    """
    worker = Worker("warehouse")
    seconds = patience.connect_seconds
    try:
        connect = worker.begin(prepare).wait(PREPARE_SECONDS, notice_after=PREPARE_SECONDS, notice=lambda: None)
        inner = worker.begin(connect).wait(
            seconds,
            notice_after=NOTICE_SECONDS,
            notice=lambda: logger.warning("waiting for a connection to %s (at most %g s)", place, seconds),
        )
    except TimeoutError:
        worker.end()  # takes effect if the driver ever returns
        raise WarehouseError(
            Problem(
                code="warehouse-timeout",
                summary=f"{place} did not accept a connection within {seconds:g} seconds",
                hint="check the host, the port, the VPN and the firewall; if the warehouse takes this long to start, "
                "raise `warehouse_connect_timeout` under `vars: stripe_sync:`",
            )
        ) from None
    except BaseException:
        worker.end()
        raise
    return PatientWarehouse(inner, worker, place, patience)


def _no_answer(place: str, source: RowSource, seconds: float) -> WarehouseError:
    return WarehouseError(
        Problem(
            code="warehouse-timeout",
            summary=f"{place} sent nothing for {seconds:g} seconds while model `{source.name}` was read",
            where=Location(model=source.name),
            hint=f"run `dbt show -s {source.name}` to see how long it takes; to wait longer, raise "
            "`warehouse_read_timeout` under `vars: stripe_sync:`",
        )
    )
