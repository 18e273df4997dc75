"""Wraps streams of Arrow batches, so that driver errors become `WarehouseError` and cursors are closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dbt_stripe_sync.model.errors import WarehouseError


def guarded_reader(
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    *,
    failure: Callable[[Exception], WarehouseError],
    close: Callable[[], None],
) -> pa.RecordBatchReader:
    """A reader over `batches` that raises `failure(error)` for their errors, and calls `close` at the end."""

    def guarded() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except Exception as error:  # noqa: BLE001 - every driver raises its own
            raise failure(error) from None
        finally:
            close()

    return pa.RecordBatchReader.from_batches(schema, guarded())
