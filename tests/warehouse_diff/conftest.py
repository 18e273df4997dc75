"""A business whose warehouse compares its rows, in a DuckDB file or in PostgreSQL, and the reads of each run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from copied import people
from logged import DuckDBBusiness, PostgresBusiness, drop

from dbt_stripe_sync.engine.stage.extract import CountingWarehouse


@dataclass
class Watched:
    """The rows that have come from each model since the last look, the one with the counts among them."""

    rows: dict[str, int] = field(default_factory=dict)

    def take(self) -> dict[str, int]:
        taken, self.rows = self.rows, {}
        return taken


@pytest.fixture
def read(monkeypatch):
    """How many rows each run reads, by model."""
    watched = Watched()
    original = CountingWarehouse.rows

    def rows(self, source) -> Any:
        import pyarrow as pa

        reader = original(self, source)
        watched.rows.setdefault(source.name, 0)

        def counted():
            for batch in reader:
                watched.rows[source.name] += batch.num_rows
                yield batch

        return pa.RecordBatchReader.from_batches(reader.schema, counted())

    monkeypatch.setattr(CountingWarehouse, "rows", rows)
    return watched


@pytest.fixture(params=["duckdb", "postgres"])
def shop(request, tmp_path, stripe):
    """No models yet."""
    if request.param == "duckdb":
        made = DuckDBBusiness(root=tmp_path / "shop", stripe=stripe)
    else:
        made = PostgresBusiness(root=tmp_path / "shop", stripe=stripe, server=request.getfixturevalue("postgres"))
    made.set(account_per_second=100_000, endpoint_per_second=100_000, diff="warehouse")
    yield made
    drop(made)


@pytest.fixture
def customers(shop):
    """Eight customers, none written yet."""
    shop.rows("customers", *people(8), columns="id int, email text")
    shop.sync(
        "customers",
        resource="customer",
        key="id",
        fields={"email": "email"},
        on_removed="delete",
        limits={"max_removed": "50%"},
    )
    return shop
