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
from dbt_stripe_sync.stripe_api.rules.rule import LIST, OPENAPI, WRITES
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
VALUES_TEST = "test_stripe_rules.py::test_the_sandbox_rejects_what_a_rule_forbids"
STATUSES_TEST = "test_stateful_rules.py::test_fields_that_a_status_freezes_cannot_be_changed"
# The functions that make an error to be raised: from a message, or with one of their own.
_FROM_MESSAGE = frozenset({"refuse", "bad_request", "ApiError"})
_WITH_MESSAGE = frozenset({"no_such", "declined", "unknown_url", "unauthorized", "forbidden", "rate_limited"})
_WITH_MESSAGE |= {"session_expired", "key_in_use", "_empty", "_unparsable"}
# Where errors are made and where faults are asked for, nothing is refused by a rule.
_NO_RULES = frozenset({"errors", "faults"})

HEAD = """\
# Stripe's rules

<!-- `python tests/sandbox/rule_pages.py` writes this page from the program's own data. -->

These are the documented rules for what Stripe accepts. The sources are Stripe's documentation, its OpenAPI
specification, the descriptions of parameters in its SDK, and Stripe's own messages, quoted in public bug reports. The
[sandbox](sandbox.md) enforces all of them. Rules that are {guess} have no source, and only the sandbox enforces them.

A plan checks every rule with a source under [Parameters](#parameters) and [Statuses](#statuses). If a row breaks one,
the plan rejects it as `stripe-rule` or `immutable-changed` before anything is sent. The list of
[errors that depend on other objects](#errors-that-depend-on-other-objects) says which of them a plan finds.

## Parameters

- Any text without its own limit has at most {default:,} characters ({openapi}).
- Metadata has at most 50 keys. A key has at most 40 characters and no `[` or `]`, and a value has at most 500
  characters ({metadata}).
- `[]` stands for each item of a list, and `*` for each value of a map.
- *(create)*, *(update)* and *(list)* mark rules that apply only to that operation.
"""
STATUSES_HEAD = """\
## Statuses

An object's status limits what an update can change. Parameters that apply to a single request (`proration_behavior` …)
are not affected.
"""
STATEFUL_HEAD = """\
## Errors that depend on other objects

The sandbox answers with these errors. The last column says whether a plan finds each one before anything is sent, and
if not, why.
"""
TESTS_HEAD = """\
## Where this is tested

The rules for parameters are in `dbt_stripe_sync/stripe_api/rules/`, those for statuses in its `statuses.py`, and the
other errors in `dbt_stripe_sync/sandbox/`. In `{tests}`, these tests cause each error over HTTP:
"""
# The errors by what they are about: the heading, and the sandbox's modules whose errors it has.
SECTIONS = {
    "Any request": (),
    "Accounts and customers": ("account", "customers", "limits"),
    "Products, prices and discounts": (
        "amounts",
        "catalog",
        "coupons",
        "discounts",
        "offers",
        "payment_links",
        "plans",
        "prices",
        "rates",
    ),
    "Subscriptions and schedules": (
        "cycles",
        "phases",
        "schedules",
        "subscription_changes",
        "subscription_items",
        "subscriptions",
    ),
    "Invoices, quotes and credit notes": (
        "credit_notes",
        "invoice_items",
        "invoice_payment",
        "invoices",
        "previews",
        "quotes",
    ),
    "Usage, test clocks and webhook endpoints": ("clocks", "metering", "streaming", "webhooks"),
}


@dataclass(frozen=True)
class Refusal:
    """A function of the sandbox that refuses, with what it says."""

    name: str
    place: str
    words: tuple[str, ...]


def read_refusals():
    """Every function of the sandbox that raises an error of the API, by its name in `GROUNDS`."""
    shared = (ast.parse((PACKAGE / "sandbox" / f"{name}.py").read_text()) for name in sorted(_NO_RULES))
    made = {name: words for tree in shared for name, words in _messages_of(tree).items()}
    found = {}
    for file in sorted((PACKAGE / "sandbox").rglob("*.py")):
        if file.stem in _NO_RULES:
            continue
        tree = ast.parse(file.read_text())
        made_here = made | _messages_of(tree)
        for function in _outermost(tree):
            told = (text for node in ast.walk(function) for text in _refused(node, made_here))
            words = tuple(dict.fromkeys(told))
            if words:
                name = f"{file.stem}.{function.name}"
                found[name] = Refusal(name, file.relative_to(PACKAGE / "sandbox").as_posix(), words)
    return found


def _messages_of(tree):
    """The messages of a module's functions that make errors, by the function's name."""
    made = {}
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name in _WITH_MESSAGE:
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            made[function.name] = tuple(_words(call.args[0]) for call in calls if _name_of(call) in _FROM_MESSAGE)
    return made


def _name_of(call):
    return getattr(call.func, "id", "")


def _outermost(tree):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from (inner for inner in node.body if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef))


