"""What `log: warehouse` stores in the warehouse: its tables, and the position of the log."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

# The format of the tables. A log of a newer format is left alone.
FORMAT = 1
# The suffix that is added to the target's schema for the log's schema, as dbt names custom schemas.
SCHEMA_SUFFIX = "_stripe_sync"
# The name of the dbt source.
SOURCE = "stripe_sync"


class Kind(Enum):
    """The type of a column's values; each warehouse has its own type for it."""

    TEXT = "text"
    TEXTS = "texts"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIME = "time"


class LogColumn(Struct, frozen=True, kw_only=True):
    """One column, described for the dbt source."""

    name: str
    kind: Kind
    description: str


class LogTable(Struct, frozen=True, kw_only=True):
    """One table. `key` are the columns that identify a row."""

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[LogColumn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(column.name for column in self.columns)


class LogMark(Struct, frozen=True, kw_only=True):
    """Which state's log a schema contains, and a digest of its objects: `objects`, None before the first.

    A digest is the number of objects and the sum of their hashes.
    """

    format: int
    state_id: str
    objects: str | None

    @property
    def figures(self) -> tuple[int, int] | None:
        """The number of objects and the sum of their hashes."""
        if self.objects is None:
            return None
        count, _, hashes = self.objects.partition(":")
        return int(count), int(hashes)


def _columns(*columns: tuple[str, Kind, str]) -> tuple[LogColumn, ...]:
    return tuple(LogColumn(name=name, kind=kind, description=description) for name, kind, description in columns)


_KEY = ("key", Kind.TEXT, "The row's key as text; a key of several columns is a JSON list of their values.")
_PARTS = ("key_parts", Kind.TEXTS, "The values of the key's columns as text, in the order of the sync's `key`.")

OBJECTS = LogTable(
    name="objects",
    description="The Stripe object of each row, as of the last run.",
    key=("sync", "key"),
    columns=_columns(
        ("sync", Kind.TEXT, "The sync that the row belongs to."),
        _KEY,
        _PARTS,
        ("resource", Kind.TEXT, "What the object is: customer, price, subscription …"),
        ("stripe_id", Kind.TEXT, "The object's id in Stripe."),
        ("is_removed", Kind.BOOLEAN, "The row left the model, and its object was archived, canceled or voided."),
        ("is_adopted", Kind.BOOLEAN, "The object existed before the sync and was matched to the row."),
        ("is_missing", Kind.BOOLEAN, "Stripe no longer had the object when it was last used."),
        ("run_id", Kind.TEXT, "The run that last wrote the row's record."),
        ("created_at", Kind.TIME, "When the row came to have this object."),
        ("updated_at", Kind.TIME, "When the row's record was last written."),
    ),
)
RUNS = LogTable(
    name="runs",
    description="Every run that has ended.",
    key=("run_id",),
    columns=_columns(
        ("run_id", Kind.TEXT, "The run's id, as `dbt-stripe-sync runs` shows it."),
        ("command", Kind.TEXT, "run, apply or retry."),
        ("target", Kind.TEXT, "The dbt target."),
        ("status", Kind.TEXT, "succeeded, partial, failed, declined or interrupted."),
        ("started_at", Kind.TIME, "When the run began."),
        ("finished_at", Kind.TIME, "When the run ended; null if it was killed."),
        ("account", Kind.TEXT, "The Stripe account."),
        ("livemode", Kind.BOOLEAN, "Whether the run wrote to live mode."),
        ("succeeded", Kind.NUMBER, "Changes that succeeded."),
        ("rejected", Kind.NUMBER, "Changes that Stripe rejected."),
        ("unknown", Kind.NUMBER, "Changes whose result is unknown; the next run finds out."),
        ("skipped", Kind.NUMBER, "Changes that were skipped because others they depend on failed."),
        ("owed", Kind.NUMBER, "Steps of changes that were still owed at the end."),
        ("requests", Kind.NUMBER, "HTTP requests sent to Stripe."),
        ("reads", Kind.NUMBER, "Requests among them that change nothing."),
    ),
)
CHANGES = LogTable(
    name="changes",
    description="Every change that a run sent or skipped, with its result.",
    key=("run_id", "number"),
    columns=_columns(
        ("run_id", Kind.TEXT, "The run."),
        ("number", Kind.NUMBER, "The change's number in its run, from 1."),
        ("sync", Kind.TEXT, "The sync that the row belonged to at the time."),
        _KEY,
        _PARTS,
        ("resource", Kind.TEXT, "What the object is: customer, price, subscription …"),
        ("action", Kind.TEXT, "create, update, replace, archive, delete …"),
        ("status", Kind.TEXT, "succeeded, rejected, unknown or skipped."),
        ("stripe_id", Kind.TEXT, "The object's id in Stripe, null if there is none."),
        ("request_id", Kind.TEXT, "Stripe's id of the last request."),
        ("attempts", Kind.NUMBER, "HTTP requests that the last call took."),
        ("error_type", Kind.TEXT, "The type of Stripe's error."),
        ("error_code", Kind.TEXT, "The code of Stripe's error."),
        ("error_param", Kind.TEXT, "The parameter that Stripe's error is about."),
        ("finished_at", Kind.TIME, "When the result was known."),
    ),
)
PROBLEMS = LogTable(
    name="problems",
    description="Every problem of a run, such as a row that was rejected before it was sent.",
    key=("run_id", "number"),
    columns=_columns(
        ("run_id", Kind.TEXT, "The run."),
        ("number", Kind.NUMBER, "The problem's number in its run, from 1."),
        ("severity", Kind.TEXT, "error or warning."),
        ("code", Kind.TEXT, "The problem's code, as in docs/problems.md."),
        ("model", Kind.TEXT, "The dbt model, if it is about one."),
        ("sync", Kind.TEXT, "The sync, if it is about one."),
        ("key", Kind.TEXT, "The row's key, if it is about one row."),
        ("field", Kind.TEXT, "The field of the sync's YAML, if it is about one."),
    ),
)
TABLES: Sequence[LogTable] = (OBJECTS, RUNS, CHANGES, PROBLEMS)
# Identifies the log's state. Not part of the dbt source.
MARK = LogTable(
    name="log_mark",
    description="Whose log this is, and how far it has come. Written and read by dbt-stripe-sync alone.",
    key=(),
    columns=_columns(
        ("format", Kind.NUMBER, "The format of the tables."),
        ("state_id", Kind.TEXT, "The state that the log is of."),
        ("objects", Kind.TEXT, "A digest of the table `objects`."),
    ),
)
