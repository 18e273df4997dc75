"""A snapshot syncs its current rows: rows that dbt has closed count as removed."""

from __future__ import annotations

import json

import pytest
from live_project import new_project

from dbt_stripe_sync.dbt.nodes import ModelConfig
from dbt_stripe_sync.dbt.snapshots import current_rows

PEOPLE = """
select 1 as id, '{{ var('plan', 'basic') }}' as plan
{% if not var('without_two', false) %} union all select 2, 'pro' {% endif %}
"""
CONFIGS = {
    "invalidated": {"hard_deletes": "invalidate"},
    "marked": {"hard_deletes": "new_record"},
    "named": {
        "hard_deletes": "new_record",
        "snapshot_meta_column_names": {"dbt_valid_to": "ended_at", "dbt_is_deleted": "gone"},
    },
    "dated": {"hard_deletes": "invalidate", "dbt_valid_to_current": "cast('9999-12-31' as timestamp)"},
}


def write_project(project, config, **meta):
    sync = {"name": "people", "resource": "customer", "key": "id", "fields": {"metadata.plan": "plan"}}
    config = {
        "strategy": "check",
        "check_cols": ["plan"],
        "unique_key": "id",
        "meta": {"stripe_sync": sync | {"on_removed": "delete"} | meta},
    } | config
    snapshot = {"name": "people_history", "relation": "ref('people')", "config": config}
    project.file("models/people.sql", PEOPLE)
    project.file("models/schema.yml", json.dumps({"snapshots": [snapshot]}))


@pytest.mark.parametrize(
    ("config", "condition"),
    [
        (ModelConfig(), "dbt_valid_to IS NULL"),
        (ModelConfig(hard_deletes="invalidate"), "dbt_valid_to IS NULL"),
        (
            ModelConfig(hard_deletes="new_record"),
            "dbt_valid_to IS NULL AND (dbt_is_deleted IS NULL OR dbt_is_deleted <> 'True')",
        ),
        (ModelConfig(snapshot_meta_column_names={"dbt_valid_to": "ended_at"}), "ended_at IS NULL"),
        (ModelConfig(snapshot_meta_column_names={"dbt_valid_from": "began_at"}), "dbt_valid_to IS NULL"),
        (
            ModelConfig(dbt_valid_to_current="date '9999-12-31'", hard_deletes="ignore"),
            "(dbt_valid_to IS NULL OR dbt_valid_to = (date '9999-12-31'))",
        ),
    ],
)
def test_the_current_rows_are_selected_by_condition(config, condition):
    assert current_rows(config) == condition


def check_life_of_a_snapshot(project, config):
    write_project(project, config)
    project.dbt("build")
    first = project.cli("run", "--yes")
    project.dbt("build", "--vars", "{without_two: true}")
    second = project.cli("run", "--yes")
    project.dbt("build", "--vars", "{without_two: true, plan: team}")
    third = project.cli("run", "--yes")

    assert [ran.exit_code for ran in (first, second, third)] == [0, 0, 0], first.text + second.text + third.text
    (customer,) = project.stripe.objects("customer")
    assert customer["metadata"]["plan"] == "team"


@pytest.mark.long
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_row_that_the_snapshot_closed_is_removed(config, tmp_path, dbt_1, stripe):
    check_life_of_a_snapshot(new_project(tmp_path, dbt_1, stripe), config)


@pytest.mark.dbt2
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_row_that_the_snapshot_of_dbt_2_closed_is_removed(config, tmp_path, dbt_2, stripe):
    check_life_of_a_snapshot(new_project(tmp_path, dbt_2, stripe), config)


def check_history(project):
    write_project(project, {"hard_deletes": "ignore"}, key="dbt_scd_id", history=True)
    project.dbt("build")
    project.dbt("build", "--vars", "{plan: team}")

    ran = project.cli("run", "--yes")

    assert ran.exit_code == 0, ran.text
    assert sorted(customer["metadata"]["plan"] for customer in project.stripe.objects("customer")) == [
        "basic",
        "pro",
        "team",
    ]


@pytest.mark.long
def test_the_history_of_a_snapshot_is_synced_on_request(tmp_path, dbt_1, stripe):
    check_history(new_project(tmp_path, dbt_1, stripe))


@pytest.mark.dbt2
def test_the_history_of_a_snapshot_of_dbt_2_is_synced_on_request(tmp_path, dbt_2, stripe):
    check_history(new_project(tmp_path, dbt_2, stripe))
