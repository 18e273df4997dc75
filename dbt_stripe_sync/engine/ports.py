"""The Protocols through which the engine uses the outside world.

The parts that do I/O implement them; the pipeline wires them.
"""

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
    from dbt_stripe_sync.model.run import Intent, Outcome, RunEntry


class Warehouse(Protocol):
    """Reads rows as Arrow batches, with the same values in the same form from every warehouse.

    `columns` and `rows` raise `WarehouseError`. Times with a zone are in UTC. Exact numbers that don't fit into a
    decimal are text, in a field with the metadata `NUMBER_FIELD`.
    """

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """Every column of the relation or query, in order, with its type as the warehouse names it."""
        ...

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The columns that `source` names, in batches that are read as they are consumed."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class RowDiffs(Protocol):
    """Has the warehouse hash rows, or compare them with its copy of the state's hashes.

    All methods that ask the warehouse raise `WarehouseError`.

    It only builds what to read, which is then read through `Warehouse.rows`. The hash of each row is in the column
    `ROW_HASH`.
    """

    @property
    def hashes_first(self) -> bool:
        """Whether rows can be read in two steps: first the hashes, then some of the rows."""
        ...

    def reason_against(self, rows: HashedRows) -> str | None:
        """The reason why the warehouse can't compare these rows exactly, or None."""
        ...

    def mark(self, state_id: str, sync: str) -> HashMark | None:
        """What the warehouse's copy contains for a sync, or None."""
        ...

    @property
    def has_digest(self) -> bool:
        """Whether the warehouse can combine the hashes of all rows into one."""
        ...

    def digest(self, rows: HashedRows) -> RowSource:
        """One row: the number of rows, and the XOR of their hashes."""
        ...

    def all_rows(self, rows: HashedRows) -> RowSource:
        """Every row with its hash."""
        ...

    def no_rows(self, rows: HashedRows) -> RowSource:
        """The columns of `all_rows`, without any row."""
        ...

    def hashes(self, rows: HashedRows) -> RowSource:
        """The key and the hash of every row."""
        ...

    def some_rows(self, rows: HashedRows, keys: Sequence[str]) -> RowSource:
        """The rows with some keys, each with its key and its hash."""
        ...

    def differing(self, rows: HashedRows, state_id: str, also: Sequence[str]) -> RowSource:
        """Rows that the copy lacks or has with another hash, rows with the keys in `also`, removed keys, and counts."""
        ...

    def children(self, child: HashedChild, parents: Sequence[str]) -> RowSource:
        """The rows of a child model that belong to some parents, found by the text of the values that refer to them."""
        ...


class RowProgress(Protocol):
    """Receives how many rows of a sync were read and compared. `rows_read` is called from another thread."""

    def reading_back(self, costs: Sequence[ReadingCost], calls_per_second: float) -> None:
        """These objects are about to be read back or searched for, at most at this pace."""
        ...

    def rows_read(self, count: int) -> None:
        """This many more rows have been read, including rows of child models."""
        ...

    def rows_compared(self, count: int) -> None:
        """This many more differing rows have been compared with their objects."""
        ...


class Stripe(Protocol):
    """Stripe's API.

    Calls are rate-limited, and idempotent if they carry a key. An error that Stripe returns doesn't raise.
    """

    async def send(self, call: Call) -> Answer:
        """Send one call, and retry it as long as that is safe under the same key."""
        ...

    def pages(self, resource: str, params: Mapping[str, Any]) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """Every page of a list, newest object first. Raises `StripeError` if a page can't be read."""
        ...

    async def test_clocks(self) -> Sequence[str]:
        """The ids of the test clocks, none in live mode. Raises `StripeError` if they can't be read."""
        ...

    async def usage(self, event: Mapping[str, Any], start: int, end: int) -> Usage | None:
        """What an event's meter has counted for its customer between two times, in Unix seconds on whole minutes.

        None if there is no such meter. Raises `StripeError`.
        """
        ...

    async def account(self) -> Account:
        """The account that the key belongs to. Raises `StripeError`."""
        ...

    @property
    def requests(self) -> int:
        """The number of HTTP requests sent so far."""
        ...

    @property
    def reads(self) -> int:
        """The number of read requests so far, including retries."""
        ...

    @property
    def reads_left(self) -> float:
        """How many more read requests are allowed; infinity without a limit."""
        ...

    def allow_reads(self, most: float) -> None:
        """Allow at most this many reads from now on. The next one after them raises `ReadLimitError`."""
        ...

    def check_before_writes(self, check: Callable[[], None]) -> None:
        """Register a function to call before each request that may change something.

        If it raises, the request isn't sent.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class State(Protocol):
    """What was last written to Stripe, and which changes are open. All methods raise `StateError`."""

    @property
    def workspace(self) -> duckdb.DuckDBPyConnection:
        """The run's DuckDB connection, with the views of `state/migrations.py`: `known_records` and others."""
        ...

    @property
    def fingerprints(self) -> Fingerprints:
        """The syncs whose values are stored, and the salts for all others."""
        ...

    @property
    def serial(self) -> int:
        """How many times records or open changes have been written."""
        ...

    @property
    def is_held(self) -> bool:
        """Whether a run holds the state, so that this is a copy. It lacks what that run sends in the meantime."""
        ...

    def hash_marks(self) -> Mapping[str, HashMark]:
        """For each sync, a digest of the hashes of its accepted rows."""
        ...

    def runs(self, limit: int) -> Sequence[RunEntry]:
        """The runs, newest first."""
        ...

    def open_intents(self) -> Iterator[Intent]:
        """The intents of earlier runs that have no outcome, oldest first."""
        ...

    def commit(self, intents: Sequence[Intent], outcomes: Sequence[Outcome]) -> None:
        """Store intents and outcomes in one transaction.

        An intent that is already open is replaced (with its new step, key or id). An outcome closes its intent, unless
        its status is `UNKNOWN`. Its record replaces the row's record; a success without a record removes it.
        """
        ...

    def known_objects(self, ids: Sequence[str], *, resource: str, sync: str, key: str) -> AbstractSet[str]:
        """Which of these objects belong to any row, and which this row had before."""
        ...

    def refresh(self, entries: Sequence[Refreshed], run_id: str) -> None:
        """Write, in one transaction, what a plan found in Stripe that the records lack."""
        ...

    def owed(self) -> Sequence[Owed]:
        """The steps on other objects that changes still owe, oldest first."""
        ...

    def outcomes(self, run_id: str) -> Iterable[Outcome]:
        """The results of each change of a run; they can be read many times."""
        ...

    def syncs_of_run(self, run_id: str) -> Sequence[str]:
        """The syncs in which a run changed something."""
        ...

    def succeeded_in(self, run_id: str, sync: str, actions: AbstractSet[Action]) -> Iterable[Outcome]:
        """What a run did to the rows of a sync with some kinds of action, by key, read lazily."""
        ...

    def written(self, sync: str, keys: Sequence[str]) -> Mapping[str, tuple[Record, str]]:
        """The records of some rows by key, each with the run that wrote it last."""
        ...

    def replaced_in(self, sync: str, key: str, former: str) -> str | None:
        """The run that replaced an object of a row, or None if the state no longer knows it."""
        ...

    def changed_twice(self, run_id: str, sync: str) -> AbstractSet[str]:
        """The rows of a sync that a run has changed more than once."""
        ...

    def put_records(self, records: Sequence[Record], run_id: str) -> None:
        """Write records that need no call (new hashes, objects that already are as they should be)."""
        ...

    def add_former_ids(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Remember objects (sync, key, id) that were replaced and that rows may still refer to."""
        ...
