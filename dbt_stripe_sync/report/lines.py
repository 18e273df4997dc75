"""Formats lines for a terminal: numbers with units, text cut or wrapped to its width, and colors."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from msgspec import Struct
from rich.cells import cell_len, chop_cells, set_cell_size

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.report.redact import hide_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

ELLIPSIS = "…"
MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MILLISECOND = 0.001
# Times below this many seconds are shown with a fraction.
WITH_FRACTION = 10

# Characters that change the text direction could make a value look like another one (Unicode TR36, 3.2).
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNSAFE_KINDS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_SPACE = 0x20
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Paint(Struct, frozen=True, kw_only=True):
    """Colors for a terminal, or none. Coloring doesn't change the width of a text."""

    on: bool

    def __call__(self, text: str, color: str | None) -> str:
        """The text in a color of `CODES`, or unchanged if colors are off."""
        return f"\x1b[{CODES[color]}m{text}\x1b[0m" if self.on and color and text else text


# ECMA-48, "select graphic rendition": the colors that every theme defines, so they are readable on light and dark.
CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "magenta": "35", "cyan": "36"}


_ACTING = re.compile("[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_OUR_COLORS = re.compile("(\x1b\\[(?:{})m)".format("|".join(["0", *CODES.values()])))


def plain(text: str) -> str:
    """A text from a row or from Stripe that can't move the cursor, color the screen, break a line or show a key."""
    text = hide_keys(text)
    if text.isprintable() and not _TURNING.intersection(text):
        return text
    return "".join(_escaped(char) for char in text)


def escaped(text: str) -> str:
    """A page or a line of JSON, with terminal control characters escaped as in JSON."""
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def printable(line: str) -> str:
    """A line that is safe for a terminal: apart from the tool's own colors, it contains no control characters."""
    return "\n".join(
        "".join(part if index % 2 else plain(part) for index, part in enumerate(_OUR_COLORS.split(part)))
        for part in line.split("\n")
    )


def _escaped(char: str) -> str:
    if unicodedata.category(char) not in _UNSAFE_KINDS and char not in _TURNING:
        return char
    code = ord(char)
    # Above ASCII, JSON uses the same escapes, and JSON lines are printed through here, too.
    return _SHORT_ESCAPES.get(char) or (f"\\x{code:02x}" if code < _SPACE else f"\\u{code:04x}")


def cut(text: str, width: int) -> str:
    """The text, cut to `width` cells, with an ellipsis if it is longer."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + ELLIPSIS


def pad(text: str, width: int) -> str:
    """The text, filled with spaces up to `width` cells, never cut."""
    return text + " " * max(0, width - cell_len(text))


def wrap(text: str, width: int, *, indent: str = "", first: str | None = None) -> Iterator[str]:
    """The text in lines of at most `width` cells: `first` before the first one, `indent` before the others."""
    start = indent if first is None else first
    room = width - max(cell_len(start), cell_len(indent))
    line = start
    is_empty = True
    for word in text.split():
        for part in _pieces(word, max(1, room)):
            gap = "" if is_empty else " "
            if not is_empty and cell_len(line) + len(gap) + cell_len(part) > width:
                yield line
                line, gap = indent, ""
            line += gap + part
            is_empty = False
    yield line.rstrip() if is_empty else line


def wrap_marked(mark: str, text: str, width: int, paint: Paint, *, color: str, indent: str = "") -> Iterator[str]:
    """A text after a colored mark (`! `, `hint: `), wrapped without counting the color codes."""
    lines = wrap(text, width, first=f"{indent}{mark} ", indent=f"{indent}  ")
    for index, line in enumerate(lines):
        yield line if index else f"{indent}{paint(mark, color)}{line[len(indent) + len(mark) :]}"


def _pieces(word: str, width: int) -> list[str]:
    return [word] if cell_len(word) <= width else chop_cells(word, width)


def took(seconds: float) -> str:
    """A measured duration: `4 ms`, `1.4 s`, `3 m 20 s`, `2 h 05 m`."""
    if seconds < 1:
        return f"{max(0, round(seconds / MILLISECOND))} ms"
    if seconds < WITH_FRACTION:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} m {whole % MINUTE:02} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE:02} m"


def about(seconds: float) -> str:
    """An estimated duration: `under a second`, `about 40 seconds`, `about 3 minutes`, `about 2 hours`."""
    for unit, name in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        # Up to one and a half of a unit, the next smaller unit is used.
        if seconds >= 1.5 * unit:
            return f"about {counted(round(seconds / unit), name)}"
    return f"about {counted(round(seconds), 'second')}" if seconds >= 1 else "under a second"
