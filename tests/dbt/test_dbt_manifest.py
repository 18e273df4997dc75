"""Reading a manifest of either dbt."""

from __future__ import annotations

import orjson
import pytest
from dbt_projects import text_of
from hypothesis import given
from hypothesis import strategies as st

from dbt_stripe_sync.dbt.manifest import read_manifest
from dbt_stripe_sync.model.errors import ConfigError

SYNC = {"stripe_sync": {"resource": "customer", "key": "id", "fields": {"email": "email"}}}


def test_models_seeds_and_snapshots_are_read_and_nothing_else(manifest):
    manifest.model("orders")
    manifest.model("countries", kind="seed")
    manifest.model("history", kind="snapshot")
    manifest.model("report", kind="analysis")
    manifest.model("cleanup", kind="operation")

    assert set(manifest.read().nodes) == {"model.shop.orders", "seed.shop.countries", "snapshot.shop.history"}


@pytest.mark.parametrize("version", [9, 10, 11, 12, 13, 20])
def test_manifests_since_dbt_1_5_are_read_and_newer_ones_too(manifest, version):
    manifest.metadata["dbt_schema_version"] = f"https://schemas.getdbt.com/dbt/manifest/v{version}.json"
    manifest.model("orders")

    assert set(manifest.read().nodes) == {"model.shop.orders"}


@pytest.mark.parametrize(
    ("keys", "file"),
    [
        ({}, "models/schema.yml"),
        ({"patch_path": None}, "models/orders.sql"),
        ({"patch_path": "models/schema.yml"}, "models/schema.yml"),
        ({"patch_path": "shop://models\\schema.yml"}, "models/schema.yml"),
        ({"package": "stripe_tools"}, "stripe_tools://models/schema.yml"),
    ],
)
def test_a_model_knows_the_file_of_its_meta(manifest, keys, file):
    unique_id = manifest.model("orders", **keys)

    assert manifest.read().nodes[unique_id].file == file


def test_meta_is_the_same_wherever_dbt_keeps_it(manifest):
    new = manifest.model("new", config={"meta": SYNC})
    old = manifest.model("old", meta=SYNC)
    both = manifest.model("both", meta=SYNC, config={"meta": SYNC})

    nodes = manifest.read().nodes
    assert nodes[new].meta == nodes[old].meta == nodes[both].meta == SYNC


def test_meta_that_dbt_2_copies_into_columns_is_ignored_there(manifest):
    columns = {
        "id": {"name": "id", "meta": SYNC},
        "email": {"name": "email", "meta": SYNC | {"stripe_field": "email"}},
        "name": {"name": "name", "config": {"meta": {"stripe_field": "name"}}},
    }
    unique_id = manifest.model("people", config={"meta": SYNC}, columns=columns)

    read = manifest.read().nodes[unique_id].columns
    assert {name: column.meta for name, column in read.items()} == {
        "email": {"stripe_field": "email"},
        "name": {"stripe_field": "name"},
    }


def test_unrendered_meta_is_kept(manifest):
    raw = {"stripe_sync": {"fields": {"name": "{{ first_name }}"}}}
    unique_id = manifest.model("people", config={"meta": SYNC}, unrendered_config={"meta": raw})

    assert manifest.read().nodes[unique_id].raw_meta == raw


def test_an_ephemeral_model_has_sql_and_no_relation(manifest):
    unique_id = manifest.model("people", config={"materialized": "ephemeral"}, compiled_code="select 1 as id")

    node = manifest.read().nodes[unique_id]
    assert (node.relation, node.sql) == (None, "select 1 as id")


@pytest.mark.parametrize("folder", ["compiled/shop/models", "compiled/models"])
def test_the_sql_of_an_ephemeral_model_is_found_in_the_target_folder(manifest, folder):
    unique_id = manifest.model("people", config={"materialized": "ephemeral"})
    file = manifest.target / folder / "people.sql"
    file.parent.mkdir(parents=True)
    file.write_text("select 2 as id")

    assert manifest.read().nodes[unique_id].sql == "select 2 as id"


def test_an_ephemeral_model_that_was_never_compiled_has_no_sql(manifest):
    unique_id = manifest.model("people", config={"materialized": "ephemeral"})

    assert manifest.read().nodes[unique_id].sql is None


