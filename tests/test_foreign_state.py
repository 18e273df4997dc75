"""A state belongs to one project, one account and one mode. With any other, nothing is read, sent or reset."""

from __future__ import annotations

import json

import pytest


def with_a_key_of_another_account(_business, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_acct_other_0000")


def with_a_live_key(business, monkeypatch):
    business.set(live_targets=["dev"])
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_sandbox000000000000")


def in_another_project(business, _monkeypatch):
    file = business.root / "dbt_project.yml"
    file.write_text(json.dumps({**json.loads(file.read_text()), "name": "store"}))


CASES = [
    (with_a_key_of_another_account, "state-other-account", ("acct_sandbox", "acct_other")),
    (with_a_live_key, "state-other-mode", ("test", "live")),
    (in_another_project, "state-other-project", ("shop", "store")),
]


@pytest.mark.parametrize("command", [("run", "--yes"), ("plan",), ("state", "rebuild")], ids=" ".join)
@pytest.mark.parametrize(("change", "code", "names"), CASES, ids=[change.__name__ for change, _, _ in CASES])
def test_another_projects_state_is_rejected_and_left_unchanged(customers, monkeypatch, change, code, names, command):
    assert customers.cli().exit_code == 0
    before = customers.state.read_bytes()
    customers.write_calls()
    change(customers, monkeypatch)

    ran = customers.cli(*command)

    assert ran.exit_code == 2
    assert f"error[{code}]" in ran.err
    assert all(f"`{name}`" in ran.err for name in names)
    assert "hint: " in ran.err
    assert customers.write_calls() == []
    assert customers.state.read_bytes() == before
