"""Every mistake in a project's YAML is reported in one pass, with its location and a hint."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CASES = yaml.safe_load((HERE / "problem_texts.yml").read_text())
DOCUMENTED = ROOT / "docs" / "problems.md"
CODE = re.compile(r"[a-z]+(?:-[a-z]+)+")


def code_in(text):
    return text.partition("[")[2].partition("]")[0]


def code_of(case):
    return code_in(case["text"])


def add(project, models):
    for name, written in models.items():
        options = {word: written[word] for word in ("columns", "raw_meta") if word in written}
        project.add(name, written.get("stripe_sync", "null"), **options)
        project.nodes[f"model.shop.{name}"].meta.update(written.get("meta", {}))


@pytest.mark.parametrize("case", CASES, ids=[f"{index}-{code_of(case)}" for index, case in enumerate(CASES)])
def test_a_mistake_is_explained_in_full(project, case):
    add(project, case["models"])

    assert project.problems() == [case["text"].rstrip("\n")]


def test_every_mistake_of_a_project_is_reported_at_once(project):
    for index, case in enumerate(CASES):
        add(project, {f"m{index}_{name}": written for name, written in case["models"].items()})

    expected = Counter(map(code_of, CASES))
    # The syncs and models that a case names have other names here.
    expected.subtract({"reference-key": 1, "reference-cycle": 1})
    expected.update({"unknown-sync": 3, "unknown-model": 2})
    assert Counter(code_in(text) for text in project.problems()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "resource: sk_live_51abcdefghijk\nkey: id\nfields: {email: email}",
        "resource: customer\nkey: id\nfields: {email: {value: x, sk_live_51abcdefghijk: y}}",
        "resource: customer\nkey: id\nmode: rk_test_51abcdefghijk\nfields: {email: email}",
        "resource: customer\nkey: id\nname: whsec_abcdefghijk\nfields: {sk_test_51abcdefghijk: email}",
        "resource: customer\nkey: id\nfields: {email: {column: email, as: sk_live_51abcdefghijk}}",
        "sk_live_51abcdefghijk",
    ],
)
def test_a_secret_in_yaml_is_never_shown(project, text):
    project.add("customers", text)

    problems = "\n".join(project.problems())

    assert "abcdefghijk" not in problems
    assert "secret-in-meta" in problems


def codes_in(path):
    """The codes that a module gives to problems: the first text of the calls that make one."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            named = [word.value for word in node.keywords if word.arg == "code"]
            first = node.args[:1] if name in {"add", "BadValueError", "MoneyError", "_problem"} else []
            for value in (*named, *first):
                if isinstance(value, ast.Constant) and isinstance(value.value, str) and CODE.fullmatch(value.value):
                    yield value.value


def test_every_code_is_documented():
    documented = re.findall(r"^\| `([a-z-]+)` \|", DOCUMENTED.read_text(), re.MULTILINE)
    used = {code for path in (ROOT / "dbt_stripe_sync").rglob("*.py") for code in codes_in(path)}

    assert used <= set(documented), f"docs/problems.md lacks {sorted(used - set(documented))}"
    assert len(documented) == len(set(documented))


def test_the_codes_of_each_table_are_in_alphabetical_order():
    tables = [re.findall(r"^\| `([a-z-]+)` \|", part, re.MULTILINE) for part in DOCUMENTED.read_text().split("\n## ")]

    assert len([table for table in tables if table]) > 5
    assert tables == [sorted(table) for table in tables]


def test_every_code_of_the_configuration_is_shown_in_full():
    used = {code for path in (ROOT / "dbt_stripe_sync" / "config").rglob("*.py") for code in codes_in(path)}
    # test_columns.py, test_settings.py and test_salt.py show these
    elsewhere = {"unknown-column", "unknown-setting", "bad-setting", "short-salt"}

    assert used - elsewhere <= {code_of(case) for case in CASES}
