"""Meta of a versioned model means its latest version, and messages say which version they mean."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

BLOCK = "{resource: customer, key: id, fields: {email: email}}"


@pytest.fixture
def versions(project):
    """Three versions of `people`, of which the second is the latest, each with the meta that is given."""

    def make(*blocks):
        for number, block in enumerate(blocks, start=1):
            project.add("people", block)
            node = project.nodes.pop("model.shop.people")
            version = replace(
                node, unique_id=f"model.shop.people.v{number}", version=str(number), latest_version="2", columns={}
            )
            project.nodes[version.unique_id] = version
        return project

    return make


def test_unversioned_meta_applies_to_the_latest_version(versions):
    project = versions(BLOCK, BLOCK, BLOCK)

    assert project.sync().model.unique_id == "model.shop.people.v2"


def test_a_versions_own_meta_applies_to_that_version(versions):
    project = versions(BLOCK, "null", "null")

    assert project.sync().model.label == "people (v=1)"


def test_two_versions_can_be_synced_under_two_names(versions):
    project = versions(BLOCK, "{name: people_2, resource: customer, key: id, fields: {email: email}}")

    assert [sync.name for sync in project.parse().syncs] == ["people", "people_2"]
    assert project.problems() == []


def test_two_versions_under_one_name_are_distinguished_in_the_message(versions):
    project = versions(BLOCK, "{resource: customer, key: id, fields: {name: name}}")

    (problem,) = project.problems()
    assert problem == (
        "error[duplicate-sync]: the model `people (v=1)` already has a sync named `people`\n"
        "  at models/schema.yml: people (v=2).meta.stripe_sync\n\n"
        "hint: keep the block of only one version, below `versions: - v: 2: config: meta:`, or give one of them "
        "another `name:`"
    )


@pytest.mark.parametrize(("named", "unique_id"), [("people", "v2"), ("people.v1", "v1"), ("shop.people.v3", "v3")])
def test_child_rows_come_from_the_version_that_is_named(versions, named, unique_id):
    project = versions("null", "null", "null")
    items = f"{{model: {named}, on: sub_id, fields: {{price: price_id}}}}"
    project.add("subs", f"{{resource: subscription, key: id, fields: {{customer: c, items: {items}}}}}")

    (items,) = (field.value for field in project.sync().fields if field.path == ("items",))
    assert items.model.unique_id == f"model.shop.people.{unique_id}"


def test_models_of_one_name_in_two_packages_are_distinguished_in_the_message(project):
    project.add("people", BLOCK)
    node = project.nodes["model.shop.people"]
    project.nodes["model.crm.people"] = replace(
        node, unique_id="model.crm.people", package="crm", file="crm://models/schema.yml"
    )

    (problem,) = project.problems()
    assert problem.startswith(
        "error[duplicate-sync]: the model `people` in `models/schema.yml` already has a sync named `people`\n"
        "  at crm://models/schema.yml: people.meta.stripe_sync\n"
    )
