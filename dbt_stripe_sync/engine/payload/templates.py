"""Templates of field mappings: Jinja2, sandboxed, with `[[ ]]` so that dbt leaves them alone."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["TemplateError", "environment_of", "render_template"]

if TYPE_CHECKING:
    from collections.abc import Mapping


def _empty_for_null(value: Any) -> Any:
    return "" if value is None else value


# dbt renders `{{ }}` in meta itself, so ours are square; one that comes through `{% raw %}` has curly ones.
_SQUARE = ImmutableSandboxedEnvironment(
    variable_start_string="[[",
    variable_end_string="]]",
    block_start_string="[%",
    block_end_string="%]",
    comment_start_string="[#",
    comment_end_string="#]",
    undefined=jinja2.StrictUndefined,
    finalize=_empty_for_null,
    autoescape=False,
)
_CURLY = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, finalize=_empty_for_null, autoescape=False)


def environment_of(source: str) -> ImmutableSandboxedEnvironment:
    """The environment whose brackets a template uses."""
    return _CURLY if "{{" in source or "{%" in source else _SQUARE


@cache
def _compiled(source: str) -> jinja2.Template:
    return environment_of(source).from_string(source)


def render_template(source: str, columns: Mapping[str, Any]) -> str:
    """A template's text for one row.

    Raises `jinja2.TemplateError`, or whatever an expression in it raises.
    """
    return _compiled(source).render(columns).strip()
