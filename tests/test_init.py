"""`init` writes a valid first sync into the model's own YAML."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from business import ROOT, build_with_dbt, run_cli
from on_terminal import in_a_terminal
from ruamel.yaml import YAML

SCHEMA = """\
version: 2   # what dbt wants

models:
  # the people who pay
  - name: people
    description: "One row for each account"   # keep me
    columns:
    -   name: id          # oddly indented
        data_tests: [unique]

  - name: other
    config: {materialized: view}
"""
COLUMNS = "id int, full_name text, email text, city text, zip text, plan text, signed_up timestamp"


@pytest.fixture
def people(business):
    """A model with a schema.yml that nobody may spoil."""
    schema = business.root / "models" / "schema.yml"
    schema.parent.mkdir()
    schema.write_text(SCHEMA)
    business.rows("people", (1, "Ann", "a@example.com", "Bern", "3000", "solo", "2026-01-01"), columns=COLUMNS)
    return business


def tag(business, model, text):
    """What dbt would read from the YAML, in the manifest."""
    nodes = {node["name"]: node for node in YAML(typ="safe", pure=True).load(text)["models"]}
    business.sync(model, **nodes[model]["config"]["meta"]["stripe_sync"])


def test_columns_are_matched_by_name_and_the_sync_works_at_once(people):
    ran = people.cli("init", "people", "--resource", "customer")
    text = (people.root / "models" / "schema.yml").read_text()
    tag(people, "people", text)
    synced = people.cli()

    assert ran.exit_code == 0, ran.err
    for line in ("resource: customer", "key: id"):
        assert f"\n          {line}\n" in text
    for line in ("name: full_name", "email: email", "address.city: city"):
        assert f"\n            {line}\n" in text
    assert "address.postal_code: zip" in text
    assert "# metadata.plan: plan" in text
    assert "# match: [email" in text
    assert synced.exit_code == 0, synced.err
    (customer,) = people.stripe.objects("customer")
    assert (customer["name"], customer["email"], customer["address"]["postal_code"]) == ("Ann", "a@example.com", "3000")


def test_one_column_is_not_reported_as_several(people):
    ran = people.cli("init", "people", "--resource", "customer", "--field", "metadata.plan=plan")

    assert re.search(r"6 columns mapped, 1 left as a comment\.$", ran.out, flags=re.MULTILINE), ran.out


def test_every_existing_line_is_left_unchanged(people):
    people.cli("init", "people", "--resource", "customer")

    lines = (people.root / "models" / "schema.yml").read_text().splitlines()
    before = SCHEMA.splitlines()

    added = [line for line in lines if line not in before]
    assert [line for line in lines if line in before and line.strip()] == [line for line in before if line.strip()]
    assert "    config:" in added
    assert lines.index("    config:") == lines.index("  - name: people") + 1


def test_windows_line_ends_and_other_separators_are_left_unchanged(people):
    schema = people.root / "models" / "schema.yml"
    before = SCHEMA.replace("\n", "\r\n") + "# a\u2028# b\x85# c\r\n"
    schema.write_bytes(before.encode())

    assert people.cli("init", "people", "--resource", "customer").exit_code == 0

    after = schema.read_bytes().decode()
    assert "stripe_sync:\r\n" in after
    assert re.search(r"(?<!\r)\n", after) is None
    assert after.endswith("# a\u2028# b\x85# c\r\n")


def test_a_last_line_without_an_end_is_extended(people):
    schema = people.root / "models" / "schema.yml"
    schema.write_text("models:\n  - name: people")

    assert people.cli("init", "people", "--resource", "customer").exit_code == 0

    (node,) = YAML(typ="safe", pure=True).load(schema.read_text())["models"]
    assert node["config"]["meta"]["stripe_sync"]["resource"] == "customer"


def test_a_full_disk_leaves_the_file_as_it_was(people, monkeypatch):
    schema = people.root / "models" / "schema.yml"
    schema.chmod(0o640)

    def fail(file, _content):
        file.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", fail)
        ran = people.cli("init", "people", "--resource", "customer")

    assert ran.exit_code == 2
    assert "error[file-unusable]: the file can't be read or written: no space left on device" in ran.text
    assert schema.read_text() == SCHEMA
    assert sorted(file.name for file in schema.parent.iterdir()) == ["schema.yml"]
    assert people.cli("init", "people", "--resource", "customer").exit_code == 0
    assert schema.stat().st_mode & 0o777 == 0o640


def test_a_file_in_another_encoding_is_reported_and_left_alone(people):
    schema = people.root / "models" / "schema.yml"
    schema.write_bytes(SCHEMA.encode() + b"# caf\xe9\n")

    ran = people.cli("init", "people", "--resource", "customer")

    assert (ran.exit_code, "error[bad-yaml]: the file is not UTF-8 text" in ran.text) == (2, True), ran.text
    assert schema.read_bytes().endswith(b"# caf\xe9\n")


@pytest.mark.parametrize(
    "entry",
    [
        "  - name: people\n    config:\n      tags: [pay]\n",
        "  - name: people\n    config:\n      meta:\n        owner: ann   # who\n",
        "  - name: people\n    meta:\n      owner: ann\n",
        "  - description: no name first\n    name: people\n    columns: []\n",
    ],
)
def test_existing_config_and_meta_are_extended(people, entry):
    schema = people.root / "models" / "schema.yml"
    schema.write_text(f"models:\n{entry}")

    ran = people.cli("init", "people", "--resource", "customer")

    node = YAML(typ="safe", pure=True).load(schema.read_text())["models"][0]
    meta = node.get("meta") or node["config"]["meta"]
    assert ran.exit_code == 0, ran.err
    assert meta["stripe_sync"]["resource"] == "customer"
    assert set(entry.splitlines()) <= set(schema.read_text().splitlines())


def test_a_model_without_yaml_gets_a_file_of_its_own(people):
    (people.root / "models" / "schema.yml").unlink()
    manifest = people.root / "target" / "manifest.json"
    raw = json.loads(manifest.read_text())
    raw["nodes"]["model.shop.people"]["patch_path"] = None
    manifest.write_text(json.dumps(raw))

    ran = people.cli("init", "people", "--resource", "customer")
    text = (people.root / "models" / "people.yml").read_text()
    again = people.cli("init", "people", "--resource", "customer")

    assert ran.exit_code == 0, ran.err
    tag(people, "people", text)
    assert people.cli("parse").exit_code == 0
    assert again.exit_code == 2
    assert "error[already-synced]" in again.err
    assert [path.name for path in (people.root / "models").iterdir()] == ["people.yml"]
    assert (people.root / "models" / "people.yml").read_text() == text


def test_an_existing_sync_is_never_overwritten(people):
    people.cli("init", "people", "--resource", "customer")
    schema = people.root / "models" / "schema.yml"
    before = schema.read_text()

    unparsed = people.cli("init", "people", "--resource", "customer")
    tag(people, "people", before)
    parsed = people.cli("init", "people", "--resource", "product")

    assert unparsed.exit_code == parsed.exit_code == 2
    assert "error[already-synced]" in unparsed.err
    assert "error[already-synced]" in parsed.err
    assert schema.read_text() == before


def test_required_parameters_without_a_column_are_asked_for(people):
    schema = people.root / "models" / "schema.yml"

    asked = people.cli("init", "people", "--resource", "product", "--field", "description=plan", "--key", "plan")
    people.rows("plans", ("solo", "Solo"), columns="code text, label text")
    schema.write_text("models:\n  - name: plans\n")
    missing = people.cli("init", "plans", "--resource", "product", "--key", "code")
    named = people.cli("init", "plans", "--resource", "product", "--key", "code", "--field", "name=label")
    tag(people, "plans", schema.read_text())

    assert asked.exit_code == 0, asked.err
    assert missing.exit_code == 2
    assert "error[no-matching-column]: Stripe requires `name` to create a product" in missing.err
    assert "`--field name=COLUMN`" in missing.err
    assert named.exit_code == 0, named.err
    assert people.cli("parse").exit_code == 0


def test_money_goes_through_minor_units_and_references_through_their_sync(people):
    people.rows("products", ("solo", "Solo"), columns="code text, name text")
    people.sync("products", resource="product", key="code", fields={"name": "name"})
    people.rows(
        "prices", ("p1", "solo", "usd", "19.00"), columns="code text, product text, currency text, amount numeric(9,2)"
    )
    schema = people.root / "models" / "schema.yml"
    schema.write_text("models:\n  - name: prices\n")

    ran = people.cli("init", "prices", "--resource", "price", "--key", "code")
    tag(people, "prices", schema.read_text())
    synced = people.cli()

    assert ran.exit_code == 0, ran.err
    assert "product: {sync: products, key: product}" in ran.out
    assert synced.exit_code == 0, synced.err
    assert [p["unit_amount"] for p in people.stripe.objects("price")] == [1900]


@pytest.mark.parametrize(("column", "is_sure"), [("price", False), ("unit_amount", True)])
def test_integers_are_cents_only_if_the_column_has_stripes_name(people, column, is_sure):
    people.rows("prices", ("p1", "solo", "usd", 19), columns=f"code text, product text, currency text, {column} int")
    (people.root / "models" / "schema.yml").write_text("models:\n  - name: prices\n")

    ran = people.cli("init", "prices", "--resource", "price", "--key", "code")

    (line,) = [line for line in ran.out.splitlines() if "unit_amount:" in line]
    guess = f"# unit_amount: {column}  # is it in cents? Otherwise, convert it with `as: minor_units`"
    assert line.strip() == (f"unit_amount: {column}" if is_sure else guess)


def describe(business, model, *tests, constraints=()):
    """Data tests and constraints of a model in the manifest, as dbt 1.x writes them."""
    file = business.root / "target" / "manifest.json"
    raw = json.loads(file.read_text())
    unique_id = f"model.shop.{model}"
    raw["nodes"][unique_id]["constraints"] = list(constraints)
    for name, column in tests:
        raw["nodes"][f"test.shop.{name}_{model}_{column}"] = {
            "name": f"{name}_{model}_{column}",
            "resource_type": "test",
            "package_name": "shop",
            "attached_node": unique_id,
            "depends_on": {"nodes": [unique_id]},
            "config": {"severity": "ERROR"},
            "test_metadata": {"name": name, "kwargs": {"column_name": column, "model": "{{ x }}"}},
        }
    file.write_text(json.dumps(raw))


MEMBERS = "country_code text, email text, member_no int"


def test_the_key_comes_from_the_tests_and_not_from_a_name(people):
    people.rows("people", ("US", "a@example.com", 1), columns=MEMBERS)
    describe(people, "people", ("unique", "email"), ("unique", "member_no"), ("not_null", "member_no"))

    assert "key: member_no" in people.cli("init", "people", "--resource", "customer").out


def test_a_primary_key_comes_before_a_test(people):
    people.rows("people", ("US", "a@example.com", 1), columns=MEMBERS)
    primary = {"type": "primary_key", "columns": ["member_no", "country_code"]}
    describe(people, "people", ("unique", "email"), constraints=[primary])

    assert "key: [member_no, country_code]" in people.cli("init", "people", "--resource", "customer").out


def test_an_unknown_key_is_asked_for(people):
    people.rows("people", ("US", "a@example.com", 1), columns=MEMBERS)

    ran = people.cli("init", "people", "--resource", "customer")

    assert ran.exit_code == 2
    assert "error[no-row-key]: nothing says which column identifies a row of `people`" in ran.err
    assert "`--key COLUMN`" in ran.err


def test_a_reference_is_proposed_by_the_key_of_the_other_sync_and_what_is_missing_is_left_as_a_comment(people):
    people.rows("people", ("US", "a@example.com", 1), columns=MEMBERS)
    people.sync("people", resource="customer", key="member_no", fields={"email": "email"})
    people.rows("contracts", ("C-1", 1), columns="contract_id text, member_no int")
    (people.root / "models" / "schema.yml").write_text("models:\n  - name: contracts\n")

    ran = people.cli("init", "contracts", "--resource", "subscription")

    assert ran.exit_code == 0, ran.err
    assert "key: contract_id" in ran.out
    assert "customer: {sync: people, key: member_no}" in ran.out
    assert '# items: {model: MODEL_OF_ITEMS, "on": contract_id, fields: {…}}  # Stripe requires `items`' in ran.out


def test_a_column_that_may_hold_country_names_is_left_as_a_comment_with_the_reason(people):
    people.rows("people", (1, "Ann", "Germany"), columns="id int, full_name text, country text")
    left = people.cli("init", "people", "--resource", "customer").out
    (people.root / "models" / "schema.yml").write_text(SCHEMA)
    people.rows("people", (1, "Germany", "DE"), columns="id int, country text, country_iso text")
    sure = people.cli("init", "people", "--resource", "customer").out

    assert "# address.country: country  # may hold names; Stripe expects two-letter codes" in left
    assert "\n    address.country: country\n" not in left
    assert "    address.country: country_iso\n" in sure
    assert "# metadata.country: country\n" in sure


def test_another_models_id_is_not_a_key_by_its_name_alone(people):
    people.rows("people", ("E-1", 1, "f1"), columns="enrolment text, seat int, fee_id text")

    assert "error[no-row-key]" in people.cli("init", "people", "--resource", "customer").err


def test_first_and_last_name_become_a_template(people):
    people.rows("people", (1, "Ann", "Ames"), columns="id int, first_name text, surname text")

    ran = people.cli("init", "people", "--resource", "customer")
    tag(people, "people", (people.root / "models" / "schema.yml").read_text())
    people.cli()

    assert "3 columns mapped." in ran.out
    assert [customer["name"] for customer in people.stripe.objects("customer")] == ["Ann Ames"]


def test_an_ambiguous_reference_is_left_open(people):
    people.rows("people", (1, "a@example.com"), columns="person int, email text")
    people.rows("firms", (1, "b@example.com"), columns="person int, email text")
    people.sync("people", resource="customer", key="person", fields={"email": "email"})
    people.sync("firms", resource="customer", key="person", fields={"email": "email"})
    people.rows("contracts", ("C-1", 1), columns="contract_id text, person int")
    (people.root / "models" / "schema.yml").write_text("models:\n  - name: contracts\n")

    out = people.cli("init", "contracts", "--resource", "subscription").out

    assert re.search(r"# customer: \{sync: \w+, key: person\}  # or the sync `\w+`", out), out


def test_a_relationships_test_leads_to_the_sync_whatever_the_column_is_called(people):
    people.rows("people", (1, "a@example.com"), columns="id int, email text")
    people.sync("people", resource="customer", key="id", fields={"email": "email"})
    people.rows("contracts", ("C-1", 1), columns="contract_id text, payer int")
    (people.root / "models" / "schema.yml").write_text("models:\n  - name: contracts\n")
    describe(people, "contracts", ("relationships", "payer"))
    file = people.root / "target" / "manifest.json"
    raw = json.loads(file.read_text())
    test = raw["nodes"]["test.shop.relationships_contracts_payer"]
    test["depends_on"]["nodes"] = ["model.shop.people", "model.shop.contracts"]
    test["test_metadata"]["kwargs"] |= {"to": "ref('people')", "field": "id"}
    file.write_text(json.dumps(raw))

    out = people.cli("init", "contracts", "--resource", "subscription").out

    assert "    customer: {sync: people, key: payer}\n" in out


def test_on_a_terminal_init_asks_for_the_key(people):
    people.rows("people", ("US", "a@example.com", 1), columns=MEMBERS)

    said, code = in_a_terminal(people, ["init", "people", "--resource", "customer"], answers=["member_no"])

    assert "Which column identifies a row?" in said
    assert code == 0, said
    assert "key: member_no" in said


@pytest.mark.parametrize(
    ("resource", "fields", "words"),
    [
        ("subscription", {"metadata.id": "id"}, "requires `customer` or `customer_account` to create a subscription"),
        ("subscription", {"customer": "id"}, "requires `items` to create a subscription"),
        ("coupon", {"name": "id"}, "requires `percent_off` or `amount_off` to create a coupon"),
        ("price", {"currency": "id", "product": "id"}, "requires `unit_amount` or `unit_amount_decimal`"),
    ],
)
def test_parse_reports_missing_parameters_that_are_required_in_combination(people, resource, fields, words):
    people.sync("people", resource=resource, key="id", fields=fields)

    ran = people.cli("parse")

    assert ran.exit_code == 2
    assert words in ran.text


def test_a_negative_quantity_is_rejected_before_anything_is_sent(people):
    people.rows("people", ("s1", "cus_1", "price_1", -1), columns="id text, customer text, price text, seats int")
    items = [{"price": "price", "quantity": "seats"}]
    people.sync("people", resource="subscription", key="id", fields={"customer": "customer", "items": items})

    ran = people.cli("plan")

    assert ran.exit_code == 1
    assert "quantity` must be at least 0" in ran.text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nobody", "--resource", "customer"], "unknown-model"),
        (["people", "--resource", "custommer"], "unknown-resource"),
        (["people", "--resource", "payment_intent"], "refused-resource"),
        (["people", "--resource", "customer", "--key", "ID2"], "unknown-column"),
        (["people", "--resource", "customer", "--field", "emial=email"], "unknown-parameter"),
        (["other", "--resource", "customer"], "flow-yaml"),
    ],
)
def test_an_invalid_request_is_reported_and_nothing_is_written(people, arguments, code):
    people.table("other", "SELECT * FROM people")

    ran = people.cli("init", *arguments)

    assert ran.exit_code == 2
    assert f"error[{code}]" in ran.err
    assert (people.root / "models" / "schema.yml").read_text() == SCHEMA


@pytest.mark.slow
def test_the_output_of_init_passes_dbt_parse_and_parse(sample, dbt_1):
    for untagged in ("models/stripe/schema.yml",):
        (sample / untagged).unlink()
    for file in Path(sample / "models").rglob("*.yml"):
        file.unlink()
    (sample / "models" / "stripe" / "schema.yml").write_text("version: 2\nmodels:\n  - name: stripe_customers\n")
    build_with_dbt(dbt_1, sample, "duckdb", {"PYTHONPATH": str(ROOT)})
    options = ["--project-dir", str(sample), "--profiles-dir", str(sample), "--target", "duckdb"]
    before = Path.cwd()
    os.chdir(sample)
    try:
        tagged = run_cli("init", "stripe_customers", "--resource", "customer", "--key", "account_id", *options)
        alone = run_cli(
            "init",
            "stripe_products",
            "--resource",
            "product",
            "--key",
            "plan_code",
            "--field",
            "name=plan_name",
            *options,
        )
        parsed = subprocess.run(
            [str(dbt_1), "parse", *options],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        ours = run_cli("parse", *options)
    finally:
        os.chdir(before)

    assert tagged.exit_code == alone.exit_code == 0, tagged.err + alone.err
    assert parsed.returncode == 0, parsed.stdout
    assert ours.exit_code == 0, ours.err
    assert "2 syncs are well formed" in ours.out
