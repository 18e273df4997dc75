"""`undo` with a state on an object store: any machine can reverse a run, and each sees the result."""

from __future__ import annotations

import json
import shutil


def forget(shop):
    """The runner is gone, and what was on its disk with it."""
    shutil.rmtree(shop.root / ".stripe_sync")


def last_run(shop):
    return json.loads(shop.cli("runs", "--output", "json", "--limit", "1").out.splitlines()[0])["run"]


def change_two_and_add_one(shop):
    """A run that changes, adds and removes customers; its id."""
    assert shop.cli().exit_code == 0
    shop.rows("customers", (1, "x@example.com"), (3, "c@example.com"), columns="id int, email text")
    assert shop.cli().exit_code == 0
    return last_run(shop)


def emails(stripe):
    return sorted(body["email"] for body in stripe.objects("customer"))


def test_another_machine_undoes_a_run(shop, stripe):
    changed = change_two_and_add_one(shop)
    assert emails(stripe) == ["b@example.com", "c@example.com", "x@example.com"]
    forget(shop)

    ran = shop.cli("undo", changed, "--yes")

    assert ran.exit_code == 0, ran.text
    assert emails(stripe) == ["a@example.com", "b@example.com"]
    assert sorted((change["action"], change["key"]) for change in shop.plan()) == [("create", "3"), ("update", "1")]


def test_a_run_undone_on_one_machine_is_not_undone_again_on_another(shop, stripe):
    changed = change_two_and_add_one(shop)
    shop.cli("undo", changed, "--yes")
    forget(shop)
    stripe.reset_requests()

    ran = shop.cli("undo", changed, "--yes")

    assert ran.exit_code == 0, ran.text
    assert stripe.writes() == []
    assert "undo" in shop.cli("runs").out


def test_a_saved_undo_is_applied_by_another_machine(shop, stripe, tmp_path):
    changed = change_two_and_add_one(shop)
    plan = tmp_path / "undo.plan"
    assert shop.cli("undo", changed, "--out", str(plan)).exit_code == 0
    forget(shop)

    ran = shop.cli("apply", str(plan))

    assert ran.exit_code == 0, ran.text
    assert emails(stripe) == ["a@example.com", "b@example.com"]


def test_previewing_an_undo_writes_nothing_to_the_store(shop, objects):
    changed = change_two_and_add_one(shop)
    before = {meta["path"]: meta["e_tag"] for batch in objects.list() for meta in batch}
    forget(shop)

    ran = shop.cli("undo", changed)

    assert ran.exit_code == 0, ran.text
    after = {meta["path"]: meta["e_tag"] for batch in objects.list() for meta in batch}
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {"lease.json", ".lock"}
