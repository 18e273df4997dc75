"""Objects that others changed, deleted or ended in Stripe are found when they are read back."""

from __future__ import annotations

import pytest
from business import by_hand

CUSTOMER = {"resource": "customer", "key": "id", "fields": {"email": "email", "name": "name", "metadata.plan": "plan"}}
COLUMNS = "id int, email text, name text, plan text"
ANN, BOB = (1, "a@example.com", "Ann", "team"), (2, "b@example.com", "Bob", "solo")


@pytest.fixture
def people(business):
    """Writes customers, and gives them another mapping or other rows where a test says so."""

    def write(*rows, **meta):
        business.rows("people", *rows, columns=COLUMNS)
        business.sync("people", **CUSTOMER, **meta)

    write(ANN, BOB)
    ran = business.cli()
    assert ran.exit_code == 0, ran.text
    business.write_calls()
    return write


def customers(business):
    return {found["name"]: found for found in business.stripe.objects("customer")}


def writes(business):
    return business.write_calls()


def reads(business):
    lines = [f"{line.method} {line.path}" for line in business.stripe.requests() if line.method == "GET"]
    business.stripe.reset_requests()
    return lines


# ── edited ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("people")
def test_an_edited_field_is_reported_with_both_values(business):
    ann = customers(business)["Ann"]
    by_hand(business, f"customers/{ann['id']}", name="Anna", **{"metadata[plan]": "gold"})

    ran = business.cli("plan", "--refresh", "--show-values")

    assert ran.exit_code == 1
    assert "Ann -> Anna" in ran.text
    assert "team -> gold" in ran.text
    assert "1 drifted" in ran.text
    assert "b@example.com" not in ran.text


@pytest.mark.usefixtures("people")
def test_the_message_has_fields_and_no_values(business):
    ann = customers(business)["Ann"]
    by_hand(business, f"customers/{ann['id']}", name="Anna")

    ran = business.cli("plan", "--refresh")

    assert ran.exit_code == 1
    assert "`name` was changed in Stripe" in ran.text
    assert "Anna" not in ran.text


@pytest.mark.usefixtures("people")
def test_drift_is_reported_by_every_run_until_it_is_resolved(business):
    ann = customers(business)["Ann"]
    by_hand(business, f"customers/{ann['id']}", name="Anna")
    business.cli("run", "--refresh")

    again = business.cli()
    by_hand(business, f"customers/{ann['id']}", name="Ann")
    writes(business)
    settled = business.cli()

    assert again.exit_code == 1
    assert "`name` was changed in Stripe" in again.text
    assert settled.exit_code == 0, settled.text
    assert business.cli().exit_code == 0
    assert writes(business) == []


def test_overwrite_restores_the_rows_values_and_shows_the_others_first(business, people):
    people(ANN, BOB, on_drift="overwrite")
    ann = customers(business)["Ann"]
    by_hand(business, f"customers/{ann['id']}", name="Anna", phone="1")

    ran = business.cli("plan", "--refresh", "--show-values")
    done = business.cli("run", "--refresh")

    assert "Anna -> Ann" in ran.text
    assert done.exit_code == 0, done.text
    assert customers(business)["Ann"]["phone"] == "1"
    assert business.cli("plan", "--refresh").exit_code == 0


def test_keep_leaves_the_edit_and_reports_it_once(business, people):
    people(ANN, BOB, on_drift="keep")
    ann = customers(business)["Ann"]
    by_hand(business, f"customers/{ann['id']}", name="Anna")
    writes(business)

    first = business.cli("run", "--refresh")
    second = business.cli("run", "--refresh")
    by_hand(business, f"customers/{ann['id']}", name="Annabel")
    third = business.cli("run", "--refresh")

    assert [first.exit_code, second.exit_code, third.exit_code] == [0, 0, 0], first.text
    assert "on_drift: keep" in first.text
    assert "on_drift: keep" not in second.text
    assert "on_drift: keep" in third.text
    assert writes(business) == [f"POST /v1/customers/{ann['id']}"]


@pytest.mark.parametrize("on_drift", ["report", "keep"])
def test_a_row_with_drift_still_sends_changes_to_other_fields(business, people, on_drift):
    ann = customers(business)["Ann"]
    by_hand(business, f"customers/{ann['id']}", name="Anna")
    people((1, "new@example.com", "Ann", "team"), BOB, on_drift=on_drift)

    ran = business.cli("run", "--refresh")

    assert ran.exit_code == (1 if on_drift == "report" else 0)
    assert customers(business)["Anna"]["email"] == "new@example.com"


