"""The output of `dbt ls` is read correctly, however the environment and the project change it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from dbt_projects import text_of
from live_project import new_project

from dbt_stripe_sync.dbt.listing import DbtLs
from dbt_stripe_sync.dbt.manifest import read_manifest
from dbt_stripe_sync.dbt.project import Chosen, read_project
from dbt_stripe_sync.model.errors import ConfigError

DISTORTED = [
    {"DBT_LOG_FORMAT": "json"},
    {"DBT_RESOURCE_TYPES": "test"},
    {"DBT_EXCLUDE_RESOURCE_TYPES": "test model"},
    {"DBT_WARN_ERROR": "1"},
    {"DBT_QUIET": "1"},
    {"DBT_DEBUG": "1"},
    {"DBT_LOG_LEVEL": "none"},
    {"DBT_DIRTY": "1"},
]


def ask(project):
    chosen = Chosen(profiles_dir=project.root)
    manifest = read_manifest(project.root / "target" / "manifest.json")
    return DbtLs(project=read_project(project.root, chosen), chosen=chosen, manifest=manifest)


def check_every_environment(project, monkeypatch):
    monkeypatch.setenv("DBT_STRIPE_SYNC_DBT", str(project.program))
    project.file("models/orders.sql", "select 1 as id")
    project.dbt("parse")
    for environment in DISTORTED:
        with monkeypatch.context() as context:
            for name, value in environment.items():
                context.setenv(name, value)
            assert ask(project).selector("path:models/**") == {"model.club.orders"}, environment
    assert ask(project).selector("tag:nothing") == frozenset()
    file = project.root / "dbt_project.yml"
    file.write_text(file.read_text() + "flags: {log_format: json}\n")
    assert ask(project).selector("path:models/**") == {"model.club.orders"}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_environment_empties_the_output_of_dbt_1(tmp_path, dbt_1, stripe, monkeypatch):
    check_every_environment(new_project(tmp_path, dbt_1, stripe), monkeypatch)


@pytest.mark.dbt2
def test_no_environment_empties_the_output_of_dbt_2(tmp_path, dbt_2, stripe, monkeypatch):
    check_every_environment(new_project(tmp_path, dbt_2, stripe), monkeypatch)


@pytest.mark.parametrize(
    "answer",
    ['echo \'{"name": "orders"}\'', 'echo \'{"info": {"msg": "{\\"unique_id\\": \\"model.shop.orders\\"}"}}\'', "true"],
    ids=["another key", "a log line", "nothing"],
)
def test_unreadable_output_is_an_error(answer, manifest, tmp_path, monkeypatch):
    manifest.model("orders")
    (manifest.root / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    (manifest.root / "profiles.yml").write_text("shop: {target: dev, outputs: {dev: {type: duckdb}}}")
    program = tmp_path / "odd-dbt"
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("DBT_STRIPE_SYNC_DBT", str(program))
    chosen = Chosen(profiles_dir=manifest.root)
    asked = DbtLs(project=read_project(manifest.root, chosen), chosen=chosen, manifest=manifest.read())

    with pytest.raises(ConfigError) as error:
        asked.selector("state:modified")

    assert text_of(error.value).startswith(
        "error[unreadable-listing]: the output of `dbt ls` for the selector `state:modified` can't be read"
    )


@pytest.mark.parametrize("is_variable", [False, True], ids=["option", "variable"])
@pytest.mark.parametrize("place", ["here", "project"])
def test_a_relative_state_folder_is_found_as_by_either_engine(place, is_variable, manifest, tmp_path, monkeypatch):
    manifest.model("orders")
    (manifest.root / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    (manifest.root / "profiles.yml").write_text("shop: {target: dev, outputs: {dev: {type: duckdb}}}")
    here = tmp_path / "elsewhere"
    for folder in (here, here / "prod" if place == "here" else manifest.root / "prod"):
        folder.mkdir()
    monkeypatch.chdir(here)
    program = tmp_path / "recording-dbt"
    program.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/arguments\necho \'{{"unique_id": "model.shop.orders"}}\'\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("DBT_STRIPE_SYNC_DBT", str(program))
    if is_variable:
        monkeypatch.setenv("DBT_STATE", "prod")
    chosen = Chosen(profiles_dir=manifest.root, state=None if is_variable else Path("prod"))
    asked = DbtLs(project=read_project(manifest.root, chosen), chosen=chosen, manifest=manifest.read())

    assert asked.selector("state:modified") == {"model.shop.orders"}

    found = here if place == "here" else manifest.root
    assert f"--state {found / 'prod'}" in (tmp_path / "arguments").read_text()
