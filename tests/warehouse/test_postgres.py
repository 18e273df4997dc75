"""PostgreSQL: a real server, with every type, and the messages for relations that cannot be read."""

from __future__ import annotations

import math
import socket
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import duckdb
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warehouses import as_duckdb_types, ephemeral, shop_model

from dbt_stripe_sync.model.errors import WarehouseError
from dbt_stripe_sync.warehouse.postgres import build_conninfo

EVERY_TYPE = {
    "a_bool": ("true", True),
    "a_smallint": ("1::int2", 1),
    "a_bigint": ("9007199254740993", 9007199254740993),
    "an_oid": ("4000000000::oid", 4000000000),
    "a_double": ("0.1::float8", 0.1),
    "a_numeric": ("12345678901234567890.12345::numeric", "12345678901234567890.12345"),
    "a_scaled_numeric": ("1.5::numeric(38, 9)", "1.500000000"),
    "a_nan": ("'NaN'::numeric", "NaN"),
    "a_text": ("'Zoë'::text", "Zoë"),
    "a_varchar": ("'x '::varchar(5)", "x "),
    "a_char": ("'x'::char(5)", "x"),
    "a_byte_char": ("'x'::\"char\"", "x"),
    "a_name": ("'x'::name", "x"),
    "a_money": ("'12.34'::money", "12.34"),
    "an_inet": ("'1.1.1.1'::inet", "1.1.1.1"),
    "an_inet_of_a_network": ("'10.1.0.1/16'::inet", "10.1.0.1/16"),
    "a_cidr": ("'10.0.0.0/8'::cidr", "10.0.0.0/8"),
    "a_macaddr": ("'aa:bb:cc:dd:ee:ff'::macaddr", "aa:bb:cc:dd:ee:ff"),
    "a_uuid": ("'11111111-2222-3333-4444-555555555555'::uuid", UUID("11111111-2222-3333-4444-555555555555")),
    "a_jsonb": ("""'{"a": 1.50}'::jsonb""", '{"a": 1.50}'),
    "a_json": ("""'{"a":  1.50}'::json""", '{"a":  1.50}'),
    "a_date": ("date '2026-02-28'", date(2026, 2, 28)),
    "a_time": ("time '12:34:56'", time(12, 34, 56)),
    "a_timetz": ("'12:00+02'::timetz", "10:00:00+00:00"),
    "a_timestamp": ("timestamp '2026-02-28 01:02:03.000004'", datetime(2026, 2, 28, 1, 2, 3, 4)),
    "a_timestamptz": ("timestamptz '2026-02-28 02:00+02'", datetime(2026, 2, 28, tzinfo=UTC)),
    "an_interval": ("interval '1 day 2 hours'", "P1DT2H"),
    "a_bit": ("B'101'", "101"),
    "a_varbit": ("B'101'::varbit", "101"),
    "a_bytea": ("'x'::bytea", b"x"),
    "a_regclass": ("'pg_class'::regclass", "pg_class"),
    "an_enum": ("'happy'::shop.mood", "happy"),
    "a_composite": ("row('Ghent', 9000)::shop.place", '{"city":"Ghent","zip":9000}'),
    "a_record": ("row(1, 'x')", '{"f1":1,"f2":"x"}'),
    "a_domain_of_numeric": ("1.5::shop.amount", "1.500"),
    "a_domain_of_char": ("'ab'::shop.code", "ab"),
    "a_domain_of_array": ("array['q']::shop.tags", '["q"]'),
    "a_range": ("int4range(1, 3)", "[1,3)"),
    "a_point": ("point '(1,2)'", "(1,2)"),
    "a_tsvector": ("'b a'::tsvector", "'a' 'b'"),
    "an_array": ("array[1, null, 2]", "[1,null,2]"),
    "a_nested_array": ("array[[1, 2], [3, 4]]", "[[1,2],[3,4]]"),
    "an_array_of_text": ("array['a', 'b \"c\"']", '["a","b \\"c\\""]'),
    "an_array_of_numeric": ("array[0.10::numeric]", '["0.10"]'),
    "an_array_of_char": ("array['a'::char(3)]", '["a"]'),
    "an_array_of_enums": ("array['happy'::shop.mood]", '["happy"]'),
    "an_array_of_composites": ("array[row('Ghent', 9000)::shop.place]", '[{"city":"Ghent","zip":9000}]'),
    "an_array_of_jsonb": ("""array['{"q": 1}'::jsonb]""", '[{"q": 1}]'),
    "a_null": ("null::text", None),
}


