"""Renders Jinja as dbt does in profiles.yml and dbt_project.yml: `env_var`, `var`, `target`, and the `as_…` filters."""

from __future__ import annotations

import ast
import datetime as dt
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.sandbox import SandboxedEnvironment
from msgspec import Struct, field

from dbt_stripe_sync.model.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.model.errors import Location

_UNSET: Any = object()
# The exceptions that a user's expression can raise during rendering, besides Jinja's own errors.
_RENDER_ERRORS = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class _Environment(SandboxedEnvironment):
    """Renders expressions to values, not only to text; sandboxed, as in dbt."""

    code_generator_class = NativeCodeGenerator


class _Marked(Struct, frozen=True):
    """A text that a filter has marked as another type (docs.getdbt.com/reference/dbt-jinja-functions/as_native)."""

    text: str
    kind: str

    def __str__(self) -> str:
        return self.text


def _marker(kind: str) -> Any:
    return lambda value: _Marked(str(value), kind)


def _concat(parts: list[Any]) -> Any:
    """A single part as its value, several parts as text. Raises `jinja2.UndefinedError` if a name is unknown."""
    if len(parts) != 1 or isinstance(parts[0], jinja2.Undefined):
        return "".join(str(part) for part in parts)
    return parts[0]


class Renderer(Struct):
    """Renders values of dbt's YAML. Values that can't be rendered are added to `problems`."""

    env: Mapping[str, str]
    variables: Mapping[str, Any]
    problems: list[Problem] = field(default_factory=list)
    context: dict[str, Any] = field(default_factory=dict)

    def render(self, value: Any, where: Location) -> Any:
        """A value with its texts rendered. A single expression returns its value; text around it makes it a text."""
        try:
            return self._render(value, where)
        except RecursionError:
            self._add("bad-yaml", where, "it contains itself through a YAML alias", "remove the alias")
            return None

    def _render(self, value: Any, where: Location) -> Any:
        if isinstance(value, dict):
            return {name: self._render(part, where.at_field(str(name))) for name, part in value.items()}
        if isinstance(value, list):
            return [self._render(part, where.at_field(str(index))) for index, part in enumerate(value)]
        if isinstance(value, dt.date):
            return value.isoformat()
        if not isinstance(value, str) or not any(mark in value for mark in ("{{", "{%", "{#")):
            return value
        return self._render_text(value, where)

    def _render_text(self, text: str, where: Location) -> Any:
        known = len(self.problems)
        environment = _Environment(undefined=jinja2.StrictUndefined)
        environment.filters |= {f"as_{kind}": _marker(kind) for kind in ("number", "bool", "native", "text")}
        try:
            template = environment.from_string(text, globals={**self.context, **self._functions(where)})
            value = _concat(list(template.root_render_func(template.new_context())))
        except _RENDER_ERRORS as error:
            # Only Jinja's own messages are repeated, since others may contain a value.
            why = error.message if isinstance(error, jinja2.TemplateError) else type(error).__name__
            self._add("bad-jinja", where, f"its Jinja can't be rendered: {why}", "fix the expression")
            return None
        if len(self.problems) > known:
            return None
        return self._typed(value, where) if isinstance(value, _Marked) else value

    def _functions(self, where: Location) -> dict[str, Any]:
        def env_var(name: str, default: Any = None) -> Any:
            value = self.env.get(name, default)
            if value is None:
                hint = f"export {name}, or give it a default: {{{{ env_var('{name}', '…') }}}}"
                self._add("no-env-var", where, f"the environment variable {name} is not set", hint)
                return ""
            return value

        def var(name: str, default: Any = _UNSET) -> Any:
            value = self.variables.get(name, default)
            if value is _UNSET:
                hint = f"give it on the command line: --vars '{{{name}: …}}', or give it a default"
                self._add("no-var", where, f"the variable `{name}` is not set", hint)
                return ""
            return value

        return {"env_var": env_var, "var": var}

    def _typed(self, marked: _Marked, where: Location) -> Any:
        if marked.kind == "text":
            return marked.text
        text = marked.text.strip()
        if text.lower() in {"true", "false"}:
            value: Any = text.lower() == "true"
        else:
            try:
                value = ast.literal_eval(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                value = marked.text
        is_bool = isinstance(value, bool)
        wrong = (marked.kind == "bool" and not is_bool) or (
            marked.kind == "number" and (is_bool or not isinstance(value, int | float))
        )
        if wrong:
            hint = f"remove `| as_{marked.kind}`, or fix the value"
            self._add("bad-jinja", where, f"its value can't be read as {marked.kind}", hint)
            return None
        return value

    def _add(self, code: str, where: Location, summary: str, hint: str) -> None:
        self.problems.append(Problem(code=code, summary=summary, where=where, hint=hint))
