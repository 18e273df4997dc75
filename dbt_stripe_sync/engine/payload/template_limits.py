"""Limits what a template may use for one row: steps, size and time.

Past a limit the template fails, and only its row is rejected.

Jinja's sandbox protects the program from templates, but not its memory. `'x' * 10 ** 10`, nested loops, or a text that
is joined to itself again and again would crash the run, or the machine. So each loop, call, filter and concatenation
counts against the row's budget, and its result is measured before it is computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from functools import wraps
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.runtime import str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Stripe's longest texts have a few thousand characters; a list made by a template may have more.
MOST_CHARACTERS = 100_000
# The number of loop iterations, calls and filters for one row.
MOST_STEPS = 20_000
# A value with this many characters costs one more step.
CHARACTERS_A_STEP = 500
MOST_BITS = 4_096
TOO_LARGE = f"it creates a value of more than {MOST_CHARACTERS:,} characters"
# Seconds of processor time, so a busy machine rejects nothing that an idle one would send.
MOST_SECONDS = 2.0
STEPS_BETWEEN_LOOKS = 256


class TemplateLimitError(TemplateError):
    """A template exceeds one of its limits for a row."""


class Budget:
    """What is left of the limits for the row that is being rendered."""

    def __init__(self) -> None:
        self._steps = 0
        self._looked_at = 0
        self._began = time.thread_time()

    def spend(self, steps: int = 1) -> None:
        """Count steps. Raises `TemplateLimitError` if there are too many, or if they have taken too long."""
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise TemplateLimitError(f"it needs more than {MOST_STEPS:,} steps")
        if self._steps - self._looked_at >= STEPS_BETWEEN_LOOKS:
            self._looked_at = self._steps
            if time.thread_time() - self._began > MOST_SECONDS:
                raise TemplateLimitError(f"it needs more than {MOST_SECONDS:g} seconds")

    def spend_on(self, size: int) -> None:
        """Count the creation of a value. Raises `TemplateLimitError` if it is too large."""
        if size > MOST_CHARACTERS:
            raise TemplateLimitError(TOO_LARGE)
        self.spend(1 + size // CHARACTERS_A_STEP)


_budget: ContextVar[Budget] = ContextVar("budget")


@contextmanager
def budget() -> Iterator[Budget]:
    """The budget of a new row."""
    made = Budget()
    token = _budget.set(made)
    try:
        yield made
    finally:
        _budget.reset(token)


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, plus a count of everything that can grow or run forever."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.globals = {name: self.globals[name] for name in ("dict", "namespace")}
        self.globals |= {"range": _limited_range, _COUNTED: _counted, _JOINED: _joined}
        self.filters = {name: _limited(filter_) for name, filter_ in self.filters.items()}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = _call(_COUNTED, [loop.iter], loop)
        _join_by_size(tree)
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Calculate, after checking that the result is small enough."""
        _budget.get().spend_on(_size_of_result(operator, left, right))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, *args: Any, **named: Any) -> Any:
        """Call a method of a value, a macro or a function."""
        own = getattr(obj, "__self__", None)
        text = own if isinstance(own, str | bytes) else ""
        others = [own] if isinstance(own, Decimal | int) else []
        _check_call(obj, text, [*others, *args, *named.values()])
        return super().call(context, obj, *args, **named)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Check the widths in `text.format(…)` first, because Jinja's own wrapper hides the text that contains them."""
        wrapper = super().wrap_str_format(value)
        if wrapper is None:
            return None
        text: str = value.__self__

        def format_(*args: Any, **named: Any) -> str:
            _check_call(value, text, [*args, *named.values()])
            return wrapper(*args, **named)

        return format_


_COUNTED, _JOINED = "_dbt_stripe_sync_counted", "_dbt_stripe_sync_joined"


def _call(name: str, arguments: list[Any], near: nodes.Node) -> nodes.Call:
    function = nodes.Name(name, "load", lineno=near.lineno)
    return nodes.Call(function, arguments, [], None, None, lineno=near.lineno)


