"""Databricks: dbt's profile becomes arguments of the connector, over a token server where it needs one."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import pyarrow as pa
import pytest
from warehouses import shop_model

from dbt_stripe_sync.model.errors import WarehouseError

connector = pytest.importorskip("databricks.sql")

from dbt_stripe_sync.warehouse import databricks  # noqa: E402

HOST = {"host": "https://dbc.example.com/", "http_path": "/sql/1.0/w", "schema": "main"}
SHARED = {
    "server_hostname": "dbc.example.com",
    "http_path": "/sql/1.0/w",
    "schema": "main",
    "user_agent_entry": "dbt-stripe-sync",
}


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"token": "t", "catalog": "shop"}, {"access_token": "t", "catalog": "shop"}),
        (
            {"token": "t", "session_properties": {"databricks.catalog": "shop", "ansi_mode": True}},
            {"access_token": "t", "catalog": "shop", "session_configuration": {"ansi_mode": "True"}},
        ),
        ({"token": "t", "connection_parameters": {"_socket_timeout": 5}}, {"access_token": "t", "_socket_timeout": 5}),
        (
            {"azure_client_id": "a", "azure_client_secret": "s"},
            {"auth_type": "azure-sp-m2m", "azure_client_id": "a", "azure_client_secret": "s"},
        ),
        ({"auth_type": "oauth", "client_id": "c"}, {"auth_type": "databricks-oauth", "oauth_client_id": "c"}),
    ],
)
def test_each_login_method_becomes_arguments_of_the_connector(settings, options):
    assert databricks.build_options(HOST | settings) == SHARED | options


@pytest.mark.parametrize(
    ("target", "summary"),
    [
        ({"host": "h"}, "the databricks profile's `http_path` is missing"),
        (
            HOST | {"auth_type": "env-oidc"},
            "the databricks profile's `auth_type` is `env-oidc`, which isn't supported",
        ),
    ],
)
def test_unsupported_settings_are_reported(target, summary):
    with pytest.raises(WarehouseError) as caught:
        databricks.build_options(target)

    assert caught.value.problems[0].summary == summary


@pytest.fixture
def token_server():
    """Databricks' token endpoint, for one service principal."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            asked.append(form)
            known = self.headers["Authorization"] == "Basic " + base64.b64encode(b"id:secret").decode()
            self.send_response(200 if known else 401)
            self.end_headers()
            token = {"access_token": f"token-{len(asked)}", "expires_in": 3600 if len(asked) > 1 else 30}
            self.wfile.write(json.dumps(token if known else {}).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, asked
    server.shutdown()
    server.server_close()


def test_a_service_principals_token_is_renewed_before_it_expires(token_server):
    server, asked = token_server
    url = f"http://127.0.0.1:{server.server_port}/oidc/v1/token"
    headers = databricks.ServicePrincipal(url, "id", "secret")()

    sent = [headers(), headers(), headers()]

    assert [header["Authorization"] for header in sent] == ["Bearer token-1", "Bearer token-2", "Bearer token-2"]
    assert asked[0] == {"grant_type": ["client_credentials"], "scope": ["all-apis"]}


def test_a_rejected_service_principal_is_reported_without_its_secret(token_server):
    server, _ = token_server
    url = f"http://127.0.0.1:{server.server_port}/oidc/v1/token"

    with pytest.raises(WarehouseError) as caught:
        databricks.ServicePrincipal(url, "id", "hush")()()

    assert str(caught.value) == (
        "warehouse-auth: Databricks refuses `the service principal`: its secret was rejected (HTTP 401)"
    )


def test_a_service_principal_fits_the_connectors_interface():
    from databricks.sql.auth.authenticators import ExternalAuthProvider

    options = databricks.build_options(HOST | {"auth_type": "oauth", "client_id": "c", "client_secret": "s"})
    principal = options["credentials_provider"]

    assert principal.auth_type() == "oauth-m2m"
    assert ExternalAuthProvider(principal)


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        ("decimal", "`v`"),
        ("array", "`v`"),
        ("interval_day_time", "CAST(`v` AS STRING)"),
        ("void", "CAST(`v` AS STRING)"),
        ("variant", "to_json(`v`)"),
    ],
)
def test_types_without_an_arrow_equivalent_are_cast(kind, sql):
    assert databricks.read_sql("`v`", kind) == sql


class OneModel:
    """Stands for a session: the three calls of the connector's cursor that are made, over a table in memory."""

    def __init__(self, table):
        self.table, self.sent, self.at = table, [], 0

    def cursor(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def close(self):
        pass

    def execute(self, sql):
        self.sent.append(sql)

    @property
    def description(self):
        return [(name, "bigint", None, None, None, None, True) for name in self.table.column_names]

    def fetchmany_arrow(self, size):
        part = self.table.slice(self.at, size)
        self.at += size
        return part


@pytest.mark.parametrize("rows", [0, 120_000])
def test_rows_come_in_batches_with_their_columns(rows):
    from databricks.sql import client

    session = OneModel(pa.table({"ID": pa.array(range(rows), pa.int64())}))

    table = databricks.DatabricksWarehouse(session).rows(shop_model("customers", "id")).read_all()

    assert table.num_rows == rows
    assert session.sent[-1] == 'SELECT `ID` AS `id` FROM "postgres"."shop"."customers" source_rows'
    assert {"execute", "fetchmany_arrow", "close", "description", "__enter__"} <= set(dir(client.Cursor))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("[TABLE_OR_VIEW_NOT_FOUND] The table or view `x` cannot be found.", "relation-missing"),
        ("[INSUFFICIENT_PERMISSIONS] Insufficient privileges", "warehouse-denied"),
        ("[CAST_INVALID_INPUT] The value 'hush' can't be cast", "read-failed"),
    ],
)
def test_the_connectors_errors_are_distinguished_and_contain_no_value(message, code):
    class Broken(OneModel):
        def execute(self, _):
            raise connector.exc.ServerOperationError(message)

    with pytest.raises(WarehouseError) as caught:
        databricks.DatabricksWarehouse(Broken(pa.table({}))).columns(shop_model("customers"))

    assert caught.value.problems[0].code == code
    assert "hush" not in str(caught.value)
