"""BigQuery: dbt's profile becomes options of the ADBC driver, and the types that need a cast."""

from __future__ import annotations

import base64
import json

import pyarrow as pa
import pytest
from warehouses import shop_model

from dbt_stripe_sync.model.errors import WarehouseError

driver = pytest.importorskip("adbc_driver_bigquery")

from dbt_stripe_sync.warehouse import bigquery  # noqa: E402

PROJECT = {"project": "shop", "dataset": "main"}
OPTION = "adbc.bigquery.sql."
SERVICE_KEY = {"type": "service_account", "private_key": "a\\nb"}
JSON_STRING = f"{OPTION}auth_type.json_credential_string"


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, {f"{OPTION}auth_type": f"{OPTION}auth_type.app_default_credentials"}),
        (
            {"method": "service-account-json", "keyfile_json": SERVICE_KEY},
            {
                f"{OPTION}auth_type": JSON_STRING,
                f"{OPTION}auth_credentials": json.dumps({"type": "service_account", "private_key": "a\nb"}),
            },
        ),
        (
            {"method": "service-account-json", "keyfile_json": base64.b64encode(b'{"a": 1}').decode()},
            {f"{OPTION}auth_type": JSON_STRING, f"{OPTION}auth_credentials": '{"a": 1}'},
        ),
        (
            {"method": "oauth-secrets", "client_id": "c", "client_secret": "s", "refresh_token": "r"},
            {
                f"{OPTION}auth_type": f"{OPTION}auth_type.user_authentication",
                f"{OPTION}auth.client_id": "c",
                f"{OPTION}auth.client_secret": "s",
                f"{OPTION}auth.refresh_token": "r",
            },
        ),
        (
            {"location": "EU", "quota_project": "q", "impersonate_service_account": "x@y", "scopes": ["a", "b"]},
            {
                f"{OPTION}auth_type": f"{OPTION}auth_type.app_default_credentials",
                f"{OPTION}location": "EU",
                f"{OPTION}auth.quota_project": "q",
                f"{OPTION}impersonate.target_principal": "x@y",
                f"{OPTION}impersonate.scopes": "a,b",
            },
        ),
    ],
)
def test_each_login_method_becomes_options_of_the_driver(tmp_path, settings, options):
    built = bigquery.build_options(PROJECT | settings, tmp_path)

    assert built == {f"{OPTION}project_id": "shop", f"{OPTION}dataset_id": "main"} | options
    driver.connect(db_kwargs=built).close()  # it refuses an option that it does not know


def test_a_key_file_is_relative_to_the_project(tmp_path):
    (tmp_path / "key.json").write_text("{}")

    built = bigquery.build_options(PROJECT | {"method": "service-account", "keyfile": "key.json"}, tmp_path)

    assert built[f"{OPTION}auth_credentials"] == str(tmp_path / "key.json")
    assert built[f"{OPTION}auth_type"] == f"{OPTION}auth_type.json_credential_file"


def test_queries_run_in_the_execution_project(tmp_path):
    assert bigquery.build_options(PROJECT | {"execution_project": "payer"}, tmp_path)[f"{OPTION}project_id"] == "payer"


def test_the_profiles_limits_apply_to_every_query():
    target = {"maximum_bytes_billed": 10**9, "priority": "batch", "job_execution_timeout_seconds": 300}

    options = bigquery.build_statement_options(target)

    assert options == {
        f"{OPTION}query.max_bytes_billed": "1000000000",
        f"{OPTION}query.priority": "BATCH",
        f"{OPTION}query.job_timeout": "300000",
    }
    assert bigquery.build_statement_options({}) == {}


@pytest.mark.parametrize(
    ("settings", "summary"),
    [
        ({"method": "service-account", "keyfile": "no.json"}, "`keyfile` names"),
        ({"method": "service-account-json", "keyfile_json": "{hush"}, "`keyfile_json` is not valid JSON"),
        ({"method": "service-account-json"}, "`keyfile_json` is missing"),
        ({"method": "oauth-secrets", "token": "hush"}, "`token` isn't enough for the driver"),
        ({"method": "external-oauth-wif"}, "`method` is `external-oauth-wif`, which the driver does not know"),
        ({"api_endpoint": "https://x"}, "`api_endpoint` is not known to the driver"),
    ],
)
def test_unsupported_settings_are_reported_without_secrets(tmp_path, settings, summary):
    with pytest.raises(WarehouseError) as caught:
        bigquery.build_options(PROJECT | settings, tmp_path)

    assert caught.value.problems[0].code == "warehouse-setting"
    assert summary in caught.value.problems[0].summary
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "arrow", "sql"),
    [
        ("NUMERIC", pa.decimal128(10, 2), "`v`"),
        ("NUMERIC", pa.decimal128(38, 9), "CAST(`v` AS STRING)"),
        ("BIGNUMERIC", pa.decimal256(76, 38), "CAST(`v` AS STRING)"),
        ("INTERVAL", pa.month_day_nano_interval(), "CAST(`v` AS STRING)"),
        ("GEOGRAPHY", pa.string(), "ST_ASTEXT(`v`)"),
        ("RANGE", pa.struct([]), "TO_JSON_STRING(`v`)"),
        ("JSON", pa.string(), "`v`"),
    ],
)
def test_types_that_arrow_or_duckdb_cannot_hold_are_read_as_text(kind, arrow, sql):
    dialect = bigquery.dialect({})

    assert dialect.describe(dialect.quote("v"), pa.field("v", arrow, metadata={"Type": kind})).sql == sql


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (
            "googleapi: Error 404: Not found: Table shop:main.x was not found in location EU, notFound",
            "relation-missing",
        ),
        ("googleapi: Error 403: Access Denied: Table shop:main.x: User does not have permission", "warehouse-denied"),
        ("oauth2: cannot fetch token: 400 invalid_grant hush", "warehouse-auth"),
        ("Post https://bigquery.googleapis.com: dial tcp: lookup: no such host", "warehouse-unreachable"),
        ("googleapi: Error 400: Bad double value: hush", "read-failed"),
    ],
)
def test_the_drivers_errors_are_distinguished_and_hold_no_value(message, code):
    failure = bigquery.dialect({}).failure(shop_model("customers"), RuntimeError(message))

    assert failure.problems[0].code == code
    assert "hush" not in str(failure)