def _join_by_size(node: nodes.Node) -> None:
    """Turn every `a ~ b` below a node into a call that checks the sizes first."""

    def replaced(part: Any) -> Any:
        if not isinstance(part, nodes.Node):
            return part
        _join_by_size(part)
        return _call(_JOINED, part.nodes, part) if isinstance(part, nodes.Concat) else part

    for name, value in node.iter_fields():
        setattr(node, name, [replaced(part) for part in value] if isinstance(value, list) else replaced(value))


def _counted(items: Iterable[Any]) -> Iterable[Any]:
    """The items of a loop; each costs a step."""
    spend = _budget.get().spend
    if isinstance(items, Sequence | dict):
        spend(len(items))
        return items

    def each() -> Iterator[Any]:
        for item in items:
            spend()
            yield item

    return each()


def _limited_range(*bounds: int) -> range:
    made = range(*bounds)
    _budget.get().spend(min(len(made), MOST_STEPS + 1) if made else 1)
    return made


def _joined(*parts: Any) -> str:
    _budget.get().spend_on(sum(map(weigh, parts)))
    return str_join(parts)


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts its input and rejects requests for huge output."""

    @wraps(function)
    def filter_(*args: Any, **named: Any) -> Any:
        _check_call(function, "", [*args, *named.values()])
        return function(*args, **named)

    return filter_


def _check_call(function: Any, own: str | bytes, arguments: Sequence[Any]) -> None:
    """Count a call by its arguments: a width counts in full, and a replacement may happen at every position."""
    texts = [own, *(argument for argument in arguments if isinstance(argument, str | bytes))]
    size = sum(map(weigh, arguments)) + len(own)
    name = getattr(function, "__name__", "")
    if "replace" in name or "join" in name or name == "translate":
        size = max(size, max(map(len, texts)) * max(1, *(len(text) for text in texts[1:] or [""])))
    if "format" in name:
        size += sum(map(_widths_in, texts))
    _budget.get().spend_on(size)


def _widths_in(text: str | bytes) -> int:
    """The numbers in a format text, since each may be a width."""
    shown = text.decode(errors="replace") if isinstance(text, bytes) else text
    digits = "".join(char if char.isdigit() else " " for char in shown).split()
    return sum(int(number[:9]) for number in digits)


def weigh(value: Any) -> int:
    """The approximate number of characters of a value as text; a number may be a requested length."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, bool) or value is None:
        return 1
    if isinstance(value, int):
        return min(abs(value), MOST_CHARACTERS + 1) if abs(value) > MOST_CHARACTERS // 10 else 8
    if isinstance(value, Decimal):
        return _digits(value)
    if isinstance(value, list | tuple | set | frozenset | dict):
        return _weigh_all(value)
    return 8


def _weigh_all(value: Any) -> int:
    """The weight of everything in a list or a hash, counted each time it occurs, up to the limit."""
    total, waiting = 0, [value]
    while waiting and total <= MOST_CHARACTERS:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            waiting += part
        total += weigh(part) if isinstance(part, str | bytes | int | Decimal) and not isinstance(part, bool) else 2
    return total


def _digits(value: Decimal) -> int:
    """How many digits a number has when written as an integer: `1E+900000` has very many."""
    return 8 if not value.is_finite() else max(8, min(abs(value.adjusted()), MOST_CHARACTERS + 1))


def _size_of_result(operator: str, left: Any, right: Any) -> int:
    if operator == "**":
        return _size_of_power(left, right)
    if operator == "*":
        for many, times in ((left, right), (right, left)):
            if isinstance(many, str | bytes | list | tuple) and isinstance(times, int):
                return weigh(many) * max(0, times)
        return _bits(left) + _bits(right) if isinstance(left, int) and isinstance(right, int) else 1
    if operator == "%" and isinstance(left, str | bytes):
        return weigh(left) + weigh(right) + _widths_in(left)
    if isinstance(left, int) and isinstance(right, int):
        return 1
    return weigh(left) + weigh(right) if operator == "+" else 1


def _size_of_power(left: Any, right: Any) -> int:
    if not isinstance(left, int) or not isinstance(right, int):
        return 1
    bits = _bits(left) * max(0, right)
    return MOST_CHARACTERS + 1 if bits > MOST_BITS else 1


def _bits(number: Any) -> int:
    bits = int(number).bit_length()
    return MOST_CHARACTERS + 1 if bits > MOST_BITS else bits
