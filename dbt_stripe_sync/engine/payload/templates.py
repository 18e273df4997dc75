"""Renders the templates of field mappings: sandboxed Jinja2 with `[[ ]]`, which dbt doesn't render."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import TemplateError

from dbt_stripe_sync.engine.payload.template_limits import (
    MOST_CHARACTERS,
    TOO_LARGE,
    LimitedEnvironment,
    TemplateLimitError,
    budget,
    weigh,
)
from dbt_stripe_sync.engine.payload.values import BadValueError

__all__ = ["TemplateError", "environment_of", "render_template"]

if TYPE_CHECKING:
    from collections.abc import Mapping


def _printed(value: Any) -> Any:
    if isinstance(value, list | tuple | dict) and weigh(value) > MOST_CHARACTERS:
        raise TemplateLimitError(TOO_LARGE)
    if value is None:
        return ""
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        raise BadValueError("not-text", "is not finite, but Stripe expects text")
    return abs(value) if isinstance(value, float | Decimal) and not value else value  # no -0


# dbt renders `{{ }}` in meta itself, so templates use square brackets; with `{% raw %}` they can use curly ones.
_SQUARE = LimitedEnvironment(
    variable_start_string="[[",
    variable_end_string="]]",
    block_start_string="[%",
    block_end_string="%]",
    comment_start_string="[#",
    comment_end_string="#]",
    undefined=jinja2.StrictUndefined,
    finalize=_printed,
    autoescape=False,
)
_CURLY = LimitedEnvironment(undefined=jinja2.StrictUndefined, finalize=_printed, autoescape=False)


def environment_of(source: str) -> LimitedEnvironment:
    """The environment for the brackets that a template uses."""
    return _CURLY if "{{" in source or "{%" in source else _SQUARE


@cache
def _compiled(source: str) -> jinja2.Template:
    return environment_of(source).from_string(source)


def render_template(source: str, columns: Mapping[str, Any]) -> str:
    """Render a template for one row, as text.

    Raises `BadValueError` for a number that is not finite, and `jinja2.TemplateError` if the template fails or exceeds
    its limits. An expression in the template may raise anything else.
    """
    cells = {name: _in_utc(cell) for name, cell in columns.items()}
    with budget() as limits:
        pieces, length = [], 0
        for piece in _compiled(source).generate(cells):
            length += len(piece)
            limits.spend_on(length)
            pieces.append(piece)
        return "".join(pieces).strip()


def _in_utc(cell: Any) -> Any:
    """Convert a time with a zone to UTC, so that its text is the same wherever it is rendered."""
    return cell.astimezone(UTC) if isinstance(cell, datetime) and cell.tzinfo is not None else cell
