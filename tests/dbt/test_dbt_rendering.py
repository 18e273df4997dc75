"""Jinja in profiles.yml and dbt_project.yml has the same meaning as in dbt."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from dbt_stripe_sync.dbt.rendering import Renderer
from dbt_stripe_sync.model.errors import Location

ENVIRONMENT = {"HOST": "db.example", "PORT": "5432", "EMPTY": "", "YES": "True", "QUOTED": "'x'", "NUMBER_LIKE": "007"}
VARIABLES = {"month": "2026-01", "days": 30, "zones": ["eu", "us"]}
EXPRESSIONS = [
    "plain",
    "",
    "{{ env_var('HOST') }}",
    "{{ env_var('PORT') }}",
    "{{ env_var('PORT') | as_number }}",
    "{{ env_var('PORT') | int }}",
    "{{ env_var('PORT') | as_text }}",
    "{{ env_var('PORT') | as_native }}",
    "{{ env_var('NUMBER_LIKE') | as_native }}",
    "{{ env_var('EMPTY') }}",
    "{{ env_var('EMPTY', 'other') }}",
    "{{ env_var('MISSING', 'other') }}",
    "{{ env_var('MISSING', '') }}",
    "{{ env_var('MISSING', 'true') | lower }}",
    "{{ env_var('YES') | as_bool }}",
    "{{ (1 == 1) | as_bool }}",
    "{{ 1 == 1 }}",
    "{{ 2 * 3 }}",
    "{{ 2.50 }}",
    "{{ none }}",
    "{{ ['a', 'b'] }}",
    "{{ \"['a', 1]\" | as_native }}",
    "{{ env_var('QUOTED') }}",
    "{{ env_var('QUOTED') | as_native }}",
    "{{ env_var('HOST') }}:{{ env_var('PORT') | as_number }}",
    "jdbc://{{ env_var('HOST') }}",
    "{{ env_var('HOST') }} ",
    "{% if env_var('YES') == 'True' %}a{% else %}b{% endif %}",
    "{# nothing #}",
    "{# nothing #}text",
    "{{ var('month') }}",
    "{{ var('days') }}",
    "{{ var('zones') }}",
    "{{ var('missing', 'x') }}",
    "{{ var('days') + 1 }}",
]
# dbt's own renderer of profiles.yml, in a process of its own: its import takes a while and leaves much behind.
DBT = """
import json, os, sys
from dbt_common.context import set_invocation_context
set_invocation_context(os.environ)
from dbt.config.renderer import ProfileRenderer
asked = json.load(sys.stdin)
renderer = ProfileRenderer(asked["variables"])
json.dump([renderer.render_value(text) for text in asked["expressions"]], sys.stdout)
"""


@pytest.fixture(scope="module")
def dbt_renders():
    done = subprocess.run(
        [sys.executable, "-c", DBT],
        input=json.dumps({"variables": VARIABLES, "expressions": EXPRESSIONS}),
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(EXPRESSIONS, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_rendered_as_in_dbt(dbt_renders, expression):
    renderer = Renderer(env=ENVIRONMENT, variables=VARIABLES)

    value = renderer.render(expression, Location())

    assert renderer.problems == []
    assert (type(value), value) == (type(dbt_renders[expression]), dbt_renders[expression])


@pytest.mark.parametrize(
    ("expression", "code", "summary"),
    [
        ("{{ env_var('SECRET') }}", "no-env-var", "the environment variable SECRET is not set"),
        ("{{ var('secret') }}", "no-var", "the variable `secret` is not set"),
        ("{{ 'x' | as_number }}", "bad-jinja", "its value can't be read as number"),
        ("{{ 'x' | as_bool }}", "bad-jinja", "its value can't be read as bool"),
        ("{{ 1 / 0 }}", "bad-jinja", "its Jinja can't be rendered: ZeroDivisionError"),
        ("{{ env_var('HOST') + 1 }}", "bad-jinja", "its Jinja can't be rendered: TypeError"),
        ("{{ nothing }}", "bad-jinja", "its Jinja can't be rendered: 'nothing' is undefined"),
        ("{% if %}", "bad-jinja", "its Jinja can't be rendered: Expected an expression, got 'end of statement block'"),
    ],
)
def test_a_rendering_error_is_reported(expression, code, summary):
    renderer = Renderer(env=ENVIRONMENT, variables=VARIABLES)

    assert renderer.render({"a": [expression]}, Location(file="profiles.yml")) == {"a": [None]}
    (problem,) = renderer.problems
    assert (problem.code, problem.summary, str(problem.where)) == (code, summary, "profiles.yml: a.0")
    assert problem.hint


def test_dbts_template_sandbox_applies_here_too():
    renderer = Renderer(env={}, variables={})

    renderer.render("{{ ''.__class__.__mro__[1].__subclasses__() }}", Location())

    assert [problem.code for problem in renderer.problems] == ["bad-jinja"]
