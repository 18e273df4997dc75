"""DuckDB: real files, with every type, and the messages for files that cannot be read."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import duckdb
import psutil
import pytest
from warehouses import as_duckdb_types, ephemeral, model

from dbt_stripe_sync.model.errors import WarehouseError
from dbt_stripe_sync.warehouse import duckdb_memory, open_warehouse
from dbt_stripe_sync.warehouse.duckdb_profile import parse_profile

EVERY_TYPE = {
    "a_bool": ("true", True),
    "a_tinyint": ("1::TINYINT", 1),
    "a_bigint": ("9007199254740993::BIGINT", 9007199254740993),
    "a_ubigint": ("18446744073709551615::UBIGINT", 18446744073709551615),
    "a_hugeint": ("12345678901234567890123456789012345678::HUGEINT", Decimal(12345678901234567890123456789012345678)),
    "a_uhugeint": (
        "340282366920938463463374607431768211455::UHUGEINT",
        "340282366920938463463374607431768211455",
    ),
    "a_bignum": ("12345::BIGNUM", "12345"),
    "a_decimal": ("1234567890123456.78::DECIMAL(18, 2)", Decimal("1234567890123456.78")),
    "a_double": ("0.1::DOUBLE", 0.1),
    "a_text": ("'Zoë'", "Zoë"),
    "a_date": ("DATE '2026-02-28'", date(2026, 2, 28)),
    "a_time": ("TIME '12:34:56'", time(12, 34, 56)),
    "a_timetz": ("CAST('12:00:00+02' AS TIMETZ)", "10:00:00+00:00"),
    "a_timestamp": ("TIMESTAMP '2026-02-28 01:02:03'", datetime(2026, 2, 28, 1, 2, 3)),
    "a_timestamp_ns": ("TIMESTAMP_NS '2026-02-28 01:02:03'", datetime(2026, 2, 28, 1, 2, 3)),
    "a_timestamp_s": ("TIMESTAMP_S '2026-02-28 01:02:03'", datetime(2026, 2, 28, 1, 2, 3)),
    "a_timestamptz": ("TIMESTAMPTZ '2026-02-28 02:00:00+02'", datetime(2026, 2, 28, tzinfo=UTC)),
    "an_interval": ("INTERVAL 2 DAYS", "P2D"),
    "a_uuid": ("UUID '11111111-2222-3333-4444-555555555555'", UUID("11111111-2222-3333-4444-555555555555")),
    "an_enum": ("'happy'::mood", "happy"),
    "a_json": ("""'{"a": 1.50}'::JSON""", '{"a": 1.50}'),
    "a_blob": ("'x'::BLOB", b"x"),
    "a_bit": ("'101'::BIT", "101"),
    "a_list": ("['a', 'b']", ["a", "b"]),
    "a_list_of_hugeint": ("[1::HUGEINT, NULL]", [Decimal(1), None]),
    "an_array": ("[1, 2]::INTEGER[2]", [1, 2]),
    "an_array_of_enums": ("['happy']::mood[1]", ["happy"]),
    "a_struct": ("{'city': 'Ghent', 'zip code': 9000}", {"city": "Ghent", "zip code": 9000}),
    "a_struct_of_enums": ("{'the \"mood\"': 'happy'::mood}", {'the "mood"': "happy"}),
    "a_map": ("MAP {'k': 1.5::DECIMAL(9, 2)}", [("k", Decimal("1.50"))]),
    "a_map_of_bits": ("MAP {'k': '1'::BIT}", [("k", "1")]),
    "a_union": ("union_value(num := 2)", "2"),
    "a_null": ("NULL::VARCHAR", None),
}


@pytest.fixture
def every_type(duckdb_file):
    columns = ", ".join(f"{sql} AS {name}" for name, (sql, _) in EVERY_TYPE.items())
    duckdb_file.execute(
        "CREATE TYPE mood AS ENUM ('happy', 'sad')",
        f"CREATE TABLE every_type AS SELECT {columns}",
    )
    with_columns = model("every_type", *EVERY_TYPE)
    warehouse = duckdb_file.open()
    yield warehouse, with_columns
    warehouse.close()


def test_every_duckdb_type_is_read_exactly(every_type):
    warehouse, source = every_type

    (row,) = warehouse.rows(source).read_all().to_pylist()

    assert row == {name: value for name, (_, value) in EVERY_TYPE.items()}


def test_types_keep_their_names_in_the_state_store(every_type):
    warehouse, source = every_type

    types = as_duckdb_types(warehouse.rows(source))

    assert types["a_json"] == "JSON"
    assert types["a_uuid"] == "UUID"
    assert types["a_decimal"] == "DECIMAL(18,2)"
    assert types["a_timestamptz"] == "TIMESTAMP WITH TIME ZONE"
    assert types["a_list"] == "VARCHAR[]"


def test_columns_are_listed_in_order_in_duckdbs_words(duckdb_file):
    duckdb_file.execute("CREATE TABLE customers (id BIGINT, Email VARCHAR, credit DECIMAL(12, 2))")

    columns = duckdb_file.open().columns(model("customers"))

    assert list(columns.items()) == [("id", "BIGINT"), ("Email", "VARCHAR"), ("credit", "DECIMAL(12,2)")]


def test_a_column_is_found_in_any_case_and_keeps_the_requested_name(duckdb_file):
    duckdb_file.execute('CREATE TABLE customers AS SELECT 1 AS "ID", \'a@example.com\' AS "eMail", 2 AS "select"')

    table = duckdb_file.open().rows(model("customers", "id", "email", "Select")).read_all()

    assert table.to_pylist() == [{"id": 1, "email": "a@example.com", "Select": 2}]


def test_a_column_name_may_contain_a_quote(duckdb_file):
    duckdb_file.execute('CREATE TABLE customers AS SELECT 1 AS "a ""quoted"" name"')

    table = duckdb_file.open().rows(model("customers", 'a "quoted" name')).read_all()

    assert table.to_pylist() == [{'a "quoted" name': 1}]


@pytest.mark.parametrize("end", ["", ";", " -- a comment"])
def test_an_ephemeral_model_is_read_through_its_sql(duckdb_file, end):
    duckdb_file.execute("CREATE TABLE raw AS SELECT 1 AS id, 'x' AS name")
    source = ephemeral('with r as (select * from "dev"."main"."raw") select id, name from r' + end, "name")

    assert duckdb_file.open().rows(source).read_all().to_pylist() == [{"name": "x"}]


def test_an_empty_table_gives_its_columns_and_no_rows(duckdb_file):
    duckdb_file.execute("CREATE TABLE customers (id BIGINT, email VARCHAR)")

    table = duckdb_file.open().rows(model("customers", "id", "email")).read_all()

    assert (table.num_rows, table.column_names) == (0, ["id", "email"])


def test_two_models_can_be_read_at_once(duckdb_file):
    duckdb_file.execute("CREATE TABLE a AS SELECT range AS n FROM range(120000)", "CREATE TABLE b AS FROM a")
    warehouse = duckdb_file.open()

    first, second = warehouse.rows(model("a", "n")), warehouse.rows(model("b", "n"))
    counts = [0, 0]
    for one, other in zip(first, second, strict=True):
        counts = [counts[0] + one.num_rows, counts[1] + other.num_rows]

    assert counts == [120_000, 120_000]


def test_rows_are_streamed(duckdb_file):
    duckdb_file.execute("CREATE TABLE big AS SELECT range AS n, repeat('x', 200) || range AS t FROM range(1000000)")
    warehouse = duckdb_file.open(settings={"threads": "1"})
    before = psutil.Process().memory_info().rss

    total = sum(batch.num_rows for batch in warehouse.rows(model("big", "n", "t")))

    assert total == 1_000_000
    assert psutil.Process().memory_info().rss - before < 150 * 1024**2  # the rows are 220 MB


def test_reading_does_not_write_to_the_file(duckdb_file):
    duckdb_file.execute("CREATE TABLE customers AS SELECT 1 AS id")
    before = duckdb_file.path.read_bytes()

    warehouse = duckdb_file.open()
    warehouse.rows(model("customers", "id")).read_all()
    warehouse.close()

    assert duckdb_file.path.read_bytes() == before
    assert [path.name for path in duckdb_file.path.parent.iterdir()] == ["dev.duckdb"]


def test_dbt_can_write_again_once_the_warehouse_is_closed(duckdb_file):
    duckdb_file.execute("CREATE TABLE customers AS SELECT 1 AS id")
    warehouse = duckdb_file.open()
    warehouse.rows(model("customers", "id"))  # never read to its end

    warehouse.close()

    duckdb_file.execute("DROP TABLE customers")


def test_a_file_locked_by_another_process_is_reported_with_that_process(duckdb_file):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); input()",
            str(duckdb_file.path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    try:
        with pytest.raises(WarehouseError) as caught:
            duckdb_file.open()
    finally:
        holder.communicate(b"\n")

    (problem,) = caught.value.problems
    assert problem.code == "warehouse-locked"
    assert f"process {holder.pid} (python" in problem.summary


def test_a_file_that_this_process_writes_counts_as_locked(duckdb_file):
    with duckdb.connect(str(duckdb_file.path)) as _writer, pytest.raises(WarehouseError, match="warehouse-locked"):
        duckdb_file.open()


def test_a_locked_file_is_retried_as_the_profile_says(duckdb_file):
    duckdb_file.execute("CREATE TABLE customers AS SELECT 1 AS id")
    code = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print(1, flush=True); time.sleep(0.3)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(duckdb_file.path)], stdout=subprocess.PIPE)
    holder.stdout.readline()

    warehouse = duckdb_file.open(retries={"connect_attempts": 3})

    assert warehouse.rows(model("customers", "id")).read_all().num_rows == 1
    holder.communicate()


def test_a_missing_file_is_reported_with_dbt_build_as_the_fix(duckdb_file):
    with pytest.raises(WarehouseError) as caught:
        duckdb_file.open()

    (problem,) = caught.value.problems
    assert problem.code == "warehouse-missing"
    assert problem.summary == f"the profile's database {duckdb_file.path} does not exist"
    assert problem.hint == "run `dbt build` first; a relative `path` is relative to the dbt project"
    assert not duckdb_file.path.exists()


def test_an_in_memory_database_is_rejected_with_a_hint(duckdb_file):
    with pytest.raises(WarehouseError) as caught:
        open_warehouse({"type": "duckdb"}, project_root=duckdb_file.path.parent, adapter=None)

    assert caught.value.problems[0].hint == "give the profile's output a `path`, such as `path: target/dev.duckdb`"


def test_a_file_that_is_not_a_database_is_named(duckdb_file):
    duckdb_file.path.write_text("not a database" * 1000)

    with pytest.raises(WarehouseError, match=r"warehouse-unreachable: the database .*dev\.duckdb can't be opened"):
        duckdb_file.open()


def test_an_unbuilt_model_is_reported_with_the_command_that_builds_it(duckdb_file):
    duckdb_file.execute("CREATE TABLE other AS SELECT 1 AS id")
    warehouse = duckdb_file.open()

    for missing in (model("customers", "id"), model("customers", "id", schema="nowhere")):
        with pytest.raises(WarehouseError) as caught:
            warehouse.rows(missing)
        (problem,) = caught.value.problems
        assert problem.code == "relation-missing"
        assert problem.hint == "run `dbt build -s customers`"
    with pytest.raises(WarehouseError, match="relation-missing: ephemeral model `ephemeral_model` reads"):
        warehouse.columns(ephemeral("select * from nowhere"))


def test_every_unknown_column_is_named_at_once(duckdb_file):
    duckdb_file.execute("CREATE TABLE customers AS SELECT 1 AS id, 'x' AS name")

    with pytest.raises(WarehouseError) as caught:
        duckdb_file.open().rows(model("customers", "id", "e_mail", "phone"))

    assert [problem.code for problem in caught.value.problems] == ["unknown-column", "unknown-column"]
    assert caught.value.problems[0].hint == "columns are `id`, `name`"


def test_an_error_in_the_middle_of_the_rows_contains_no_value(duckdb_file):
    duckdb_file.execute(
        "CREATE VIEW customers AS SELECT CAST(t AS INTEGER) AS id "
        "FROM (SELECT CASE WHEN range = 199999 THEN 'secret' ELSE range::VARCHAR END AS t FROM range(200000))"
    )

    with pytest.raises(WarehouseError) as caught:
        duckdb_file.open().rows(model("customers", "id")).read_all()

    assert caught.value.problems[0].code == "read-failed"
    assert "secret" not in str(caught.value)


def test_attached_databases_are_available_under_their_alias(duckdb_file, tmp_path):
    with duckdb.connect(str(tmp_path / "crm.duckdb")) as other:
        other.execute("CREATE TABLE people AS SELECT 7 AS id")
    duckdb_file.execute(f"ATTACH '{tmp_path}/crm.duckdb' AS c; CREATE VIEW customers AS SELECT * FROM c.people")

    warehouse = duckdb_file.open(attach=[{"path": "crm.duckdb", "alias": "c"}])

    assert warehouse.rows(model("customers", "id")).read_all().to_pylist() == [{"id": 7}]
    assert warehouse.rows(model("people", "id", database="c")).read_all().to_pylist() == [{"id": 7}]


def test_paths_of_external_models_are_relative_to_the_project(duckdb_file, tmp_path):
    duckdb.sql("SELECT 1 AS id").write_parquet(str(tmp_path / "customers.parquet"))
    duckdb_file.execute(f"SET file_search_path = '{tmp_path}'; CREATE VIEW customers AS FROM 'customers.parquet'")

    assert duckdb_file.open().rows(model("customers", "id")).read_all().num_rows == 1


def test_a_database_file_has_the_name_that_dbt_gives_it(tmp_path):
    with duckdb.connect(str(tmp_path / "my.data base.duckdb")) as connection:
        connection.execute("CREATE TABLE customers AS SELECT 1 AS id")

    warehouse = open_warehouse({"type": "duckdb", "path": "my.data base.duckdb"}, project_root=tmp_path, adapter=None)

    assert warehouse.rows(model("customers", "id", database="my")).read_all().num_rows == 1


def test_settings_and_secrets_of_the_profile_apply(duckdb_file):
    duckdb_file.execute("CREATE VIEW customers AS SELECT current_setting('TimeZone') AS zone")

    warehouse = duckdb_file.open(settings={"TimeZone": "Europe/Brussels"}, config_options={"threads": 1})

    assert warehouse.rows(model("customers", "zone")).read_all().to_pylist() == [{"zone": "Europe/Brussels"}]


@pytest.mark.parametrize(
    "settings",
    [
        {"config_options": {"memory_limit": "3GB"}},
        {"config_options": {"MAX_MEMORY": "3GB"}},
        {"settings": {"memory_limit": "3GB"}},
    ],
)
def test_the_profile_can_limit_memory_itself(duckdb_file, settings):
    duckdb_file.execute("CREATE TABLE customers AS SELECT 1 AS id")

    warehouse = duckdb_file.open(**settings)

    limit = ephemeral("SELECT current_setting('memory_limit') AS text", "text")
    assert warehouse.rows(limit).read_all().to_pylist() == [{"text": "2.7 GiB"}]


@pytest.mark.parametrize("can_spill", [True, False])
def test_a_query_that_needs_more_memory_than_reading_spills_or_gets_it(duckdb_file, monkeypatch, can_spill):
    monkeypatch.setattr(duckdb_memory, "MEGABYTES_OF_THREAD", 16)
    duckdb_file.execute("CREATE TABLE numbers AS SELECT i FROM range(3_000_000) AS t(i)")
    folder = duckdb_file.path.with_name(f"{duckdb_file.path.name}.tmp")
    if not can_spill:
        folder.write_text("a file where the folder would be")
    warehouse = duckdb_file.open(config_options={"threads": 2})
    limit = ephemeral("SELECT current_setting('memory_limit') AS text", "text")
    before = warehouse.rows(limit).read_all().to_pylist()

    distinct = ephemeral("SELECT count(DISTINCT hash(i)) AS numbers FROM numbers", "numbers")

    assert warehouse.rows(distinct).read_all().to_pylist() == [{"numbers": 3_000_000}]
    after = warehouse.rows(limit).read_all().to_pylist()
    assert (after == before) is can_spill


@pytest.mark.parametrize(
    ("settings", "summary"),
    [
        ({"settings": {"no_such_setting": "hush"}}, "has `no_such_setting`, which doesn't work"),
        ({"secrets": [{"type": "no_such_kind", "key_id": "hush"}]}, "has an entry, number 1, that doesn't work"),
        ({"remote": {"host": "hush"}}, "names a Buena Vista server, which can't be read"),
        ({"attach": [{"alias": "hush"}]}, "has an entry without a `path`"),
        ({"config_options": {"no_such_option": "hush"}}, "doesn't work"),
    ],
)
def test_a_setting_that_does_not_apply_is_named_without_its_value(duckdb_file, settings, summary):
    duckdb_file.execute("CREATE TABLE customers AS SELECT 1 AS id")

    with pytest.raises(WarehouseError) as caught:
        duckdb_file.open(**settings).columns(model("customers"))

    (problem,) = caught.value.problems
    assert problem.code == "warehouse-setting"
    assert summary in problem.summary
    assert "hush" not in str(caught.value)


def test_motherduck_is_opened_by_its_database_name_with_the_token(tmp_path):
    profile = parse_profile({"type": "duckdb", "path": "md:shop?x=1", "motherduck_token": "t"}, tmp_path)

    assert (profile.connect_to, profile.database, profile.file) == ("md:shop?x=1", "shop", None)
    assert profile.config == {"motherduck_token": "t"}
    assert profile.attachments == ()


def test_attached_databases_are_read_only_whatever_the_profile_says(tmp_path):
    profile = parse_profile(
        {
            "path": "dev.duckdb",
            "attach": [
                {"path": "s3://bucket/x.duckdb", "secret": "s", "options": {"read_only": False, "key": "it's"}},
                {"path": "ducklake:meta.db", "alias": "lake", "options": {"data_path": "s3://b/p", "encrypted": True}},
            ],
        },
        tmp_path,
    )

    assert [attachment.sql for attachment in profile.attachments] == [
        f"ATTACH '{tmp_path}/dev.duckdb' AS \"dev\" (READ_ONLY)",
        "ATTACH IF NOT EXISTS 's3://bucket/x.duckdb' (READ_ONLY, KEY 'it''s', SECRET s)",
        f"ATTACH IF NOT EXISTS 'ducklake:{tmp_path}/meta.db' AS \"lake\" (READ_ONLY, DATA_PATH 's3://b/p', ENCRYPTED)",
    ]


def test_secrets_are_temporary_and_quoted(tmp_path):
    secret = {"type": "s3", "name": "mine", "persistent": True, "key_id": "it's", "scope": ["s3://a", "s3://b"]}

    profile = parse_profile({"path": "dev.duckdb", "secrets": [secret]}, tmp_path)

    assert profile.secret_sql == (
        "CREATE OR REPLACE TEMPORARY SECRET \"mine\" (type s3, key_id 'it''s', scope 's3://a', scope 's3://b')",
    )


@pytest.mark.parametrize(
    ("path", "attached"),
    [
        ("ducklake:meta.ducklake", "ducklake:{root}/meta.ducklake"),
        ("ducklake:sqlite:lake/meta.sqlite", "ducklake:sqlite:{root}/lake/meta.sqlite"),
        ("ducklake:postgres:dbname=lake host=db", "ducklake:postgres:dbname=lake host=db"),
        ("ducklake:my_secret", "ducklake:my_secret"),
        ("s3://bucket/a.duckdb", "s3://bucket/a.duckdb"),
    ],
)
def test_a_local_catalogs_path_is_relative_to_the_project(tmp_path, path, attached):
    profile = parse_profile({"path": path}, tmp_path)

    assert profile.attachments[0].path == attached.format(root=tmp_path.resolve())
    assert profile.attachments[0].sql.endswith("(READ_ONLY)")
    assert profile.file is None