@pytest.fixture
def every_type(shop):
    # A record is no column's type, so this one is read as a query.
    stored = ", ".join(f"{sql} AS {name}" for name, (sql, _) in EVERY_TYPE.items() if name != "a_record")
    shop.execute(
        "CREATE TYPE shop.mood AS ENUM ('happy', 'sad')",
        "CREATE TYPE shop.place AS (city text, zip int)",
        "CREATE DOMAIN shop.amount AS numeric(12, 3)",
        "CREATE DOMAIN shop.code AS char(4)",
        "CREATE DOMAIN shop.tags AS text[]",
        f"CREATE TABLE shop.every_type AS SELECT {stored}",
    )
    return shop


def test_every_postgres_type_is_read_exactly(every_type):
    wanted = {name: value for name, (_, value) in EVERY_TYPE.items() if name != "a_record"}

    (row,) = every_type.open().rows(shop_model("every_type", *wanted)).read_all().to_pylist()

    assert row == wanted


def test_every_postgres_type_is_read_exactly_from_an_ephemeral_model(every_type):
    sql = "select " + ", ".join(f"{sql} AS {name}" for name, (sql, _) in EVERY_TYPE.items())

    (row,) = every_type.open().rows(ephemeral(sql, *EVERY_TYPE)).read_all().to_pylist()

    assert row == {name: value for name, (_, value) in EVERY_TYPE.items()}


def test_types_keep_their_names_in_the_state_store(every_type):
    wanted = ("a_jsonb", "a_uuid", "a_numeric", "a_timestamptz", "an_array", "a_composite", "a_bigint")

    types = as_duckdb_types(every_type.open().rows(shop_model("every_type", *wanted)))

    assert types == {
        "a_jsonb": "JSON",
        "a_uuid": "UUID",
        "a_numeric": "VARCHAR",
        "a_timestamptz": "TIMESTAMP WITH TIME ZONE",
        "an_array": "JSON",
        "a_composite": "JSON",
        "a_bigint": "BIGINT",
    }


def test_columns_are_listed_in_order_in_postgres_words(shop):
    shop.execute(
        'CREATE TABLE shop.customers (id int8, "eMail" varchar(20), credit numeric(12, 2), rate numeric, '
        "cents numeric(5, -2), tags text[], at timestamptz)"
    )

    columns = shop.open().columns(shop_model("customers"))

    assert list(columns.items()) == [
        ("id", "bigint"),
        ("eMail", "character varying"),
        ("credit", "numeric(12,2)"),
        ("rate", "numeric"),
        ("cents", "numeric(5,-2)"),
        ("tags", "text[]"),
        ("at", "timestamp with time zone"),
    ]


def test_listing_the_columns_does_not_run_the_query(shop):
    columns = shop.open().columns(ephemeral("select 1 / (select 0) as broken, pg_sleep(60) as slow"))

    assert columns == {"broken": "integer", "slow": "void"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.decimals(allow_nan=False, allow_infinity=False, places=9, max_value=10**28, min_value=-(10**28)))
def test_a_numeric_is_never_rounded(postgres_server, number):
    warehouse = postgres_server.open()

    (row,) = warehouse.rows(ephemeral(f"select {number:f}::numeric as n", "n")).read_all().to_pylist()
    warehouse.close()

    assert Decimal(row["n"]) == number


def test_a_column_is_found_in_any_case_and_keeps_the_requested_name(shop):
    shop.execute('CREATE TABLE shop.customers AS SELECT 1 AS id, \'x\' AS "eMail", 2 AS "Select", 3 AS "a ""b"""')

    table = shop.open().rows(shop_model("customers", "ID", "email", "select", 'A "B"')).read_all()

    assert table.to_pylist() == [{"ID": 1, "email": "x", "select": 2, 'A "B"': 3}]