def _refused(node, made):
    """The messages of a `raise`, with `…` for what they are filled with; none where no error of the API is raised."""
    if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
        return ()
    name = _name_of(node.exc)
    return (_words(node.exc.args[0]),) if name in _FROM_MESSAGE else made.get(name, ())


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
    metadata = _linked("docs.stripe.com/api/metadata")
    return "\n".join(
        [
            HEAD.format(guess=GUESS, default=DEFAULT, openapi=OPENAPI, metadata=metadata),
            *_parameters(),
            STATUSES_HEAD,
            "| resource | rule | source |\n|---|---|---|",
            *(
                f"| `{name}` | {rule.says} | {_source(rule.source)} |"
                for name, rules in FROZEN.items()
                for rule in rules
            ),
            "",
            STATEFUL_HEAD,
            *_errors(),
            TESTS_HEAD.format(tests=TESTS),
            *_tests(),
            "",
        ]
    )


def _parameters():
    """A section for each resource, with its parameters in the order of the alphabet."""
    for name in sorted(CATALOG.names()):
        rows = _rules_of_resource(name) if lifecycle_of(name).refused is None else {}
        if not rows:
            continue
        yield f"### `{name}`\n\n| parameter | rule | source |\n|---|---|---|"
        for (path, says, source), operations in sorted(rows.items(), key=lambda row: row[0][0]):
            only = "" if {*operations} >= WRITES else f" *({', '.join(operations)})*"
            yield f"| {_path(path)} | {_cell(says)}{only} | {_source(source)} |"
        yield ""


def _rules_of_resource(name):
    """The operations that each rule of a resource applies to, by its parameter, its words and its source."""
    rows: dict[tuple[str, str, str | None], list[str]] = {}
    for operation in (*sorted(WRITES), LIST):
        for rule in rules_of(CATALOG.resources[name], operation):
            if rule.check.says not in _SAID_ABOVE:
                rows.setdefault((rule.path, rule.check.says, rule.source), []).append(operation)
    return rows


_SAID_ABOVE = {MaxCharacters(DEFAULT).says, Metadata().says}


def _path(path):
    return f"`{path}`" if path else "the whole request"


# They enforce the rules for parameters and statuses.
_RULES_ABOVE = frozenset({"strictness.enforce_rules", "limits.check_frozen"})


def _errors():
    """A section for each kind of object, with the sandbox's errors about it."""
    by_module = {module: heading for heading, modules in SECTIONS.items() for module in modules}
    found: dict[str, list[str]] = {heading: [] for heading in SECTIONS}
    for name, refusal in read_refusals().items():
        if name in _RULES_ABOVE:
            continue
        about = name.partition(".")[0] if refusal.place.startswith("objects/") else None
        heading = "Any request" if about is None else by_module[about]
        found[heading].append(f"| {_quoted(refusal.words)} | {_source(GROUNDS.get(name))} | {foreseen(name)} |")
    for heading, rows in found.items():
        yield f"### {heading}\n\n| error | source | found by a plan |\n|---|---|---|"
        yield from dict.fromkeys(rows)
        yield ""


def _quoted(words):
    return "; ".join(f"“{_cell(text)}”" for text in words)


def _tests():
    """Each test, with the functions whose errors it causes."""
    caused: dict[str, list[str]] = {VALUES_TEST: ["each rule for a parameter"], STATUSES_TEST: ["each status"]}
    for name in read_refusals():
        if name in REFUSED_BY:
            caused.setdefault(REFUSED_BY[name], []).append(f"`{name}`")
    for test, names in sorted(caused.items()):
        yield f"- `{test}`: {', '.join(names)}"


def _source(source):
    """A source with its links; a sentence of the SDK in quotes."""
    if source is None:
        return GUESS
    said = re.fullmatch(r"the SDK's description: (.*)", source)
    return f"SDK: “{_cell(said[1])}”" if said else _linked(_cell(source))


def _linked(text):
    """The pages that a text names, as links without their anchors' names."""
    return re.sub(r"\b((?:[\w-]+\.)+(?:com|eu|net)/[\w./-]*\w)(#[\w-]+)?", r"[\1](https://\1\2)", text)


def _cell(text):
    """A text for a cell. Outside code, `items[0][price]` would be a link by reference."""
    parts = re.split(r"(`+[^`]*`+)", text.replace("|", "\\|"))
    return "".join(part if part.startswith("`") else part.replace("[", "\\[") for part in parts)


def render_guesses():
    """The list of docs/sandbox.md."""
    rules = {
        (name, rule.path, f"`{name}`{f' `{rule.path}`' if rule.path else ''}: {rule.check.says}")
        for name in CATALOG.names()
        for operation in WRITES
        for rule in rules_of(CATALOG.resources[name], operation)
        if rule.source is None
    }
    refusals = [_quoted(refusal.words) for name, refusal in read_refusals().items() if GROUNDS.get(name) is None]
    lines = [f"- {text}" for text in GUESSES.values()]
    lines += ["- Undocumented rules for single values:", *(f"  - {rule}" for _, _, rule in sorted(rules))]
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
