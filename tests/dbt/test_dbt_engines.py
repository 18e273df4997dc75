"""A real project, built by a real dbt of each engine: its artifacts are understood, and in the same way."""

from __future__ import annotations

import re
import shutil
from functools import partial

import pytest
from dbt_projects import build_shop, text_of
from msgspec.structs import replace

from dbt_stripe_sync.dbt.command import build_models, find_dbt
from dbt_stripe_sync.dbt.gate import Evidence, held_models
from dbt_stripe_sync.dbt.listing import DbtLs
from dbt_stripe_sync.dbt.manifest import read_manifest
from dbt_stripe_sync.dbt.memory import recall
from dbt_stripe_sync.dbt.project import Chosen, read_project
from dbt_stripe_sync.dbt.run_results import read_run_results
from dbt_stripe_sync.dbt.targets import built_place
from dbt_stripe_sync.model.errors import ConfigError

# What must not reach Stripe after the build of `shop`: broken, or with a failed test, or come from one of those.
HELD = {"broken", "after_broken", "ephemeral_after_broken", "checked", "after_checked"}
TARGET = Chosen(target="duckdb")


def held_names(built, target="duckdb"):
    manifest, last = read_manifest(built.manifest), read_run_results(built.results)
    target_path = built.manifest.parent
    project = read_project(built.root, Chosen(target=target))
    known = recall(built.root, last, partial(built_place, project))
    evidence = Evidence(manifest=manifest, known=known, last=last, place=project.place, target_path=target_path)
    held = held_models(evidence)
    return {manifest.nodes[unique_id].name for unique_id in held}


@pytest.fixture
def shop(shop_by_dbt_1, tmp_path):
    """The built project, to be changed at will."""
    return replace(shop_by_dbt_1, root=shutil.copytree(shop_by_dbt_1.root, tmp_path / "shop"))


@pytest.fixture
def shop_2(shop_by_dbt_2, dbt_2, tmp_path, monkeypatch):
    monkeypatch.setenv("DBT_STRIPE_SYNC_DBT", str(dbt_2))
    return replace(shop_by_dbt_2, root=shutil.copytree(shop_by_dbt_2.root, tmp_path / "shop"))


def check_meta(built):
    people = read_manifest(built.manifest).nodes["model.shop.people"]

    assert people.file == "models/schema.yml"
    assert people.meta["stripe_sync"]["key"] == "id"
    assert people.raw_meta == people.meta
    assert {name: column.meta for name, column in people.columns.items()} == {
        "email": {"stripe_field": "email"},
    }


def check_ephemeral_sql(built):
    child = read_manifest(built.manifest).nodes["model.shop.ephemeral_child"]

    assert child.relation is None
    assert "__dbt__cte__ephemeral_parent" in child.sql
    assert "people" in child.sql


def ask_dbt(built):
    return DbtLs(
        project=read_project(built.root, TARGET),
        chosen=TARGET,
        manifest=read_manifest(built.root / "target/manifest.json"),
    )


def check_listing(built):
    """`ls` answers, and leaves the artifacts of the build as they were."""
    before = built.manifest.read_bytes()

    listed = ask_dbt(built).selector("config.materialized:ephemeral")

    assert listed == {f"model.shop.ephemeral_{name}" for name in ("parent", "child", "after_broken")}
    assert built.manifest.read_bytes() == before


def check_bad_selector(built):
    with pytest.raises(ConfigError) as error:
        ask_dbt(built).selector("nosuch:x")

    text = text_of(error.value)
    assert re.fullmatch(r"error\[bad-selector\]: dbt rejects the selector `nosuch:x`: .*method.*", text.splitlines()[0])
    assert "<unknown>" not in text
    assert text.endswith("hint: fix the selector, or what it needs; to reproduce: dbt ls --select 'nosuch:x'")


def check_build(built):
    """The models that are asked for are built with what they come from; what fails is left to the results."""
    project = read_project(built.root, TARGET)
    shutil.rmtree(built.root / "target")

    build_models(project, TARGET, ["warned", "broken"])

    statuses = read_run_results(built.results).statuses
    assert statuses["model.shop.people"] == "success"
    assert statuses["model.shop.broken"] == "error"
    assert "model.shop.checked" not in statuses


