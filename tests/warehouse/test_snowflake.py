"""Snowflake: dbt's profile becomes options of the ADBC driver."""

from __future__ import annotations

import base64

import pytest
from msgspec.structs import replace
from warehouses import ephemeral, shop_model

from dbt_stripe_sync.model.errors import WarehouseError

driver = pytest.importorskip("adbc_driver_snowflake")

from dbt_stripe_sync.warehouse import snowflake  # noqa: E402
from dbt_stripe_sync.warehouse.adbc_rows import AdbcWarehouse  # noqa: E402

ACCOUNT = {"account": "my_org-acc", "user": "me", "database": "SHOP", "schema": "MAIN", "warehouse": "WH", "role": "R"}
OPTION = "adbc.snowflake.sql."
CLIENT = f"{OPTION}client_option."
KEY = base64.b64encode(b"k" * 60).decode()


def differing(settings, tmp_path, **arguments):
    """The options that these settings add to those of an account, checked by the driver itself."""
    plain = snowflake.build_options(ACCOUNT, tmp_path)
    built = snowflake.build_options(ACCOUNT | settings, tmp_path, **arguments)
    if "private_key" not in settings and "private_key_path" not in settings:  # a real key would be needed
        driver.connect(db_kwargs=built).close()
    return {name: value for name, value in built.items() if plain.get(name) != value}


def test_an_account_becomes_connection_options(tmp_path):
    assert snowflake.build_options(ACCOUNT | {"password": "hush"}, tmp_path) == {
        f"{OPTION}account": "my-org-acc",
        "username": "me",
        "password": "hush",
        f"{OPTION}db": "SHOP",
        f"{OPTION}schema": "MAIN",
        f"{OPTION}warehouse": "WH",
        f"{OPTION}role": "R",
        f"{OPTION}auth_type": "auth_snowflake",
        f"{CLIENT}app_name": "dbt-stripe-sync",
        f"{CLIENT}disable_telemetry": "true",
        f"{CLIENT}use_high_precision": "true",
        f"{CLIENT}max_timestamp_precision": "microseconds",
    }


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (
            {"authenticator": "externalbrowser"},
            {f"{OPTION}auth_type": "auth_ext_browser", f"{CLIENT}store_temp_creds": "true"},
        ),
        (
            {"authenticator": "username_password_mfa"},
            {f"{OPTION}auth_type": "auth_mfa", f"{CLIENT}cache_mfa_token": "true"},
        ),
        ({"authenticator": "oauth", "token": "t"}, {f"{OPTION}auth_type": "auth_oauth", f"{CLIENT}auth_token": "t"}),
        ({"authenticator": "jwt", "token": "t"}, {f"{OPTION}auth_type": "auth_oauth", f"{CLIENT}auth_token": "t"}),
        (
            {"authenticator": "programmatic_access_token", "token": "t"},
            {f"{OPTION}auth_type": "auth_pat", f"{CLIENT}auth_token": "t"},
        ),
        (
            {"authenticator": "workload_identity", "workload_identity_provider": "aws"},
            {f"{OPTION}auth_type": "auth_wif", f"{CLIENT}identity_provider": "AWS"},
        ),
        (
            {"authenticator": "https://me.okta.com"},
            {f"{OPTION}auth_type": "auth_okta", f"{CLIENT}okta_url": "https://me.okta.com"},
        ),
        (
            {"host": "h", "port": 1443, "protocol": "https", "connect_timeout": 9, "client_session_keep_alive": True},
            {
                f"{OPTION}uri.host": "h",
                f"{OPTION}uri.port": "1443",
                f"{OPTION}uri.protocol": "https",
                f"{CLIENT}login_timeout": "9s",
                f"{CLIENT}keep_session_alive": "true",
            },
        ),
    ],
)
def test_each_setting_becomes_the_drivers_own_option(tmp_path, settings, options):
    assert differing(settings, tmp_path) == options


def test_a_refresh_token_is_exchanged_for_an_access_token(tmp_path):
    settings = {"authenticator": "oauth", "token": "refresh", "oauth_client_id": "c", "oauth_client_secret": "s"}

    assert differing(settings, tmp_path, refreshed_token="access")[f"{CLIENT}auth_token"] == "access"


