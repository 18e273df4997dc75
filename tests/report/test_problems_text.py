"""A problem says what, where, and how to fix it."""

from __future__ import annotations

from made import row_problem

from dbt_stripe_sync.model.errors import Location, Problem, Severity
from dbt_stripe_sync.report.problems_text import render_problems


def render(*problems, **style) -> str:
    return "\n".join(render_problems(problems, **style))


def test_an_error_says_what_where_and_how_to_fix_it():
    problem = Problem(
        code="unknown-column",
        summary="sync `customers` reads column `e_mail`, which `dim_customers` lacks",
        where=Location(file="models/schema.yml", model="dim_customers", field="meta.stripe_sync.fields.email"),
        hint="did you mean `email`? columns are `id`, `email`, `name`",
    )

    assert render(problem) == (
        "error[unknown-column]: sync `customers` reads column `e_mail`, which `dim_customers` lacks\n"
        "  at models/schema.yml: dim_customers.meta.stripe_sync.fields.email\n"
        "\n"
        "hint: did you mean `email`? columns are `id`, `email`, `name`"
    )


def test_a_problem_of_one_row_names_it():
    assert "  at models/schema.yml: stripe_customers.meta.stripe_sync.fields.metadata.note [57]\n" in render(
        row_problem("57")
    )


def test_the_same_problem_of_many_rows_is_reported_once():
    assert render(*[row_problem(str(key)) for key in range(1, 1210)]) == (
        "error[too-long]: metadata.note has 612 characters, Stripe accepts 500\n"
        "  at models/schema.yml: stripe_customers.meta.stripe_sync.fields.metadata.note\n"
        "  in 1,209 rows: 1, 2, 3, 4, 5, and 1,204 more\n"
        "\n"
        "hint: shorten it in the model"
    )


def test_rows_whose_problems_differ_in_detail_are_marked():
    text = render(row_problem("1"), row_problem("2", summary="metadata.note has 501 characters, Stripe accepts 500"))

    assert "(the first line is about 1; the others differ in detail)" in text


def test_problems_of_different_fields_stay_separate():
    assert render(row_problem("1"), row_problem("1", field="name")).count("error[") == 2


def test_two_problems_at_one_location_are_both_shown():
    where = Location(file="a.yml")
    first = Problem(code="x", summary="one", where=where)
    assert render(first, Problem(code="x", summary="two", where=where)).count("error[x]") == 2


def test_a_warning_is_labeled_as_one():
    assert render(Problem(code="x", summary="careful", severity=Severity.WARNING)) == "warning[x]: careful"


def test_a_key_cannot_move_the_cursor():
    assert "\x1b" not in render(row_problem("\x1b[2J"), row_problem("b\r\n"))


def test_without_problems_nothing_is_printed():
    assert render() == ""
