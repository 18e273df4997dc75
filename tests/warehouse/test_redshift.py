"""The connector over a PostgreSQL server: its protocol is PostgreSQL's, but for parameters when a session starts."""

from __future__ import annotations

import gc
import warnings
from datetime import UTC, date, datetime

import pytest
from warehouses import ephemeral, shop_model

from dbt_stripe_sync.model.errors import WarehouseError

pytest.importorskip("redshift_connector")


def test_rows_are_read_exactly(redshift, shop):
    shop.execute(
        "CREATE TABLE shop.customers AS SELECT 9007199254740993 AS id, 12345678901234567.89::numeric(30, 2) AS credit, "
        "'100%'::text AS \"Note\", date '2026-02-28' AS day, timestamptz '2026-02-28 02:00+02' AS at, true AS b, "
        "null::int AS nothing"
    )
    source = shop_model("customers", "ID", "credit", "note", "day", "at", "b", "nothing")
    warehouse = redshift()

    assert warehouse.rows(source).read_all().to_pylist() == [
        {
            "ID": 9007199254740993,
            "credit": "12345678901234567.89",
            "note": "100%",
            "day": date(2026, 2, 28),
            "at": datetime(2026, 2, 28, tzinfo=UTC),
            "b": True,
            "nothing": None,
        }
    ]
    assert list(warehouse.columns(source).items())[:3] == [("id", "bigint"), ("credit", "numeric"), ("Note", "text")]


def test_intervals_are_text_in_one_notation():
    from redshift_connector.interval import IntervalDayToSecond, IntervalYearToMonth

    from dbt_stripe_sync.warehouse.redshift import CONVERTS, type_name

    assert CONVERTS[type_name(1188)](IntervalYearToMonth(-14)) == "P-1Y-2M"
    assert CONVERTS[type_name(1190)](IntervalDayToSecond(90_061_500_000)) == "P1DT1H1M1.5S"


def test_a_session_ended_by_the_cluster_counts_as_a_lost_connection(redshift, shop):
    warehouse = redshift()
    warehouse.columns(ephemeral("SELECT 1 AS n", "n"))
    shop.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND pid <> pg_backend_pid() AND state = 'idle'"
    )

    for _ in range(2):
        with pytest.raises(WarehouseError) as caught:
            warehouse.rows(ephemeral("SELECT 1 AS n", "n"))

        assert caught.value.problems[0].code == "warehouse-unreachable"


@pytest.mark.slow
def test_many_rows_are_fetched_in_batches_from_a_query_with_percent_signs(redshift):
    source = ephemeral("select g as n from generate_series(1, 25000) g where 'x' not like '%y%'", "n")

    table = redshift().rows(source).read_all()

    assert table.column("n").to_pylist() == list(range(1, 25_001))


def test_a_single_node_cluster_gets_smaller_fetches(redshift, monkeypatch):
    warehouse = redshift()
    fetched = warehouse._inner._fetched
    asked = []

    def as_one_node(select, rows_a_fetch):
        import redshift_connector

        asked.append(rows_a_fetch)
        if rows_a_fetch > 1000:
            # docs.aws.amazon.com/redshift/latest/dg/declare.html names the limit; the words are the cluster's.
            raise redshift_connector.ProgrammingError(
                {"M": "Fetch size 10000 exceeds the limit of 1000 for a single node"}
            )
        return fetched(select, rows_a_fetch)

    monkeypatch.setattr("dbt_stripe_sync.warehouse.redshift.RedshiftWarehouse._fetched", lambda _, *a: as_one_node(*a))

    assert warehouse.rows(ephemeral("select g as n from generate_series(1, 2500) g", "n")).read_all().num_rows == 2500
    assert asked == [10_000, 1_000]


def test_an_unbuilt_model_is_named_and_the_next_one_is_read(redshift, shop):
    shop.execute("CREATE TABLE shop.a AS SELECT 1 AS n")
    warehouse = redshift()

    with pytest.raises(WarehouseError) as caught:
        warehouse.rows(shop_model("customers", "id"))

    assert caught.value.problems[0].code == "relation-missing"
    assert warehouse.rows(shop_model("a", "n")).read_all().to_pylist() == [{"n": 1}]


def test_an_unknown_user_and_a_missing_grant_are_distinguished(redshift, shop):
    shop.execute(
        "CREATE TABLE shop.secrets AS SELECT 1 AS n",
        "DROP ROLE IF EXISTS clerk",
        "CREATE ROLE clerk LOGIN PASSWORD 'x'",
    )
    clerk = redshift(user="clerk", password="x")

    with pytest.raises(WarehouseError) as denied:
        clerk.rows(shop_model("secrets", "n"))
    with pytest.raises(WarehouseError) as unknown:
        redshift(user="nobody", password="hush")

    assert denied.value.problems[0].code == "warehouse-denied"
    assert unknown.value.problems[0].code == "warehouse-auth"
    assert "hush" not in str(unknown.value)
    unknown = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the connector forgets the socket of a failed login
        gc.collect()


def test_an_unreachable_cluster_is_named_without_the_password(shop):
    with pytest.raises(WarehouseError) as caught:
        shop.open(type="redshift", host="127.0.0.1", port=1, password="hush", sslmode="disable")

    assert str(caught.value) == (
        "warehouse-unreachable: Redshift at 127.0.0.1:1, database `postgres`, can't be reached: "
        "nothing listens on port 1 of `127.0.0.1`"
    )


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"user": "me", "pass": "hush"}, {"user": "me", "password": "hush"}),
        (
            {"method": "iam", "user": "me", "cluster_id": "c1", "iam_profile": "p", "autocreate": True},
            {"iam": True, "db_user": "me", "cluster_identifier": "c1", "profile": "p", "auto_create": True},
        ),
        (
            {"method": "iam", "user": "me", "cluster_id": "c1", "access_key_id": "a", "secret_access_key": "hush"},
            {
                "iam": True,
                "db_user": "me",
                "cluster_identifier": "c1",
                "access_key_id": "a",
                "secret_access_key": "hush",
            },
        ),
        (
            {"method": "iam_role", "host": "w.1.eu.redshift-serverless.amazonaws.com", "serverless_work_group": "w"},
            {"iam": True, "group_federation": False, "is_serverless": True, "serverless_work_group": "w"},
        ),
        (
            {"method": "browser_identity_center", "issuer_url": "https://i", "idc_region": "eu"},
            {
                "iam": False,
                "credentials_provider": "BrowserIdcAuthPlugin",
                "issuer_url": "https://i",
                "idc_region": "eu",
            },
        ),
    ],
)
def test_each_login_method_becomes_arguments_of_the_connector(settings, options):
    import inspect

    import redshift_connector

    from dbt_stripe_sync.warehouse.redshift import build_options

    shared = {"port": 5439, "database": "shop", "region": "eu", "ssl": True, "sslmode": "verify-ca"}
    shared |= {"tcp_keepalive": True, "application_name": "dbt-stripe-sync", "host": "c.example.com"}
    shared |= {"is_serverless": False, "timeout": 30, "max_prepared_statements": 0}

    built = build_options({"host": "c.example.com", "dbname": "shop", "region": "eu"} | settings)

    assert built == shared | {"host": settings.get("host", "c.example.com")} | options
    assert set(built) <= set(inspect.signature(redshift_connector.connect).parameters)


def test_an_unknown_login_method_is_named():
    from dbt_stripe_sync.warehouse.redshift import build_options

    with pytest.raises(
        WarehouseError, match="profile's `method` is `oauth_token_identity_center`, which isn't supported"
    ):
        build_options({"host": "h", "method": "oauth_token_identity_center"})
