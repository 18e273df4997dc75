"""A plan checks every documented rule that the sandbox enforces: a row that breaks one sends no request."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dbt_stripe_sync import Project, ProjectOptions, SyncError
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of, read_catalog
from dbt_stripe_sync.stripe_api.rules.catalog import rules_of
from dbt_stripe_sync.stripe_api.rules.lengths import DEFAULT
from dbt_stripe_sync.stripe_api.rules.rule import CREATE
from dbt_stripe_sync.stripe_api.rules.texts import MaxCharacters

sys.path.insert(0, str(Path(__file__).parent / "sandbox"))
from rule_examples import example_request

CATALOG = read_catalog()
SYNCED = [name for name in CATALOG.names() if lifecycle_of(name).refused is None]


def rules_to_foresee(resource):
    """All but the length that nearly every text has: a few thousand rows of one kind, which others represent."""
    return [
        rule
        for rule in rules_of(CATALOG.resources[resource], CREATE)
        if rule.source is not None and rule.check != MaxCharacters(DEFAULT)
    ]


class Columns:
    """The columns of a table with one row, as mappings of requests need them."""

    def __init__(self):
        self.types, self.values = ["id text"], ["row"]

    def mapping(self, value):
        if isinstance(value, dict):
            return {name: self.mapping(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.mapping(inner) for inner in value]
        kind = {bool: "boolean", int: "bigint"}.get(type(value), "text")
        name = f"c{len(self.types)}"
        self.types.append(f"{name} {kind}")
        self.values.append(value)
        return {"column": name}


def sync_of(resource, request, columns):
    operation = CATALOG.resources[resource].operations[CREATE]
    in_path = {name: {"value": "x_1"} for name in operation.path_params}
    fields = columns.mapping(request) | in_path
    return {"resource": resource, "key": "id", "fields": fields}


def one_of_each_kind():
    """For each kind of check a rule that has one, with its resource."""
    found = {type(rule.check): (name, rule) for name in SYNCED for rule in rules_to_foresee(name)}
    return list(found.values())


def test_a_plan_rejects_what_each_kind_of_rule_forbids_before_anything_is_sent(business):
    expect_foreseen(business, one_of_each_kind())


@pytest.mark.long
@pytest.mark.parametrize("resource", [name for name in SYNCED if rules_to_foresee(name)])
def test_a_plan_rejects_what_any_rule_forbids_before_anything_is_sent(business, resource):
    expect_foreseen(business, [(resource, rule) for rule in rules_to_foresee(resource)])


def expect_foreseen(business, rules):
    named = {f"rule_{index}": rule for index, rule in enumerate(rules)}
    columns = Columns()
    syncs = [
        {"name": name, **sync_of(resource, example_request(resource, CREATE, rule)[2], columns)}
        for name, (resource, rule) in named.items()
    ]
    business.rows("things", tuple(columns.values), columns=", ".join(columns.types))
    options = ProjectOptions(project_dir=business.root, profiles_dir=business.root, stripe_url=business.stripe.url)

    at_parse = problems_of_parse(business, syncs, options)
    left = [sync for sync in syncs if sync["name"] not in at_parse]
    tag(business, left)
    with Project(options).plan() as plan:
        sent = {change.sync for change in plan.changes}
        rejected = {problem.where.sync: problem for problem in plan.problems if problem.where.key is not None}

    assert not {name: named[name] for name in sent}
    assert rejected.keys() == {sync["name"] for sync in left}
    assert all(problem.where.field and problem.summary for problem in rejected.values())
    assert not business.stripe.writes()


def problems_of_parse(business, syncs, options):
    """What the check of the project already reports, by the name of the sync: no row can fix it."""
    tag(business, syncs)
    try:
        _ = Project(options).workload
    except SyncError as error:
        return {problem.where.sync: problem for problem in error.problems}
    return {}


def tag(business, syncs):
    business.models["things"]["meta"] = {"stripe_sync": syncs}
    business.write_manifest()
