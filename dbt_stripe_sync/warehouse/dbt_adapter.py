"""Every warehouse without a reader of ours, through dbt 1.x's own adapter.

Slower than the other readers: dbt takes seconds to import, and rows pass through Python. How much a client-side driver
holds in memory while a query runs is the driver's matter. With `dbt/plugin.py` the only file that imports dbt.
Run for real: dbt 1.11 with dbt-duckdb, dbt-postgres and dbt-sqlite.
"""

from __future__ import annotations

import contextlib
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from dbt.adapters.exceptions import FailedToConnectError
from dbt.adapters.factory import get_adapter, register_adapter, reset_adapters
from dbt.config.runtime import RuntimeConfig
from dbt.exceptions import DbtProfileError, DbtProjectError
from dbt.flags import set_from_args
from dbt.mp_context import get_mp_context
from dbt_common.events.event_manager_client import cleanup_event_logger
from dbt_common.exceptions import DbtBaseException

from dbt_stripe_sync.warehouse.dbapi_rows import build_reader, fetched
from dbt_stripe_sync.warehouse.failures import bad_setting, read_failed, relation_missing, unreachable
from dbt_stripe_sync.warehouse.select import SourceColumn, build_select, from_clause

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from dbt_stripe_sync.model.errors import WarehouseError
    from dbt_stripe_sync.model.nodes import RowSource
    from dbt_stripe_sync.warehouse.registry import AdapterRequest

CONNECTION_NAME = "dbt_stripe_sync"
# DB-API has no code for a missing relation: the SQLSTATEs of those who have one, and the words of the others.
UNDEFINED_STATES = frozenset({"42P01", "42S02", "3F000"})
UNDEFINED_WORDS = ("does not exist", "no such table", "not found", "doesn't exist", "invalid object name")


class AdapterWarehouse:
    """One connection of a dbt adapter."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self._held = contextlib.ExitStack()
        self._held.enter_context(adapter.connection_named(CONNECTION_NAME))
        self._handle = adapter.connections.get_thread_connection().handle

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """Every column with the adapter's name for its type, where it has one. Raises `WarehouseError`."""
        return {column.name: column.type for column in self._described(source)}

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The columns that `source` names. Raises `WarehouseError`."""
        select = build_select(source, self._described(source), self._quote)
        with self._cursor(source, select) as cursor:
            return build_reader(source.columns, fetched(cursor))

    def close(self) -> None:
        """Give the connection back to the adapter, and end it."""
        self._held.close()
        self._adapter.cleanup_connections()

    def _described(self, source: RowSource) -> list[SourceColumn]:
        with self._cursor(source, f"SELECT * FROM {from_clause(source)} WHERE 1 = 0") as cursor:
            return [
                SourceColumn(name=str(name), type=self._type_name(code), sql=self._quote(str(name)))
                for name, code, *_ in cursor.description
            ]

    @contextlib.contextmanager
    def _cursor(self, source: RowSource, sql: str) -> Iterator[Any]:
        cursor = self._handle.cursor()  # never closed, as in dbt: some adapters hand out the same one again
        try:
            cursor.execute(sql)
            yield cursor
        except Exception as error:  # noqa: BLE001 - every driver raises its own
            with contextlib.suppress(Exception):
                self._handle.rollback()
            raise _read_failure(source, error) from None

    def _quote(self, name: str) -> str:
        mark = self._adapter.quote("x")[-1]
        return str(self._adapter.quote(name.replace(mark, mark * 2)))

    def _type_name(self, code: Any) -> str:
        try:
            return str(self._adapter.connections.data_type_code_to_name(code))
        except Exception:  # noqa: BLE001 - an adapter need not know its driver's codes
            return "unknown"


def connect(request: AdapterRequest) -> AdapterWarehouse:
    """Build the adapter as dbt does, and open a connection. Raises `WarehouseError`."""
    arguments = Namespace(
        project_dir=str(request.project_dir),
        profiles_dir=str(request.profiles_dir),
        profile=request.profile,
        target=request.target,
        vars=dict(request.vars),
        threads=1,
        send_anonymous_usage_stats=False,
    )
    try:
        set_from_args(arguments, None)
        config = RuntimeConfig.from_args(arguments)
    except (DbtProfileError, DbtProjectError) as error:
        raise bad_setting("dbt", request.profile or "profile", f"can't be loaded: {_reason(error)}") from None
    cleanup_event_logger()  # dbt would tell standard output that it registered an adapter; that place is for our data
    reset_adapters()  # an adapter of another project or target may be registered under the same type
    register_adapter(config, get_mp_context())
    adapter = get_adapter(config)
    place = f"the warehouse of type `{config.credentials.type}`"
    try:
        return AdapterWarehouse(adapter)
    except (FailedToConnectError, DbtBaseException) as error:
        raise unreachable(place, _without_secrets(_reason(error), config.credentials)) from None
    except Exception as error:  # noqa: BLE001 - not every adapter wraps what its driver raises
        raise unreachable(place, type(error).__name__) from None


def _reason(error: Exception) -> str:
    # dbt's messages have a heading ("Database Error"), then the reason.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 else (lines[0] if lines else type(error).__name__)


def _without_secrets(text: str, credentials: Any) -> str:
    shown = set(credentials._connection_keys())  # noqa: SLF001 - dbt's own list of what may be shown
    for name, value in credentials.to_dict().items():
        if name not in shown and isinstance(value, str) and value:
            text = text.replace(value, "***")
    return text


def _read_failure(source: RowSource, error: Exception) -> WarehouseError:
    state = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
    message = str(error).lower()
    if state in UNDEFINED_STATES or any(word in message for word in UNDEFINED_WORDS):
        return relation_missing(source)
    return read_failed(source, f"{type(error).__name__} ({state})" if state else type(error).__name__)