def test_keys_that_dbt_2_omits_are_optional(manifest):
    node = {"name": "people", "resource_type": "model", "package_name": "shop"}
    manifest.nodes["model.shop.people"] = node

    read = manifest.read().nodes["model.shop.people"]
    assert (read.materialized, read.columns, read.meta, read.raw_meta) == ("model", {}, {}, None)


def test_a_new_parse_of_the_same_project_has_the_same_digest(manifest):
    manifest.model("people", config={"meta": SYNC})
    before = manifest.read().digest

    manifest.metadata |= {"generated_at": "2026-02-02T00:00:00Z", "invocation_id": "second", "dbt_version": "1.12.0"}
    manifest.nodes["model.shop.people"] |= {"created_at": 1.5, "checksum": {"name": "sha256", "checksum": "x"}}

    assert manifest.read().digest == before


def test_a_model_that_no_sync_reads_does_not_change_the_digest(manifest):
    manifest.model("people", config={"meta": SYNC})
    before = manifest.read().digest

    manifest.model("orders")

    assert manifest.read().digest == before


@pytest.mark.parametrize(
    "change",
    [
        {"relation_name": '"prod"."main"."people"'},
        {"config": {"meta": {"stripe_sync": SYNC["stripe_sync"] | {"key": "email"}}}},
        {"columns": {"email": {"name": "email", "meta": {"stripe_field": "email"}}}},
    ],
    ids=["relation", "meta", "column meta"],
)
def test_every_change_that_a_sync_depends_on_changes_the_digest(manifest, change):
    manifest.model("people", config={"meta": SYNC})
    before = manifest.read().digest

    manifest.nodes["model.shop.people"] |= change

    assert manifest.read().digest != before


def test_a_child_model_of_a_sync_changes_the_digest(manifest):
    items = {"model": "lines", "on": "invoice_id", "fields": {}}
    manifest.model("invoices", config={"meta": {"stripe_sync": {"fields": {"items": items}}}})
    manifest.model("lines")
    before = manifest.read().digest

    manifest.nodes["model.shop.lines"]["relation_name"] = '"prod"."main"."lines"'

    assert manifest.read().digest != before


NO_MANIFEST = """\
error[no-manifest]: dbt's manifest was not found here
  at {path}

hint: run `dbt build` first, or name the project with `--project-dir`"""
CUT_SHORT = """\
error[broken-manifest]: dbt's artifact can't be read: it is not valid JSON, or it is truncated
  at {path}

hint: remove it and run `dbt build` again"""
NO_MANIFEST_OF_DBT = """\
error[broken-manifest]: dbt's artifact can't be read: it is not a manifest of dbt
  at {path}

hint: remove it and run `dbt build` again"""
TOO_OLD = """\
error[old-manifest]: the manifest has schema v8, but the oldest supported one is v9 (dbt 1.5)
  at {path}

hint: upgrade dbt, and run `dbt build` again"""
OLD = b'{"metadata": {"dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v8.json"}, "nodes": {}}'


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, NO_MANIFEST),
        (b'{"metadata": {"dbt_sch', CUT_SHORT),
        (b"\xff\xfe", CUT_SHORT),
        (b"[]", NO_MANIFEST_OF_DBT),
        (b'{"metadata": {}, "results": []}', NO_MANIFEST_OF_DBT),
        (OLD, TOO_OLD),
    ],
    ids=["none", "cut", "binary", "list", "other artifact", "old"],
)
def test_a_file_that_is_not_a_manifest_is_reported(tmp_path, content, text):
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError) as error:
        read_manifest(path)

    assert text_of(error.value) == text.format(path=path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(key=st.sampled_from(["config", "columns", "depends_on", "tags", "fqn", "meta", "patch_path"]), value=json_values)
def test_a_manifest_not_written_by_dbt_is_reported_without_a_traceback(tmp_path_factory, key, value):
    path = tmp_path_factory.mktemp("target") / "manifest.json"
    node = {"name": "people", "resource_type": "model", "package_name": "shop", key: value}
    version = "https://schemas.getdbt.com/dbt/manifest/v12.json"
    path.write_bytes(orjson.dumps({"metadata": {"dbt_schema_version": version}, "nodes": {"model.shop.people": node}}))

    try:
        read_manifest(path)
        codes = set()
    except ConfigError as error:
        codes = {problem.code for problem in error.problems}

    assert codes <= {"broken-manifest"}
