"""Generates docs/stripe-rules.md and the guesses in docs/sandbox.md from the code.

`python tests/sandbox/rule_pages.py` rewrites both.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from refused_by import REFUSED_BY

from dbt_stripe_sync.sandbox.grounds import GROUNDS, foreseen
from dbt_stripe_sync.sandbox.guesses import GUESSES
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of, read_catalog
from dbt_stripe_sync.stripe_api.rules.catalog import rules_of
from dbt_stripe_sync.stripe_api.rules.lengths import DEFAULT
from dbt_stripe_sync.stripe_api.rules.rule import LIST, WRITES
from dbt_stripe_sync.stripe_api.rules.shapes import Metadata
from dbt_stripe_sync.stripe_api.rules.statuses import FROZEN
from dbt_stripe_sync.stripe_api.rules.texts import MaxCharacters

CATALOG = read_catalog()
ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "dbt_stripe_sync"
RULES_PAGE = ROOT / "docs" / "stripe-rules.md"
SANDBOX_PAGE = ROOT / "docs" / "sandbox.md"
START, END = "<!-- guesses: `python tests/sandbox/rule_pages.py` writes them -->", "<!-- end of guesses -->"
GUESS = "a guess"
TESTS = "tests/sandbox/"
VALUES_TEST = "test_stripe_rules.py::test_the_sandbox_refuses_what_a_rule_forbids"
STATUSES_TEST = "test_stateful_rules.py::test_a_status_fixes_what_its_row_says"
# The functions that make an error to be raised.
_RAISED = frozenset({"refuse", "bad_request", "ApiError", "no_such", "declined", "unknown_url", "unauthorized"})
_RAISED |= {"forbidden", "rate_limited", "session_expired", "key_in_use", "_empty", "_unparsable"}
# Where errors are made and where faults are asked for, nothing is refused by a rule.
_NO_RULES = frozenset({"errors", "faults"})

HEAD = """\
# Stripe's rules

<!-- `python tests/sandbox/rule_pages.py` writes this page from the program's own data. -->

These are the documented rules for what Stripe accepts. The sources are its pages (docs.stripe.com), its OpenAPI
specification, the descriptions of parameters in its SDK, and its statements in public reports. The
[sandbox](sandbox.md) enforces all of them. Rules that are {guess} have no source, and only the sandbox enforces them.

A plan checks every rule with a source in the first two tables. If a row breaks one, the plan rejects it as
`stripe-rule` or `immutable-changed` before anything is sent. The third table lists the errors that depend on other
objects. Its last column says whether a plan finds each error before anything is sent, and if not, why.

## Values and combinations of parameters

- Any text without its own limit has at most {default:,} characters (OpenAPI specification).
- Metadata has at most 50 keys. A key has at most 40 characters and no `[` or `]`, and a value has at most 500
  characters (docs.stripe.com/api/metadata).
- `[]` stands for each item of a list, and `*` for each value of a map. A rule without a parameter applies to the whole
  request.
- The code is in `dbt_stripe_sync/stripe_api/rules/`. One test breaks each rule over HTTP: `{tests}{values_test}`.
"""
STATUSES_HEAD = """\
## Statuses

An object's status limits what an update can change. Parameters that apply to a single request (`proration_behavior` …)
are not affected. The code is `dbt_stripe_sync/stripe_api/rules/statuses.py`. The test is `{tests}{statuses_test}`, and
for the plan `tests/test_foreseen_rules.py::test_what_a_status_fixes_is_known_to_the_plan_unless_it_is_a_guess`.
"""
STATEFUL_HEAD = """\
## Between parameters and objects