def test_a_row_that_changes_what_others_changed_waits_if_drift_is_reported(business, people):
    ann = customers(business)["Ann"]
    by_hand(business, f"customers/{ann['id']}", name="Anna")
    people((1, "a@example.com", "Annette", "team"), BOB)
    writes(business)

    ran = business.cli("run", "--refresh")

    assert ran.exit_code == 1
    assert "the row's own change waits" in ran.text
    assert writes(business) == []


def test_a_row_that_matches_what_others_changed_has_no_drift(business, people):
    ann = customers(business)["Ann"]
    by_hand(business, f"customers/{ann['id']}", name="Anna")
    people((1, "a@example.com", "Anna", "team"), BOB)
    writes(business)

    assert business.cli("run", "--refresh").exit_code == 0
    assert writes(business) == []
    assert business.cli("plan", "--refresh").exit_code == 0


@pytest.mark.usefixtures("people")
def test_a_field_that_was_never_set_does_not_count_as_drift(business):
    ann = customers(business)["Ann"]
    by_hand(business, f"customers/{ann['id']}", phone="123", description="vip", **{"metadata[crm]": "x"})

    ran = business.cli("plan", "--refresh")

    assert ran.exit_code == 0, ran.text
    assert "Nothing to change" in ran.text


def test_drift_is_found_if_the_state_stores_only_hashes(business):
    business.rows("people", ANN, BOB, columns=COLUMNS)
    business.sync("people", **CUSTOMER, store_values=False)
    business.cli()
    ann = customers(business)["Ann"]
    assert business.cli("plan", "--refresh").exit_code == 0
    by_hand(business, f"customers/{ann['id']}", name="Anna")

    ran = business.cli("run", "--refresh")
    shown = business.cli("plan", "--show-values")

    assert ran.exit_code == 1
    assert "Ann -> Anna" in shown.text
    assert b"Anna" not in business.state.read_bytes()


# ── deleted ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("people")
def test_a_deleted_object_is_rejected_until_its_sync_says_more(business):
    ann = customers(business)["Ann"]
    by_hand(business, f"customers/{ann['id']}", method="DELETE")
    writes(business)

    first = business.cli("run", "--refresh")
    second = business.cli()

    assert [first.exit_code, second.exit_code] == [1, 1]
    assert f"{ann['id']} was deleted in Stripe" in second.text
    assert writes(business) == []


def test_a_deleted_object_is_created_again_if_its_sync_says_so(business, people):
    people(ANN, BOB, on_deleted="recreate")
    ann = customers(business)["Ann"]
    by_hand(business, f"customers/{ann['id']}", method="DELETE")
    writes(business)

    ran = business.cli("run", "--refresh")

    assert ran.exit_code == 0, ran.text
    assert writes(business) == ["POST /v1/customers"]
    assert customers(business)["Ann"]["id"] != ann["id"]
    assert business.cli("plan", "--refresh").exit_code == 0


def test_a_deleted_object_is_forgotten_if_its_sync_says_so(business, people):
    people(ANN, BOB, on_deleted="forget")
    by_hand(business, f"customers/{customers(business)['Ann']['id']}", method="DELETE")
    writes(business)

    assert business.cli("run", "--refresh").exit_code == 0
    assert business.cli().exit_code == 0
    assert writes(business) == []


def test_on_deleted_also_applies_to_an_object_that_an_ordinary_run_finds_deleted(business, people):
    by_hand(business, f"customers/{customers(business)['Ann']['id']}", method="DELETE")
    changed = (1, "new@example.com", "Ann", "team")
    people(changed, BOB)
    first = business.cli()
    people(changed, BOB, on_deleted="recreate")

    second = business.cli()

    assert [first.exit_code, second.exit_code] == [1, 0], second.text
    assert customers(business)["Ann"]["email"] == "new@example.com"


def test_a_removed_row_whose_object_was_deleted_needs_no_call(business, people):
    by_hand(business, f"customers/{customers(business)['Ann']['id']}", method="DELETE")
    people(BOB, on_removed="delete", limits={"max_removed": 5})
    business.cli("run", "--refresh")
    writes(business)

    assert business.cli().exit_code == 0
    assert writes(business) == []
