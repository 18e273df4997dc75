"""`target/stripe_sync_results.json`."""

from __future__ import annotations

import json
import stat

import pytest
from made import email_failure, make_change, make_counts, make_outcome, make_report, row_problem

from dbt_stripe_sync.model.change import Action, PlannedCall, Ref
from dbt_stripe_sync.model.run import RunStatus, Status
from dbt_stripe_sync.report.run_json import build_results, write_results


def test_the_document_has_the_result_of_every_change(tmp_path):
    outcomes = [
        make_outcome(make_change("1", Action.CREATE, changed={"email": (None, "a@x.com")}), stripe_id="cus_new"),
        make_outcome(
            make_change("2"), Status.REJECTED, failure=email_failure(message="Invalid email address: a@x.com")
        ),
    ]
    report = make_report(outcomes, [make_counts(rows=2)], [row_problem("3")], RunStatus.PARTIAL, requests=5)
    path = tmp_path / "target" / "stripe_sync_results.json"

    write_results(report, path)
    document = json.loads(path.read_text())

    assert document["metadata"].pop("generated_at").endswith("Z")
    assert document["metadata"] == {
        "schema_version": 1,
        "dbt_stripe_sync_version": "0.1.0",
        "run_id": "20260301T120000-abc123",
        "project": "shop",
        "target": "dev",
        "account": "acct_1AbCdEfGhIjKlMn0",
        "livemode": False,
        "api_version": "2026-10-28.endive",
        "plan_id": "p1",
    }
    assert document["status"] == "partial"
    assert document["elapsed_time"] == 1.4
    assert document["requests"] == 5
    assert document["totals"] == {"succeeded": 1, "rejected": 1, "unknown": 0, "skipped": 0}
    assert document["problems"][0]["code"] == "too-long"
    assert document["results"][0] == {
        "sync": "customers",
        "key": "1",
        "action": "create",
        "resource": "customer",
        "status": "succeeded",
        "stripe_id": "cus_new",
        "request_id": "req_1",
        "attempts": 1,
        "finished_at": "2026-03-01T12:00:01.000000Z",
        "fields": ["email"],
        "reason": None,
        "failure": None,
    }
    failure = document["results"][1]["failure"]
    assert failure["code"] == "email_invalid"
    assert failure["meaning"] == "the email address is not valid"
    assert failure["hint"].startswith("fix it in the model")


def test_no_value_of_a_row_is_written_unless_requested(tmp_path):
    call = PlannedCall(operation="create", target=None, params={"name": "Zoë Quux", "card": {"number": "4242"}})
    change = make_change("1", Action.CREATE, changed={"name": (None, "Zoë Quux")}, calls=(call,))
    failure = email_failure(message="No good: zoë quux (mail zoe@example.com) with sk_test_abcdefgh")
    report = make_report([make_outcome(change, Status.REJECTED, failure=failure)])
    path = tmp_path / "results.json"

    write_results(report, path)
    text = path.read_text()
    assert "quux" not in text.lower()
    assert "zoe@" not in text
    assert "abcdefgh" not in text

    write_results(report, path, with_values=True)
    text = path.read_text()
    assert "Zoë Quux" in text
    assert "abcdefgh" not in text
    assert "4242" not in text


def test_a_call_can_have_targeted_an_object_that_was_never_created():
    call = PlannedCall(operation="create", target=Ref(sync="customers", key="7"), params={})
    change = make_change("1", Action.CREATE, calls=(call,))
    report = make_report([make_outcome(change, Status.SKIPPED)])

    (result,) = build_results(report, with_values=True)["results"]

    assert result["calls"][0]["target"] == {"$ref": ["customers", "7"]}


def test_writing_in_pieces_gives_the_same_document_as_building_it_at_once(tmp_path):
    report = make_report([make_outcome(make_change(str(n))) for n in range(50)], [make_counts(rows=50)])
    write_results(report, tmp_path / "r.json")

    written, built = json.loads((tmp_path / "r.json").read_text()), build_results(report)
    for document in (written, built):
        document["metadata"].pop("generated_at")
    assert written == json.loads(json.dumps(built))


def test_the_file_is_replaced_completely_or_not_at_all(tmp_path):
    path = tmp_path / "r.json"
    write_results(make_report(), path)
    before = path.read_text()

    class Breaking:
        def __iter__(self):
            yield make_outcome(make_change("1"))
            raise RuntimeError("the state went away")

    from msgspec.structs import replace

    with pytest.raises(RuntimeError, match="went away"):
        write_results(replace(make_report(), outcomes=Breaking()), path)

    assert path.read_text() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.json"]


def test_only_its_owner_may_read_it(tmp_path):
    write_results(make_report(), tmp_path / "r.json")

    assert stat.S_IMODE((tmp_path / "r.json").stat().st_mode) == 0o600