@pytest.mark.parametrize(
    ("settings", "pem"),
    [
        ({"private_key": KEY}, f"-----BEGIN PRIVATE KEY-----\n{KEY[:64]}\n{KEY[64:]}\n-----END PRIVATE KEY-----\n"),
        (
            {"private_key": KEY, "private_key_passphrase": "p"},
            f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{KEY[:64]}\n{KEY[64:]}\n-----END ENCRYPTED PRIVATE KEY-----\n",
        ),
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nx"}, "-----BEGIN PRIVATE KEY-----\nx"),
        ({"private_key_path": "key.pem"}, "-----BEGIN PRIVATE KEY-----\ny"),
        (
            {"private_key_path": "key.der"},
            f"-----BEGIN PRIVATE KEY-----\n{KEY[:64]}\n{KEY[64:]}\n-----END PRIVATE KEY-----\n",
        ),
    ],
)
def test_a_key_pair_in_any_form_becomes_pem(tmp_path, settings, pem):
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\ny")
    (tmp_path / "key.der").write_bytes(b"k" * 60)

    options = differing(settings, tmp_path)

    assert options[f"{OPTION}auth_type"] == "auth_jwt"
    assert options[f"{CLIENT}jwt_private_key_pkcs8_value"] == pem
    assert options.get(f"{CLIENT}jwt_private_key_pkcs8_password") == settings.get("private_key_passphrase")


@pytest.mark.parametrize(
    ("settings", "summary"),
    [
        ({"proxy_host": "p"}, "the snowflake profile's `proxy_host` is not known to the driver"),
        ({"authenticator": "magic"}, "the snowflake profile's `authenticator` is `magic`, which isn't supported"),
        ({"private_key_path": "no.p8"}, "the snowflake profile's `private_key_path` names no.p8, which can't be read"),
    ],
)
def test_unsupported_settings_are_reported(tmp_path, settings, summary):
    with pytest.raises(WarehouseError) as caught:
        snowflake.build_options(ACCOUNT | settings, tmp_path)

    assert caught.value.problems[0].summary == summary


def test_every_option_is_one_that_the_driver_has(tmp_path):
    binary = next(path for path in __import__("pathlib").Path(driver.__file__).parent.glob("*.so")).read_bytes()

    for name in snowflake.build_options(ACCOUNT | {"password": "p", "host": "h", "port": 1}, tmp_path):
        assert name.encode() in binary


def test_columns_are_found_in_snowflakes_upper_case_and_keep_the_requested_name(shop):
    """Snowflake folds names to upper case; the same code reads them here from PostgreSQL's driver."""
    import adbc_driver_postgresql.dbapi as postgres

    shop.execute('CREATE TABLE shop.customers AS SELECT 1 AS "ID", \'a@example.com\' AS "EMAIL"')
    connection = postgres.connect(f"host={shop.host} user=postgres dbname=postgres")
    warehouse = AdbcWarehouse(connection, replace(snowflake.dialect({}), session_sql=("SET timezone = 'UTC'",)))
    shop.opened.append(warehouse)
    source = shop_model("customers", "id", "email")

    assert list(warehouse.columns(source)) == ["ID", "EMAIL"]
    assert warehouse.rows(source).read_all().to_pylist() == [{"id": 1, "email": "a@example.com"}]


def test_a_missing_relation_is_named(shop):
    import adbc_driver_postgresql.dbapi as postgres

    connection = postgres.connect(f"host={shop.host} user=postgres dbname=postgres", autocommit=True)
    warehouse = AdbcWarehouse(connection, replace(snowflake.dialect({}), session_sql=("SET timezone = 'UTC'",)))
    shop.opened.append(warehouse)

    with pytest.raises(WarehouseError, match="relation-missing"):
        warehouse.rows(shop_model("nowhere", "id"))
    with pytest.raises(WarehouseError, match="read-failed: reading model `ephemeral_model` failed: SQLSTATE 42601"):
        warehouse.rows(ephemeral("selec 'secret'", "id"))
