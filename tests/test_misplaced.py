"""`stripe_sync` in a place where it is ignored is reported, with the right place for it."""

from __future__ import annotations

import json

import pytest

SYNC = {"stripe_sync": {"resource": "customer", "key": "id", "fields": {"email": "email"}}}
NODE = {"name": "other", "package_name": "shop", "original_file_path": "models/schema.yml"}


def add(business, part, **node):
    file = business.root / "target" / "manifest.json"
    raw = json.loads(file.read_text())
    kind = node["resource_type"]
    entry = NODE | node
    raw.setdefault(part, {})[f"{kind}.shop.other"] = [entry] if part == "disabled" else entry
    file.write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("part", "node", "said"),
    [
        (
            "sources",
            {"resource_type": "source", "config": {"meta": SYNC}},
            "`other` is a source, and only models, seeds and snapshots are synced",
        ),
        ("nodes", {"resource_type": "test", "meta": SYNC}, "`other` is a test, and only models, seeds and snapshots"),
        ("exposures", {"resource_type": "exposure", "meta": SYNC}, "`other` is an exposure, and only models, seeds"),
        (
            "disabled",
            {"resource_type": "model", "config": {"meta": SYNC}},
            "the model `other` is disabled, so it is not synced",
        ),
        (
            "nodes",
            {"resource_type": "model", "config": SYNC},
            "`stripe_sync` of `other` is next to `meta`, not inside it",
        ),
    ],
)
def test_a_misplaced_sync_is_reported(customers, part, node, said):
    add(customers, part, **node)

    ran = customers.cli("ls")

    assert ran.exit_code == 0, ran.text
    assert f"warning[misplaced-sync]: {said}" in ran.text


def test_a_disabled_sync_of_a_disabled_model_is_not_reported(customers):
    meta = {"stripe_sync": SYNC["stripe_sync"] | {"enabled": False}}
    add(customers, "disabled", resource_type="model", config={"meta": meta})

    assert "misplaced" not in customers.cli("ls").text


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("models:\n  - name: customers\n    stripe_sync:\n      resource: customer\n", "is below `models`"),
        ("models:\n  - name: customers\n    config:\n      stripe_sync:\n", "is below `config`"),
        (
            "models:\n  - name: customrs\n    config:\n      meta:\n        stripe_sync:\n",
            "`customrs` has a sync here, but dbt has no model of that name",
        ),
        ("models: [{name: customers, stripe_sync: {resource: customer}}]\n", "is below `models`"),
        ('models:\n- "name": customrs\n  "config": {"meta": {"stripe_sync": {}}}\n', "`customrs` has a sync here"),
        (
            "snapshots:\n- name: customers\n  columns:\n  - {name: id, stripe_sync: {a: b}}\n",
            "is below `columns`",
        ),
        ("macros: [{name: cents, config: {meta: {stripe_sync: {}}}}]\n", "`cents` is a macro, and only models, seeds"),
        ("groups: [{name: money, config: {meta: {stripe_sync: {}}}}]\n", "`money` is a group, and only models, seeds"),
        (
            "x: &x {stripe_sync: {resource: customer}}\nmodels:\n- {name: customers, config: {<<: *x}}\n",
            "is below `config`",
        ),
    ],
)
def test_a_sync_that_dbt_drops_is_reported_by_parse(customers, yaml, said):
    models = customers.root / "models"
    models.mkdir()
    (models / "schema.yml").write_text(yaml)

    ran = customers.cli("parse")

    assert "warning[unread-sync]: " in ran.text
    assert said in ran.text
    assert "models/schema.yml, line " in ran.text


@pytest.mark.parametrize(
    "yaml",
    [
        "models:\n  - name: customers\n    config:\n      meta:\n        stripe_sync:\n          resource: customer\n",
        "models:\n  - name: customers\n    meta:\n      stripe_sync:\n",
        "models:\n  - name: customers\n    columns:\n      - name: id\n        meta:\n          stripe_sync: {a: b}\n",
        "models:\n  - name: customers\n    versions:\n    - v: 2\n      config:\n       meta:\n        stripe_sync:\n",
        "models: [{name: customers, config: {meta: {stripe_sync: {resource: customer}}}}]\n",
        "models:\n  - &m {name: customers, config: *m}\n# stripe_sync\n",
        "models: [{name: {{ stripe_sync: }}\n",
        "# stripe_sync: a word in a comment\nmodels:\n  - name: customers\n    description: stripe_sync\n",
    ],
)
def test_a_correctly_placed_sync_is_not_reported(customers, yaml):
    models = customers.root / "models"
    models.mkdir()
    (models / "schema.yml").write_text(yaml)

    assert "unread-sync" not in customers.cli("parse").text


def test_show_locates_a_missing_column_mapped_by_its_own_meta(customers):
    file = customers.root / "target" / "manifest.json"
    raw = json.loads(file.read_text())
    columns = {"phone": {"name": "phone", "meta": {"stripe_field": "phone"}}}
    raw["nodes"]["model.shop.customers"]["columns"] = columns
    file.write_text(json.dumps(raw))

    ran = customers.cli("show", "customers")

    assert ran.exit_code == 2
    assert "error[unknown-column]: sync `customers` reads column `phone`, which `customers` lacks" in ran.text
    assert "at models/schema.yml: customers.columns.phone.meta" in ran.text
