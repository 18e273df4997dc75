"""Time limits: a warehouse that does not answer ends in an error, never in an endless wait."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
import warnings

import pyarrow as pa
import pytest
from warehouses import ephemeral

from dbt_stripe_sync.model.errors import WarehouseError
from dbt_stripe_sync.warehouse import TimeLimits, open_warehouse, patience
from dbt_stripe_sync.warehouse.network import check_reachable
from dbt_stripe_sync.warehouse.patience import Patience, open_patiently
from dbt_stripe_sync.warehouse.places import describe_place, patience_for


def problem_of(caught):
    (problem,) = caught.value.problems
    return problem


@pytest.fixture
def silent_server():
    """Takes connections and never says a word."""
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
    for thread in set(threading.enumerate()) - before:
        thread.join(5)  # Snowflake's and Databricks' go on trying, and end with the process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Redshift's connector forgets the socket of a failed login
        gc.collect()


def login_of(kind, port):
    """A profile that leads to a port of this machine."""
    if kind == "snowflake":
        address = {"account": "ab1", "host": "127.0.0.1", "port": port, "protocol": "http", "warehouse": "w"}
        return address | {"user": "me", "password": "hush", "database": "shop", "schema": "s"}
    if kind == "databricks":
        return {
            "host": "127.0.0.1",
            "http_path": "/sql/1",
            "token": "hush",
            "connection_parameters": {"_port": port},
        }
    return {
        "host": "127.0.0.1",
        "port": port,
        "user": "me",
        "password": "hush",
        "dbname": "shop",
        "sslmode": "disable",
        "retries": 0,
    }


@pytest.mark.parametrize("kind", ["postgres", "redshift", "snowflake", "databricks"])
def test_a_server_that_never_answers_ends_in_an_error_and_the_wait_is_reported(
    kind, silent_server, monkeypatch, caplog
):
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 0.2)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    target = {"type": kind, **login_of(kind, silent_server)}
    begun = time.monotonic()

    with caplog.at_level(logging.WARNING), pytest.raises(WarehouseError) as caught:
        open_warehouse(target, project_root=None, adapter=None, limits=TimeLimits(connect_seconds=1.5))

    place = describe_place(kind, target)
    assert time.monotonic() - begun < 10
    assert problem_of(caught).code == "warehouse-timeout"
    assert problem_of(caught).summary == f"{place} did not accept a connection within 1.5 seconds"
    assert caplog.messages == [f"waiting for a connection to {place} (at most 1.5 s)"]
    assert "hush" not in str(caught.value)


def test_a_query_that_never_ends_is_cancelled_and_named(postgres_server, monkeypatch, caplog):
    warehouse = open_warehouse(
        postgres_server.target(), project_root=None, adapter=None, limits=TimeLimits(read_seconds=1.0)
    )
    monkeypatch.setattr(patience, "NOTICE_SECONDS", 0.2)

    with caplog.at_level(logging.WARNING), pytest.raises(WarehouseError) as caught:
        warehouse.rows(ephemeral("SELECT pg_sleep(60)::text AS v", "v")).read_all()
    warehouse.close()

    assert problem_of(caught).code == "warehouse-timeout"
    assert "sent nothing for 1 seconds while model `ephemeral_model` was read" in problem_of(caught).summary
    assert any("to answer about model `ephemeral_model`" in message for message in caplog.messages)


def test_a_duckdb_query_that_never_ends_is_interrupted(duckdb_file):
    duckdb_file.execute("SELECT 1")
    warehouse = open_warehouse(
        {"type": "duckdb", "path": str(duckdb_file.path)},
        project_root=duckdb_file.path.parent,
        adapter=None,
        limits=TimeLimits(read_seconds=0.5),
    )
    endless = "SELECT sum(a.range * b.range) AS v FROM range(100000000) a, range(100000000) b"

    with pytest.raises(WarehouseError) as caught:
        warehouse.rows(ephemeral(endless, "v")).read_all()

    warehouse.close()

    assert problem_of(caught).code == "warehouse-timeout"


def test_a_warehouse_that_stopped_answering_is_not_queried_again():
    asked: list[object] = []
    release = threading.Event()

    class Silent:
        def columns(self, _):
            asked.append(1)
            release.wait(30)
            return {}

        def close(self):
            asked.append("closed")

    warehouse = open_patiently(lambda: Silent, "the warehouse", Patience(read_seconds=0.1))
    for _ in range(2):
        with pytest.raises(WarehouseError, match="warehouse-timeout"):
            warehouse.columns(ephemeral("SELECT 1", "v"))
    release.set()
    warehouse.close()

    assert asked == [1, "closed"]


def test_closing_waits_for_a_slow_warehouse(monkeypatch):
    """Whoever runs dbt next, in the same process, must find DuckDB's file free."""
    monkeypatch.setattr(patience, "SILENT_CLOSE_SECONDS", 0.1)
    closed = threading.Event()

    class Slow:
        def close(self):
            time.sleep(1)
            closed.set()

    open_patiently(lambda: Slow, "the warehouse", Patience()).close()

    assert closed.is_set()


