"""Missing columns are reported together with all other mistakes, if the warehouse is reachable."""

from __future__ import annotations

import duckdb
import pytest


@pytest.fixture
def people(business):
    business.rows("people", (1, "a@example.com"), columns="id int, email text")
    return business


@pytest.mark.parametrize("command", [("plan",), ("run",), ("debug",), ("show", "people")])
def test_commands_that_read_the_warehouse_report_missing_columns_with_the_rest(people, command):
    people.sync("people", resource="customer", key="id", fields={"emial": "e_mail", "name": "full_name"})

    ran = people.cli(*command)

    assert ran.exit_code == 2
    assert "error[unknown-parameter]: unknown parameter `emial`" in ran.text
    assert "error[unknown-column]: sync `people` reads column `e_mail`" in ran.text
    assert "error[unknown-column]: sync `people` reads column `full_name`" in ran.text


def test_parse_only_warns_of_missing_columns_since_the_next_build_may_add_them(people):
    people.sync("people", resource="customer", key="id", fields={"email": "e_mail"})

    ran = people.cli("parse")

    assert ran.exit_code == 0, ran.text
    assert "warning[unknown-column]: sync `people` reads column `e_mail`" in ran.err
    assert "1 sync is well formed" in ran.out


def test_parse_needs_no_warehouse(people):
    people.sync("people", resource="customer", key="id", fields={"email": "email"})
    people.warehouse.unlink()

    ran = people.cli("parse")

    assert (ran.exit_code, ran.err) == (0, "")


def test_every_unbuilt_model_is_named(people):
    for name in ("orders", "firms"):
        people.rows(name, (1, "x"), columns="id int, email text")
        people.sync(name, resource="customer", key="id", fields={"email": "email"})
    people.sync("people", resource="customer", key="id", fields={"email": "e_mail"})
    with duckdb.connect(str(people.warehouse)) as warehouse:
        warehouse.execute("DROP TABLE orders; DROP TABLE firms")

    ran = people.cli("plan")

    assert ran.exit_code == 2
    for text in ("`orders` is not in", "`firms` is not in", "reads column `e_mail`"):
        assert text in ran.err, ran.err
