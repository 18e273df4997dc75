"""Jinja as dbt renders it in profiles.yml and dbt_project.yml: `env_var`, `var`, `target`, and the `as_…` filters."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2.nativetypes import NativeEnvironment

from dbt_stripe_sync.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.errors import Location

_UNSET: Any = object()


@dataclass(slots=True)
class _Marked:
    """A text that a filter has said to be of another type."""

    text: str
    kind: str


@dataclass(slots=True)
class Renderer:
    """Renders values of dbt's YAML. What can't be rendered goes to `problems`."""

    env: Mapping[str, str]
    variables: Mapping[str, Any]
    problems: list[Problem] = field(default_factory=list)
    context: dict[str, Any] = field(default_factory=dict)

    def render(self, value: Any, where: Location) -> Any:
        """A value with every text in it rendered; numbers and booleans come from the `as_…` filters alone."""
        if isinstance(value, dict):
            return {name: self.render(part, where.at_field(str(name))) for name, part in value.items()}
        if isinstance(value, list):
            return [self.render(part, where.at_field(str(index))) for index, part in enumerate(value)]
        if not isinstance(value, str) or ("{{" not in value and "{%" not in value):
            return value
        return self._render_text(value, where)

    def _render_text(self, text: str, where: Location) -> Any:
        environment = NativeEnvironment(undefined=jinja2.StrictUndefined)
        # dbt's own names: docs.getdbt.com/reference/dbt-jinja-functions/as_number and its siblings.
        for kind in ("number", "bool", "native", "text"):
            environment.filters[f"as_{kind}"] = lambda value, kind=kind: _Marked(str(value), kind)
        missing: list[str] = []

        def env_var(name: str, default: Any = _UNSET) -> str:
            if name in self.env:
                return self.env[name]
            if default is _UNSET:
                missing.append(name)
                return ""
            return "" if default is None else str(default)

        def var(name: str, default: Any = None) -> Any:
            return self.variables.get(name, default)

        names = {**self.context, "env_var": env_var, "var": var}
        try:
            nodes = list(
                environment.from_string(text).root_render_func(environment.from_string(text).new_context(names))
            )
        except jinja2.TemplateError as error:
            self._add("bad-jinja", where, f"its Jinja can't be rendered: {error.message}", "mend the expression")
            return None
        for name in missing:
            hint = f"export {name}, or give it a default: {{{{ env_var('{name}', '…') }}}}"
            self._add("no-env-var", where, f"the environment variable {name} is not set", hint)
        if len(nodes) == 1 and isinstance(nodes[0], _Marked):
            return self._typed(nodes[0], where)
        return "".join(node.text if isinstance(node, _Marked) else str(node) for node in nodes)

    def _typed(self, marked: _Marked, where: Location) -> Any:
        text = marked.text.strip()
        if marked.kind == "text":
            return marked.text
        if marked.kind == "bool" and text.lower() in {"true", "false"}:
            return text.lower() == "true"
        try:
            value = ast.literal_eval(text.capitalize() if text.lower() in {"true", "false", "none"} else text)
        except (ValueError, SyntaxError):
            value = _UNSET
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is _UNSET or (marked.kind == "number" and not is_number) or marked.kind == "bool":
            if marked.kind == "native":
                return marked.text
            self._add(
                "bad-jinja", where, f"its value is no {marked.kind}", f"remove `| as_{marked.kind}`, or mend the value"
            )
            return None
        return value

    def _add(self, code: str, where: Location, summary: str, hint: str) -> None:
        self.problems.append(Problem(code=code, summary=summary, where=where, hint=hint))