def test_reading_runs_at_most_one_batch_ahead():
    read = []

    class Batches:
        def rows(self, _):
            schema = pa.schema([("v", pa.int64())])

            def made():
                for number in range(100):
                    read.append(number)
                    yield pa.record_batch([pa.array([number])], schema=schema)

            return pa.RecordBatchReader.from_batches(schema, made())

        def close(self):
            pass

    warehouse = open_patiently(lambda: Batches, "the warehouse", Patience())
    reader = warehouse.rows(ephemeral("SELECT 1", "v"))
    reader.read_next_batch()
    time.sleep(0.2)

    assert len(read) <= 3
    warehouse.close()


def test_an_unresolvable_host_and_a_closed_port_are_distinguished(monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(WarehouseError, match=f"warehouse-unreachable: here .*nothing listens on port {port}"):
            check_reachable("here", "127.0.0.1", port)
    with pytest.raises(WarehouseError, match=r"the host name `no-such-host\.invalid` can't be resolved"):
        check_reachable("there", "no-such-host.invalid", 443)


def test_an_unknown_databricks_host_is_reported_at_once(monkeypatch):
    pytest.importorskip("databricks.sql")
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    target = {"type": "databricks", "host": "no-such-host.invalid", "http_path": "/sql/1", "token": "hush"}
    begun = time.monotonic()

    with pytest.raises(WarehouseError) as caught:
        open_warehouse(target, project_root=None, adapter=None)

    assert time.monotonic() - begun < 60
    assert problem_of(caught).code == "warehouse-unreachable"
    assert "the host name `no-such-host.invalid` can't be resolved" in problem_of(caught).summary


@pytest.mark.parametrize(
    ("kind", "target", "limits", "seconds"),
    [
        ("postgres", {}, {}, 30),
        ("postgres", {"connect_timeout": 5}, {}, 30),
        ("postgres", {"connect_timeout": 20, "retries": 3}, {}, 80),
        ("postgres", {"connect_timeout": 20}, {"connect_seconds": 7.0}, 7),
        ("snowflake", {"authenticator": "externalbrowser"}, {}, 300),
        ("databricks", {"token": "x"}, {}, 600),
        ("duckdb", {"retries": {"connect_attempts": 5}}, {}, 62),
        ("trino", {}, {}, 30),
    ],
)
def test_the_connection_timeout_follows_the_profile(kind, target, limits, seconds):
    assert patience_for(kind, target, TimeLimits(**limits)).connect_seconds == seconds


@pytest.mark.parametrize(
    ("kind", "target", "place"),
    [
        ("postgres", {"host": "db", "port": 5432, "dbname": "shop"}, "PostgreSQL at db:5432, database `shop`"),
        ("snowflake", {"account": "ab1", "database": "shop"}, "Snowflake account `ab1`, database `shop`"),
        ("duckdb", {"path": "md:shop?motherduck_token=hush"}, "DuckDB database md:shop"),
        ("exasol", {"dsn": "hush"}, "the warehouse of type `exasol`"),
    ],
)
def test_a_server_is_named_without_secrets(kind, target, place):
    assert describe_place(kind, target) == place