The code is in `dbt_stripe_sync/sandbox/`, the sources in its `grounds.py`, the tests in `{tests}`.
"""


@dataclass(frozen=True)
class Refusal:
    """A function of the sandbox that refuses, with what it says."""

    name: str
    place: str
    words: tuple[str, ...]


def read_refusals():
    """Every function of the sandbox that raises an error of the API, by its name in `GROUNDS`."""
    found = {}
    for file in sorted((PACKAGE / "sandbox").rglob("*.py")):
        if file.stem in _NO_RULES:
            continue
        tree = ast.parse(file.read_text())
        for function in _outermost(tree):
            words = tuple(dict.fromkeys(text for node in ast.walk(function) if (text := _refused(node)) is not None))
            if words:
                name = f"{file.stem}.{function.name}"
                found[name] = Refusal(name, file.relative_to(PACKAGE / "sandbox").as_posix(), words)
    return found


def _outermost(tree):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from (inner for inner in node.body if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef))


def _refused(node):
    """The words of a `raise`, with `…` for what they are filled with; None where no error of the API is raised."""
    if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
        return None
    called = node.exc.func
    if not isinstance(called, ast.Name) or called.id not in _RAISED:
        return None
    words = _words(node.exc.args[0]) if node.exc.args else "…"
    if words == "…" or called.id not in {"refuse", "bad_request", "ApiError"}:
        return called.id.strip("_").replace("_", " ")
    return words


def _words(node):
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return _words(node.left) + _words(node.right)
    return "…"


def render_rules():
    """The page of the rules."""
    parts = [
        HEAD.format(guess=GUESS, default=DEFAULT, tests=TESTS, values_test=VALUES_TEST),
        "| resource | parameter | rule | source | code |\n|---|---|---|---|---|",
        *_value_rows(),
        "",
        STATUSES_HEAD.format(tests=TESTS, statuses_test=STATUSES_TEST),
        "| resource | rule | source |\n|---|---|---|",
        *(f"| `{name}` | {rule.says} | {rule.source or GUESS} |" for name, rules in FROZEN.items() for rule in rules),
        "",
        STATEFUL_HEAD.format(tests=TESTS),
        "| error | source | code | test | found by a plan |\n|---|---|---|---|---|",
        *_stateful_rows(),
        "",
    ]
    return "\n".join(parts)


def _value_rows():
    for name in CATALOG.names():
        if lifecycle_of(name).refused is not None:
            continue
        rows: dict[tuple[str, ...], list[str]] = {}
        for operation in (*sorted(WRITES), LIST):
            for rule in rules_of(CATALOG.resources[name], operation):
                if rule.check.says in _SAID_ABOVE:
                    continue
                key = (rule.path, rule.check.says, rule.source or GUESS, type(rule.check).__module__.rpartition(".")[2])
                rows.setdefault(key, []).append(operation)
        for (path, says, source, code), operations in rows.items():
            only = "" if {*operations} >= WRITES else f" ({', '.join(operations)})"
            yield f"| `{name}` | `{path}` | {_cell(says)}{only} | {_cell(source)} | `{code}.py` |"


_SAID_ABOVE = {MaxCharacters(DEFAULT).says, Metadata().says}


def _stateful_rows():
    for name, refusal in read_refusals().items():
        words = "; ".join(f"“{_cell(text)}”" for text in refusal.words)
        test = REFUSED_BY.get(name)
        shown = f"`{test}`" if test else ""
        code = f"`{refusal.place}` `{name.partition('.')[2]}`"
        yield f"| {words} | {GROUNDS.get(name) or GUESS} | {code} | {shown} | {foreseen(name)} |"


def _cell(text):
    # `items[0][price]` would be a link by reference.
    return text.replace("|", "\\|").replace("[", "\\[")


def render_guesses():
    """The list of docs/sandbox.md."""
    rules = {
        f"`{name}` `{rule.path}`: {rule.check.says}"
        for name in CATALOG.names()
        for operation in WRITES
        for rule in rules_of(CATALOG.resources[name], operation)
        if rule.source is None
    }
    refusals = [
        f"{'; '.join(f'“{_cell(text)}”' for text in refusal.words)}"
        for name, refusal in read_refusals().items()
        if GROUNDS.get(name) is None
    ]
    lines = [f"- {text}" for text in GUESSES.values()]
    lines += ["- Undocumented rules for single values:", *(f"  - {rule}" for rule in sorted(rules))]
    lines += ["- Undocumented errors:", *(f"  - {text}" for text in refusals)]
    return "\n".join([START, "", *lines, "", END])


def guesses_in_code():
    """The names of the guesses that comments mark, each with how often."""
    names = []
    for folder in (PACKAGE / "sandbox", PACKAGE / "stripe_api" / "rules"):
        for file in sorted(folder.rglob("*.py")):
            names += re.findall(r"# A guess: `([a-z-]+)`\.", file.read_text())
    return names


def guesses_on_page():
    """The part of docs/sandbox.md that is written by this module."""
    page = SANDBOX_PAGE.read_text()
    return page[page.index(START) : page.index(END) + len(END)]


def main():
    """Write both pages."""
    RULES_PAGE.write_text(render_rules())
    page = SANDBOX_PAGE.read_text()
    SANDBOX_PAGE.write_text(page.replace(guesses_on_page(), render_guesses()))


if __name__ == "__main__":
    main()