def check_build_of_a_broken_project(built):
    (built.root / "models" / "schema.yml").write_text("models:\n  - name: [people\n")

    with pytest.raises(ConfigError) as error:
        build_models(read_project(built.root, TARGET), TARGET, ["people"])

    assert text_of(error.value) == (
        "error[dbt-build-failed]: `dbt build` could not run\n  at \n\nhint: see its messages above"
    )


def test_meta_tags_and_files_of_a_built_project_are_read(shop_by_dbt_1):
    check_meta(shop_by_dbt_1)


def test_an_ephemeral_model_includes_the_sql_of_its_parents(shop_by_dbt_1):
    check_ephemeral_sql(shop_by_dbt_1)


def test_failed_models_and_their_descendants_are_held(shop_by_dbt_1):
    assert held_names(shop_by_dbt_1) == HELD


def test_dbt_lists_models_and_leaves_the_artifacts_of_the_build_alone(shop):
    check_listing(shop)


@pytest.mark.slow
def test_a_selector_that_dbt_rejects_is_reported(shop, capfd):
    check_bad_selector(shop)

    # With `--log-format json`, all of stderr is JSON.
    assert capfd.readouterr() == ("", "")


def test_dbt_builds_models_with_their_ancestors(shop, capfd):
    check_build(shop)

    said = capfd.readouterr()
    assert "broken" in said.err
    assert said.out == ""


@pytest.mark.slow
def test_a_build_that_cannot_start_is_reported(shop):
    check_build_of_a_broken_project(shop)


@pytest.mark.telling
def test_the_configured_dbt_is_run(monkeypatch, tmp_path, dbt_1):
    monkeypatch.delenv("DBT_STRIPE_SYNC_DBT", raising=False)
    assert find_dbt() == dbt_1

    named = tmp_path / "my-dbt"
    named.symlink_to(dbt_1)
    monkeypatch.setenv("DBT_STRIPE_SYNC_DBT", str(named))
    assert find_dbt() == named


@pytest.mark.telling
def test_a_configured_dbt_that_does_not_exist_is_reported(monkeypatch):
    monkeypatch.setenv("DBT_STRIPE_SYNC_DBT", "/nowhere/dbt")

    with pytest.raises(ConfigError) as error:
        find_dbt()

    assert text_of(error.value) == (
        "error[no-dbt]: DBT_STRIPE_SYNC_DBT is not an executable\n  at \n\n"
        "hint: install dbt in this environment, or name the program in DBT_STRIPE_SYNC_DBT"
    )


@pytest.mark.dbt2
def test_artifacts_of_dbt_2_are_read(shop_by_dbt_2):
    check_meta(shop_by_dbt_2)
    check_ephemeral_sql(shop_by_dbt_2)
    assert held_names(shop_by_dbt_2) == HELD


@pytest.mark.dbt2
def test_dbt_2_lists_models(shop_2):
    check_listing(shop_2)
    check_bad_selector(shop_2)
    assert ask_dbt(shop_2).selector("config.materialized:nothing") == frozenset()


@pytest.mark.dbt2
def test_dbt_2_builds_models(shop_2):
    check_build(shop_2)
    check_build_of_a_broken_project(shop_2)


def same_nodes(one, two):
    """Everything but the layout of compiled SQL is the same."""
    assert set(one.nodes) == set(two.nodes)
    for unique_id, node in one.nodes.items():
        assert replace(node, sql=None) == replace(two.nodes[unique_id], sql=None)
        assert (node.sql is None) == (two.nodes[unique_id].sql is None)
    assert one.children == two.children
    assert one.tests == two.tests


@pytest.mark.dbt2
def test_both_engines_give_the_same_nodes(shop_by_dbt_1, shop_by_dbt_2):
    one, two = read_manifest(shop_by_dbt_1.manifest), read_manifest(shop_by_dbt_2.manifest)

    same_nodes(one, two)
    assert (one.dbt_version[0], two.dbt_version[0]) == ("1", "2")


@pytest.mark.dbt2
def test_both_engines_give_the_same_nodes_on_postgres(dbt_1, dbt_2, tcp_postgres, tmp_path):
    environment = {**tcp_postgres, "DBT_ALLOW_EXPERIMENTAL_ADAPTERS": "true"}
    one = build_shop(dbt_1, tmp_path / "one" / "shop", target="postgres", environment=environment)
    two = build_shop(dbt_2, tmp_path / "two" / "shop", target="postgres", environment=environment)

    assert held_names(one, "postgres") == held_names(two, "postgres") == HELD, two.said
    same_nodes(read_manifest(one.manifest), read_manifest(two.manifest))
