"""Prints for people: data on stdout, everything else on stderr."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

import click
from msgspec import Struct

from dbt_stripe_sync.model.errors import Severity
from dbt_stripe_sync.report.json_values import json_problem
from dbt_stripe_sync.report.lines import printable, wrap
from dbt_stripe_sync.report.problems_text import render_problems
from dbt_stripe_sync.report.progress import NoDisplay
from dbt_stripe_sync.report.progress_lines import log_line, open_progress
from dbt_stripe_sync.report.redact import hide_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.report.progress import ProgressDisplay

# Without a terminal, nothing is cut or wrapped, because a program or `grep` reads the lines.
ENDLESS = 100_000


class Screen(Struct, frozen=True, kw_only=True):
    """How to print: progress as text or JSON lines, with or without colors; no progress if it `is_quiet`."""

    log_format: str
    color: bool
    is_quiet: bool = False

    @property
    def width(self) -> int:
        """The columns of the terminal. Without a terminal, more than any line has."""
        return _width_of(sys.stdout)

    @property
    def error_width(self) -> int:
        """The same for stderr, where notes are printed."""
        return _width_of(sys.stderr)

    @property
    def is_interactive(self) -> bool:
        """Whether stdout is a terminal."""
        return sys.stdout.isatty()

    @property
    def can_ask(self) -> bool:
        """Whether a person can read and answer questions."""
        return self.log_format == "text" and sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def has_color(self) -> bool:
        """Whether to color stdout."""
        return self.color and self.is_interactive

    def progress(self) -> ProgressDisplay:
        """Progress in the requested form."""
        if self.is_quiet:
            return NoDisplay()
        return open_progress(self.log_format, sys.stderr, color=self.color)

    def listen(self) -> None:
        """Print log messages, such as those about waiting, as lines or as JSON lines among the progress."""
        handler = _Notes(self)
        logger = logging.getLogger("dbt_stripe_sync")
        logger.handlers = [handler]
        logger.propagate = False  # a driver may have set a format for the root logger

    def lines(self, lines: Iterable[str]) -> None:
        """Print data. Characters from a row or from Stripe can't affect the terminal."""
        for line in lines:
            click.echo(printable(line), color=self.has_color or None)

    def notes(self, lines: Iterable[str]) -> None:
        """Print notes on stderr that are for people, not for programs."""
        for line in lines:
            click.echo(printable(line), err=True, color=None if self.color else False)

    def say(self, lines: Iterable[str]) -> None:
        """Print what a command has done: lines for people, or JSON lines for a log."""
        if self.is_quiet:
            return
        if self.log_format == "json":
            lines = (log_line("message", "info", message=line) for line in lines if line)
        self.lines(lines)

    def as_json(self, output: str | None) -> bool:
        """Whether to print data as JSON, because of `--output json` or `--log-format json`."""
        return output == "json" or (output is None and self.log_format == "json")

    def confirm(self, question: str) -> bool:
        """Ask, if `can_ask`; no answer means no."""
        lines = wrap(f"{question} [y/N]", self.error_width - len(": "))
        return click.confirm("\n".join(lines), default=False, show_default=False, err=True)

    def wanted(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """The problems to print: all of them, or only errors if it `is_quiet`."""
        return tuple(problem for problem in problems if not self.is_quiet or problem.severity is Severity.ERROR)

    def problems(self, problems: Iterable[Problem]) -> None:
        """Print problems."""
        print_problems(self.wanted(problems), as_json=self.log_format == "json", color=self.color)

    def separate(self, problems: Sequence[Problem]) -> None:
        """Print an empty line between `problems` and the data after them, if both are on the same terminal."""
        is_shared = self.is_interactive and sys.stderr.isatty()
        if problems and is_shared and not self.is_quiet and self.log_format == "text":
            self.notes([""])


def wants_color() -> bool:
    """Whether NO_COLOR leaves colors on. Any text in it turns them off (no-color.org)."""
    return not os.environ.get("NO_COLOR")


def _width_of(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or ENDLESS
    except (OSError, ValueError):
        return ENDLESS


class _Notes(logging.Handler):
    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Print a log message. A closed stderr doesn't stop the command."""
        if self._screen.is_quiet:
            return
        said = record.getMessage()
        if self._screen.log_format == "json":
            said = log_line("waiting", "warning", message=said)
        with suppress(OSError, ValueError):
            self._screen.notes([said])


def print_problems(problems: Iterable[Problem], *, as_json: bool = False, color: bool = True) -> None:
    """Print problems on stderr, as text or as JSON lines among the progress. Colors are used only on a terminal."""
    found = tuple(problems)
    is_terminal = sys.stderr.isatty()
    has_color = color and is_terminal and wants_color()
    width = _width_of(sys.stderr) if is_terminal else None
    lines: Iterable[str] = render_problems(found, color=has_color, width=width)
    if as_json:
        lines = (log_line("problem", p.severity.value, **json_problem(p)) for p in found)
    for line in lines:
        click.echo(printable(line), err=True)


def print_failure(error: BaseException) -> None:
    """Print an unexpected error as a JSON line with its traceback.

    Its message, which may contain row values, is omitted.
    """
    where = "".join(traceback.format_tb(error.__traceback__))
    line = log_line("failure", "error", code="unexpected", summary=type(error).__name__, traceback=hide_keys(where))
    click.echo(printable(line), err=True)
