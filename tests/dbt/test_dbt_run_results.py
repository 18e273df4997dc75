"""Models that dbt failed to build or test don't reach Stripe; neither do their children."""

from __future__ import annotations

import orjson
import pytest
from dbt_projects import text_of

from dbt_stripe_sync.dbt.gate import Evidence, held_models
from dbt_stripe_sync.dbt.memory import recall
from dbt_stripe_sync.dbt.places import place_of
from dbt_stripe_sync.dbt.run_results import RunResults, read_run_results
from dbt_stripe_sync.model.errors import ConfigError


def held(manifest, statuses):
    last = RunResults(statuses=statuses)
    place = place_of("dev", {"type": "duckdb"})
    known = recall(manifest.root, last, lambda _: place)
    evidence = Evidence(manifest=manifest.read(), known=known, last=last, place=place, target_path=manifest.target)
    return held_models(evidence)


def test_a_failed_model_is_held_with_its_descendants(manifest):
    orders = manifest.model("orders")
    totals = manifest.model("totals", orders)
    manifest.model("report", totals)
    manifest.model("people")

    assert held(manifest, {orders: "error"}) == {
        "model.shop.orders": "`orders` failed in dbt's last run",
        "model.shop.totals": "it comes from `orders`: `orders` failed in dbt's last run",
        "model.shop.report": "it comes from `orders`: `orders` failed in dbt's last run",
    }


@pytest.mark.parametrize("status", ["success", "pass", "warn", "no-op", "reused"])
def test_a_successful_run_holds_nothing(manifest, status):
    orders = manifest.model("orders")
    test = manifest.test("unique_orders", orders, attached=orders)

    assert held(manifest, {orders: status, test: status}) == {}


@pytest.mark.parametrize("status", ["error", "runtime error", "partial success"])
def test_every_failure_status_holds_the_model(manifest, status):
    orders = manifest.model("orders")

    assert list(held(manifest, {orders: status})) == [orders]


def test_a_skipped_model_is_held(manifest):
    orders = manifest.model("orders")

    assert held(manifest, {orders: "skipped"}) == {orders: "`orders` was skipped in dbt's last run"}


def test_an_ephemeral_model_that_dbt_2_does_not_build_is_not_held(manifest):
    orders = manifest.model("orders")
    ephemeral = manifest.model("lines", orders, config={"materialized": "ephemeral"})

    assert held(manifest, {orders: "success", ephemeral: "skipped"}) == {}
    assert list(held(manifest, {orders: "error", ephemeral: "skipped"})) == [orders, ephemeral]


@pytest.mark.parametrize("status", ["fail", "error"])
def test_a_failed_test_holds_its_model(manifest, status):
    orders = manifest.model("orders")
    totals = manifest.model("totals", orders)
    people = manifest.model("people")
    test = manifest.test("orders_have_people", orders, people, attached=orders)

    assert held(manifest, {test: status}) == {
        orders: "the test `orders_have_people` failed in dbt's last run",
        totals: "it comes from `orders`: the test `orders_have_people` failed in dbt's last run",
    }


def test_a_test_that_only_warns_holds_nothing(manifest):
    orders = manifest.model("orders")
    test = manifest.test("unique_orders", orders, attached=orders, severity="warn")

    assert held(manifest, {test: "warn"}) == {}
    assert held(manifest, {test: "error"}) == {}


def test_a_test_that_warns_fails_if_dbt_treats_warnings_as_errors(manifest):
    orders = manifest.model("orders")
    test = manifest.test("unique_orders", orders, attached=orders, severity="warn")

    assert list(held(manifest, {test: "fail"})) == [orders]


def test_a_singular_test_holds_every_model_that_it_reads(manifest):
    orders, people = manifest.model("orders"), manifest.model("people")
    test = manifest.test("sums_agree", orders, people)

    assert set(held(manifest, {test: "fail"})) == {orders, people}


def test_a_failed_source_test_holds_the_descendants_of_the_source(manifest):
    source = "source.shop.raw.orders"
    orders = manifest.model("orders", source)
    test = manifest.test("source_not_null", source)

    assert orders in held(manifest, {test: "fail"})


def test_a_unit_test_that_fails_holds_its_model(manifest):
    orders = manifest.model("orders")
    manifest.unit_tests["unit_test.shop.orders.adds_up"] = {
        "name": "adds_up",
        "resource_type": "unit_test",
        "depends_on": {"nodes": [orders]},
        "config": {},
    }

    assert held(manifest, {"unit_test.shop.orders.adds_up": "fail"}) == {
        orders: "the test `adds_up` failed in dbt's last run"
    }


def test_a_project_that_was_never_run_holds_nothing(tmp_path):
    assert read_run_results(tmp_path / "run_results.json") == RunResults()


def test_statuses_are_case_insensitive(tmp_path):
    path = tmp_path / "run_results.json"
    results = [{"unique_id": "model.shop.orders", "status": "Success"}]
    path.write_bytes(orjson.dumps({"metadata": {"invocation_id": "x"}, "results": results}))

    assert read_run_results(path) == RunResults(statuses={"model.shop.orders": "success"}, invocation_id="x")


@pytest.mark.parametrize(
    "content", [b"[]", b'{"metadata": {}}', b'{"metadata": {}, "results": [{}]}', b'{"metadata": [], "results": []}']
)
def test_results_not_written_by_dbt_are_reported(tmp_path, content):
    path = tmp_path / "run_results.json"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as error:
        read_run_results(path)

    assert text_of(error.value) == (
        f"error[broken-manifest]: dbt's artifact can't be read: it doesn't have dbt's format\n  at {path}\n\n"
        "hint: remove it and run `dbt build` again"
    )
