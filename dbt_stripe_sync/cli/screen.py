"""What a person sees: data on stdout, everything else on stderr."""

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
from dbt_stripe_sync.report.lines import printable
from dbt_stripe_sync.report.problems_text import render_problems
from dbt_stripe_sync.report.progress import NoDisplay
from dbt_stripe_sync.report.progress_lines import log_line, open_progress
from dbt_stripe_sync.report.redact import hide_keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.report.progress import ProgressDisplay

# Where no terminal ends the lines, nothing is cut or wrapped: a program, or `grep`, reads them.
ENDLESS = 100_000


class Screen(Struct, frozen=True, kw_only=True):
    """How to print: progress as text or JSON lines, with or without colours; no progress if it `is_quiet`."""

    log_format: str
    colour: bool
    is_quiet: bool = False

    @property
    def width(self) -> int:
        """Columns of the terminal; without one, more than any line has."""
        return _width_of(sys.stdout)

    @property
    def error_width(self) -> int:
        """The same of what notes are printed on."""
        return _width_of(sys.stderr)

    @property
    def is_interactive(self) -> bool:
        """Whether stdout is a terminal."""
        return sys.stdout.isatty()

    @property
    def can_ask(self) -> bool:
        """Whether a person sits there who reads the questions and can answer them."""
        return self.log_format == "text" and sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def has_colour(self) -> bool:
        """Whether to colour what goes to stdout."""
        return self.colour and self.is_interactive

    def progress(self) -> ProgressDisplay:
        """Progress in the form that was asked for."""
        if self.is_quiet:
            return NoDisplay()
        return open_progress(self.log_format, sys.stderr, colour=self.colour)

    def listen(self) -> None:
        """Print log messages, such as those about waiting, as lines or as JSON lines among the progress."""
        handler = _Notes(self)
        logger = logging.getLogger("dbt_stripe_sync")
        logger.handlers = [handler]
        logger.propagate = False  # a driver may have given the root logger a form of its own

    def lines(self, lines: Iterable[str]) -> None:
        """Print data. What a row or Stripe has put into it can't act on the terminal."""
        for line in lines:
            click.echo(printable(line), color=self.has_colour or None)

    def notes(self, lines: Iterable[str]) -> None:
        """Print what a person needs to see, and no program reads, on stderr."""
        for line in lines:
            click.echo(printable(line), err=True, color=None if self.colour else False)

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
        """Ask, where `can_ask`; no answer is no."""
        return click.confirm(question, default=False, err=True)

    def problems(self, problems: Iterable[Problem]) -> None:
        """Print what is wrong."""
        if self.is_quiet:
            problems = [problem for problem in problems if problem.severity is Severity.ERROR]
        print_problems(problems, as_json=self.log_format == "json", colour=self.colour)


def wants_colour() -> bool:
    """Whether NO_COLOR leaves colours on. Any text in it turns them off (no-color.org)."""
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


def print_problems(problems: Iterable[Problem], *, as_json: bool = False, colour: bool = True) -> None:
    """Print problems on stderr, as text or as JSON lines among the progress. Only a terminal gets a `colour`."""
    found = tuple(problems)
    is_terminal = sys.stderr.isatty()
    has_colour = colour and is_terminal and wants_colour()
    width = _width_of(sys.stderr) if is_terminal else None
    lines: Iterable[str] = render_problems(found, colour=has_colour, width=width)
    if as_json:
        lines = (log_line("problem", p.severity.value, **json_problem(p)) for p in found)
    for line in lines:
        click.echo(printable(line), err=True)


def print_failure(error: BaseException) -> None:
    """Print an unexpected error as a JSON line with its traceback.

    Its message, which may have row values, is left out.
    """
    where = "".join(traceback.format_tb(error.__traceback__))
    line = log_line("failure", "error", code="unexpected", summary=type(error).__name__, traceback=hide_keys(where))
    click.echo(printable(line), err=True)