def test_an_exact_column_name_wins_over_one_in_another_case(shop):
    shop.execute("CREATE TABLE shop.customers AS SELECT 'lower' AS email, 'mixed' AS \"Email\"")
    warehouse = shop.open()

    assert warehouse.rows(shop_model("customers", "Email")).read_all().to_pylist() == [{"Email": "mixed"}]
    with pytest.raises(WarehouseError) as caught:
        warehouse.rows(shop_model("customers", "EMAIL"))
    assert caught.value.problems[0].hint == "columns are `email`, `Email`"


def test_an_empty_table_gives_its_columns_and_no_rows(shop):
    shop.execute("CREATE TABLE shop.customers (id bigint, credit numeric(10, 2), tags text[])")

    table = shop.open().rows(shop_model("customers", "id", "credit", "tags")).read_all()

    assert (table.num_rows, table.column_names) == (0, ["id", "credit", "tags"])


def test_many_rows_stream_in_bounded_memory(shop):
    warehouse = shop.open()
    source = ephemeral(
        "select g as n, g::numeric(12, 2) as amount, repeat('x', 500) as t from generate_series(1, 200000) g"
    )
    source = ephemeral(source.sql, "n", "amount", "t")
    before = psutil.Process().memory_info().rss

    total = checksum = batches = 0
    for batch in warehouse.rows(source):
        batches += 1
        total += batch.num_rows
        checksum += sum(batch.column("n").to_pylist())

    assert (total, checksum) == (200_000, 200_000 * 200_001 // 2)
    assert batches > 10
    assert psutil.Process().memory_info().rss - before < 90 * 1024**2  # the rows are 105 MB


def test_an_abandoned_read_does_not_block_the_next(shop):
    warehouse = shop.open()
    reader = warehouse.rows(ephemeral("select g as n from generate_series(1, 3000000) g", "n"))
    reader.read_next_batch()

    assert warehouse.rows(ephemeral("select 1 as n", "n")).read_all().to_pylist() == [{"n": 1}]
    with pytest.raises(WarehouseError, match="read-failed"):  # cut short, and says so
        reader.read_all()


def test_all_models_are_read_in_one_snapshot(shop):
    shop.execute("CREATE TABLE shop.a AS SELECT 1 AS n", "CREATE TABLE shop.b AS SELECT 1 AS n")
    warehouse = shop.open()
    warehouse.rows(shop_model("a", "n")).read_all()

    shop.execute("INSERT INTO shop.b VALUES (2)")

    assert warehouse.rows(shop_model("b", "n")).read_all().num_rows == 1


def test_the_session_is_read_only(shop):
    shop.execute("CREATE TABLE shop.a AS SELECT 1 AS n", "CREATE SEQUENCE shop.ids")

    warehouse = shop.open()

    with pytest.raises(WarehouseError, match=r"read-failed: .* in a read-only transaction"):
        warehouse.rows(ephemeral("select nextval('shop.ids') as n", "n")).read_all()
    assert warehouse.rows(shop_model("a", "n")).read_all().num_rows == 1


def test_an_unbuilt_model_is_reported_with_the_command_and_the_next_one_is_read(shop):
    shop.execute("CREATE TABLE shop.a AS SELECT 1 AS n")
    warehouse = shop.open()

    with pytest.raises(WarehouseError) as caught:
        warehouse.rows(shop_model("customers", "id"))

    (problem,) = caught.value.problems
    assert problem.code == "relation-missing"
    assert problem.summary == '"postgres"."shop"."customers" of model `customers` is not in the warehouse'
    assert problem.hint == "run `dbt build -s customers`"
    assert warehouse.rows(shop_model("a", "n")).read_all().num_rows == 1


def test_an_error_in_the_middle_of_the_rows_contains_no_value(shop):
    sql = "select case when g = 100000 then 'secret' else '1' end::int as n from generate_series(1, 100000) g"

    with pytest.raises(WarehouseError) as caught:
        shop.open().rows(ephemeral(sql, "n")).read_all()

    assert str(caught.value) == "read-failed: reading model `ephemeral_model` failed: the server rejected a row's value"


def test_a_missing_privilege_is_reported_with_the_grant_to_add(shop):
    shop.execute("DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN", "CREATE TABLE shop.a AS SELECT 1 AS n")

    with pytest.raises(WarehouseError, match="warehouse-denied") as caught:
        shop.open(user="reader").rows(shop_model("a", "n"))

    assert caught.value.problems[0].hint == "grant it SELECT on the relation and USAGE on its schema"


def test_the_profiles_role_and_search_path_apply(shop):
    shop.execute('DROP ROLE IF EXISTS "Chief Reader"', 'CREATE ROLE "Chief Reader"')
    warehouse = shop.open(role="Chief Reader", search_path="shop, pg_catalog")

    (row,) = (
        warehouse.rows(ephemeral("select current_user as u, current_setting('search_path') as p", "u", "p"))
        .read_all()
        .to_pylist()
    )

    assert row == {"u": "Chief Reader", "p": "shop, pg_catalog"}
    with pytest.raises(WarehouseError, match=r"warehouse-denied: .* may not use the role `nobody_here`"):
        shop.open(role="nobody_here")


def test_an_unreachable_server_is_named_without_the_password(postgres_server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(WarehouseError) as caught:
            postgres_server.open(host="127.0.0.1", port=port, password="hush", retries=0)

    (problem,) = caught.value.problems
    assert problem.code == "warehouse-unreachable"
    assert problem.summary == (
        f"PostgreSQL at 127.0.0.1:{port}, database `postgres`, can't be reached: Connection refused"
    )
    assert "hush" not in str(caught.value)


def test_an_unknown_user_is_reported_at_once(postgres_server):
    with pytest.raises(WarehouseError, match=r"warehouse-auth: PostgreSQL at .* refuses `nobody_here`"):
        postgres_server.open(user="nobody_here", retries=5)


def test_an_unknown_database_is_named(postgres_server):
    with pytest.raises(WarehouseError, match=r'warehouse-unreachable: .* database "nowhere" does not exist'):
        postgres_server.open(dbname="nowhere", retries=5)


def test_a_profile_becomes_a_libpq_connection_string():
    conninfo = build_conninfo(
        {
            "host": "db.example.com",
            "user": "me",
            "pass": "it's \\ hush",
            "dbname": "shop",
            "port": 6543,
            "connect_timeout": 3,
            "keepalives_idle": 0,
            "sslmode": "verify-full",
            "sslrootcert": "/ca.pem",
            "search_path": "a, b",
            "schema": "ignored",
            "threads": 4,
        }
    )

    assert conninfo == (
        "host='db.example.com' port='6543' user='me' password='it\\'s \\\\ hush' dbname='shop' connect_timeout='3' "
        "application_name='dbt-stripe-sync' options='-c search_path=a,\\\\ b' sslmode='verify-full' "
        "sslrootcert='/ca.pem'"
    )


def test_infinity_stays_infinity(shop):
    incoming = shop.open().rows(  # noqa: F841 - DuckDB finds it by its name
        ephemeral(
            "select * from (values "
            "('infinity'::timestamptz, '-infinity'::timestamp, 'infinity'::date, '-infinity'::date), "
            "('294246-12-31', '4713-01-01 BC', '5874897-12-31', '4713-01-01 BC'), "
            "(null, null, null, null)) v(a, b, c, d)",
            "a",
            "b",
            "c",
            "d",
        )
    )

    rows = duckdb.sql("SELECT a::VARCHAR, b::VARCHAR, c::VARCHAR, d::VARCHAR FROM incoming").fetchall()

    assert rows[0] == ("infinity", "-infinity", "infinity", "-infinity")
    assert [row.split(" ")[0].split("-")[0] for row in rows[1]] == ["294246", "4713", "5874897", "4713"]
    assert rows[2] == (None, None, None, None)


def test_nan_stays_nan(shop):
    (row,) = shop.open().rows(ephemeral("select 'NaN'::float8 as n", "n")).read_all().to_pylist()

    assert math.isnan(row["n"])
