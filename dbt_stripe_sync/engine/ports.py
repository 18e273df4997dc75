"""What the engine needs of the outside, as Protocols: the parts that do I/O implement them, the pipeline wires them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    import duckdb
    import pyarrow as pa

    from dbt_stripe_sync.model.calls import Account, Answer, Call, Usage
    from dbt_stripe_sync.model.change import Action, Owed
    from dbt_stripe_sync.model.fingerprints import Fingerprints
    from dbt_stripe_sync.model.hashes import HashedChild, HashedRows, HashMark
    from dbt_stripe_sync.model.nodes import RowSource
    from dbt_stripe_sync.model.plan import ReadingCost, Refreshed
    from dbt_stripe_sync.model.record import Record
    from dbt_stripe_sync.model.run import Intent, Outcome


class Warehouse(Protocol):
    """Rows as Arrow batches, the same value in the same form from every kind of warehouse.

    Both methods raise `WarehouseError`. Times with a zone come as UTC; exact numbers that no decimal holds as text in a
    field with the metadata `NUMBER_FIELD`.
    """

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """Every column of the relation or query with its type in the warehouse's words, in order."""
        ...

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The columns that `source` names, in batches that are read as they are consumed."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class RowDiffs(Protocol):
    """Has the warehouse hash rows, or compare them with its copy of the state's hashes. All raises `WarehouseError`.

    It only says what to read, through `Warehouse.rows`; the hash of each row is in the column `ROW_HASH`.
    """

    @property
    def hashes_first(self) -> bool:
        """Whether rows can be read in two steps: the hashes, and then some rows from the same snapshot."""
        ...

    def reason_against(self, rows: HashedRows) -> str | None:
        """Why the warehouse can't compare these rows exactly, or None."""
        ...

    def mark(self, state_id: str, sync: str) -> HashMark | None:
        """What the warehouse's copy has of a sync, or None."""
        ...

    def all_rows(self, rows: HashedRows) -> RowSource:
        """Every row with its hash."""
        ...

    def hashes(self, rows: HashedRows) -> RowSource:
        """The key and the hash of every row."""
        ...

    def some_rows(self, rows: HashedRows, keys: Sequence[str]) -> RowSource:
        """The rows with some keys, each with its key and its hash."""
        ...

    def differing(self, rows: HashedRows, state_id: str, also: Sequence[str]) -> RowSource:
        """Rows that the copy lacks or has otherwise, those with the keys of `also`, keys that are gone, and counts."""
        ...

    def children(self, child: HashedChild, parents: Sequence[str]) -> RowSource:
        """The rows of a child model that belong to some parents, by the text of what they name them by."""
        ...


class RowProgress(Protocol):
    """Hears how far the rows of a sync are, some thousand at a time; `rows_read` from a thread of its own."""

    def reading_back(self, costs: Sequence[ReadingCost], calls_per_second: float) -> None:
        """These objects are about to be read back or looked for, at most at this pace."""
        ...

    def rows_read(self, count: int) -> None:
        """So many more rows have been read, those of child models too."""
        ...

    def rows_compared(self, count: int) -> None:
        """So many more of the rows that differ have been compared with their objects."""
        ...


class Stripe(Protocol):
    """Stripe's API: rate-limited, idempotent where the call carries a key, never raising for what Stripe answered."""

    async def send(self, call: Call) -> Answer:
        """Send one call and retry it while that is safe under the same key."""
        ...

    def pages(self, resource: str, params: Mapping[str, Any]) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """Every page of a list, newest object first. Raises `StripeError` where a page can't be had."""
        ...

    async def test_clocks(self) -> Sequence[str]:
        """The ids of the test clocks, none in live mode. Raises `StripeError` where they can't be had."""
        ...

    async def usage(self, event: Mapping[str, Any], start: int, end: int) -> Usage | None:
        """What the meter of an event has counted of its customer between two times, in Unix seconds, of whole minutes.

        None where there is no such meter. Raises `StripeError`.
        """
        ...

    async def account(self) -> Account:
        """Whose key it is. Raises `StripeError`."""
        ...

    @property
    def requests(self) -> int:
        """HTTP requests sent so far."""
        ...

    @property
    def reads(self) -> int:
        """The number of read requests so far, retries included."""
        ...

    @property
    def reads_left(self) -> float:
        """How many more are allowed; infinity where nothing bounds them."""
        ...

    def allow_reads(self, most: float) -> None:
        """Allow at most so many reads from now on; the next one after them raises `ReadLimitError`."""
        ...

    def check_before_writes(self, check: Callable[[], None]) -> None:
        """Have this called before each request that may change something leaves; what it raises keeps it back."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class State(Protocol):
    """What was last written, and what is under way. Everything raises `StateError`."""

    @property
    def workspace(self) -> duckdb.DuckDBPyConnection:
        """The run's DuckDB connection, with the views of `state/migrations.py`: `known_records` and others."""
        ...

    @property
    def fingerprints(self) -> Fingerprints:
        """The syncs whose values are stored, and the salts of the others."""
        ...

    @property
    def serial(self) -> int:
        """How many times records, or what is under way, have been written."""
        ...

    @property
    def is_copy(self) -> bool:
        """Whether this is a copy, since a run holds the state itself: what that one sends meanwhile is not in it."""
        ...

    def hash_marks(self) -> Mapping[str, HashMark]:
        """Which hashes of accepted rows there are, by sync."""
        ...

    def open_intents(self) -> Iterator[Intent]:
        """Those of earlier runs that have no outcome, oldest first."""
        ...

    def commit(self, intents: Sequence[Intent], outcomes: Sequence[Outcome]) -> None:
        """Make both durable in one transaction.

        An intent that is already open is replaced (its step, key or id moved on). An outcome closes its intent, unless
        its status is `UNKNOWN`; its record replaces the row's, and a succeeded one without a record removes the row's.
        """
        ...

    def known_objects(self, ids: Sequence[str], *, resource: str, sync: str, key: str) -> AbstractSet[str]:
        """Which of these objects any row has, and which this row had before."""
        ...

    def refresh(self, entries: Sequence[Refreshed], run_id: str) -> None:
        """Write what a plan found to be right in Stripe and not in the records, in one transaction."""
        ...

    def owed(self) -> Sequence[Owed]:
        """The steps that changes have left to do on other objects, oldest first."""
        ...

    def outcomes(self, run_id: str) -> Iterable[Outcome]:
        """The results of each change of a run; it can be read many times."""
        ...

    def syncs_of_run(self, run_id: str) -> Sequence[str]:
        """The syncs in which a run changed something."""
        ...

    def succeeded_in(self, run_id: str, sync: str, actions: AbstractSet[Action]) -> Iterable[Outcome]:
        """What a run did to the rows of a sync with some kinds of action, by key, read lazily."""
        ...

    def written(self, sync: str, keys: Sequence[str]) -> Mapping[str, tuple[Record, str]]:
        """The records of some rows by key, each with the run that has written it last."""
        ...

    def changed_twice(self, run_id: str, sync: str) -> AbstractSet[str]:
        """The rows of a sync to which a run has done more than one change."""
        ...

    def put_records(self, records: Sequence[Record], run_id: str) -> None:
        """Write records that need no call (hashes that moved, objects found as they should be)."""
        ...

    def add_former_ids(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Remember objects (sync, key, id) that another has replaced and that rows may still refer to."""
        ...
