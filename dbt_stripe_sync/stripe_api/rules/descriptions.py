"""Extracts rules from the SDK's descriptions of its parameters, sentence by sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.stripe_api.rules.numbers import Between, ChargeableAmount, MaxDecimals
from dbt_stripe_sync.stripe_api.rules.shapes import Includes, MaxItems
from dbt_stripe_sync.stripe_api.rules.texts import (
    Country,
    Currency,
    CurrencyKeys,
    HasLetter,
    Matches,
    MaxCharacters,
    Without,
)
from dbt_stripe_sync.stripe_api.rules.times import InFuture, InPast, NotBefore, WithinYears, max_interval
from dbt_stripe_sync.stripe_api.rules.together import Excludes, NeedsOneOf, NeedsWhen, OnlyWith

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.model.params import Param
    from dbt_stripe_sync.stripe_api.rules.rule import Check

Reading: TypeAlias = Callable[["re.Match[str]"], "Check"]

_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


def _number(text: str) -> int:
    return _NUMBERS.get(text) or int(text.replace(",", ""))


# "except periods, commas, hyphens, spaces and apostrophes"
_LATIN_NAME = Matches(r"[A-Za-z\u00c0-\u024f.,' -]+", "Latin letters, periods, commas, hyphens, spaces and apostrophes")
_TEXTS: tuple[tuple[str, Reading], ...] = (
    (r"\b[Uu]p to \*?(\d+) ?characters\b", lambda m: MaxCharacters(int(m[1]))),
    (r"[Mm]aximum length (?:of this field )?is (\d+) characters", lambda m: MaxCharacters(int(m[1]))),
    (r"\bMaximum (\d+) characters[.]", lambda m: MaxCharacters(int(m[1]))),
    (r"Max(?:imum)? length(?: is|:) (\d+) characters", lambda m: MaxCharacters(int(m[1]))),
    (r"cannot contain any special characters or numbers", lambda _: Without("0123456789")),
    (r"cannot contain any numbers, special characters .* or non-latin letters", lambda _: _LATIN_NAME),
    (
        r"Allowed characters: `A-Z`, `a-z`, `0-9`, ` `, `[.]`, `-`",
        lambda _: Matches(r"[A-Za-z0-9 .-]+", "letters, digits, spaces, periods and hyphens"),
    ),
    (r"Must be unique to this field, alphanumeric", lambda _: Matches(r"[A-Za-z0-9]+", "letters and digits")),
    (r"date .* in ISO 8601 format[.]", lambda _: Matches(r"\d{4}-\d{2}-\d{2}", "a date such as `2023-12-31`")),
    (r"^Two-letter (?:CA province|US state) code", lambda _: Matches(r"[A-Za-z]{2}", "a two-letter code")),
    (r"may not include (`.`(?:, `.`)*) characters", lambda m: Without("".join(re.findall(r"`(.)`", m[1])))),
    (r"must contain at least one letter", lambda _: HasLetter()),
    (
        r"Valid characters are lower case letters \(a-z\), upper case letters \(A-Z\), digits \(0-9\), and dashes",
        lambda _: Matches(r"[A-Za-z0-9-]+", "letters, digits and dashes"),
    ),
    (
        r"Must be (\d+)–(\d+) uppercase letters or numbers",  # noqa: RUF001 - as Stripe writes it
        lambda m: Matches(rf"[A-Z0-9]{{{m[1]},{m[2]}}}", f"{m[1]} to {m[2]} uppercase letters or digits"),
    ),
    (r"Three-letter \[ISO currency code\].* Must be a \[supported currency\]", lambda _: Currency()),
    (r"^Three-letter \[ISO code\]\(https://stripe[.]com/docs/currencies\)", lambda _: Currency()),
    (r"must be a (?:currency|country/currency pairing) that \[Stripe supports", lambda _: Currency()),
    (r"^Two-letter country code", lambda _: Country()),
    (r"should be an ISO 3166-1 alpha-2 country code", lambda _: Country()),
)
_DECIMALS: tuple[tuple[str, Reading], ...] = (
    (r"at most (\w+) decimal places", lambda m: MaxDecimals(_number(m[1]))),
    (r"Maximum precision is (\w+) decimal places", lambda m: MaxDecimals(_number(m[1]))),
    (r"[Nn]on-negative decimal between (\d+) and (\d+)", lambda m: Between(least=int(m[1]), most=int(m[2]))),
    (r"[Nn]on-negative decimal with", lambda _: Between(least=0)),
    (
        r"positive float larger than (\d+), and smaller or equal to (\d+)",
        lambda m: Between(above=int(m[1]), most=int(m[2])),
    ),
)
_INTEGERS: tuple[tuple[str, Reading], ...] = (
    (r"positive integer (?!.*\(or 0 for)(?!.*or a negative integer)", lambda _: Between(least=1)),
    (r"positive integer .*\(or 0 for a free \w+\)(?!.*or a negative integer)", lambda _: Between(least=0)),
    (r"^(?:A )?[Nn]on-negative integer", lambda _: Between(least=0)),
    (r"[Mm]ust be greater than (\d+)[.]", lambda m: Between(above=int(m[1]))),
    (r"Has to be at least (\d+)[.]", lambda m: Between(least=int(m[1]))),
    (r"You can specify a value up to (\d+)", lambda m: Between(most=int(m[1]))),
    (r"\b(?:day|month) of \w+, between (\d+) and (\d+)", lambda m: Between(least=int(m[1]), most=int(m[2]))),
    (r"specified as a number between (\d+)--(\d+)", lambda m: Between(least=int(m[1]), most=int(m[2]))),
    (r"^Integer between (\d+) to (\d+)", lambda m: Between(least=int(m[1]), most=int(m[2]))),
    (r"\bRanges from (\d+) to (\d+)", lambda m: Between(least=int(m[1]), most=int(m[2]))),
    (r"month \((\d+)-(\d+)\)", lambda m: Between(least=int(m[1]), most=int(m[2]))),
    (r"\b4-digit\b", lambda _: Between(least=1000, most=9999)),
    (r"\(between (\d+) and (\d+), inclusive\)", lambda m: Between(least=int(m[1]), most=int(m[2]))),
    (r"highest priority is (\d+) and the lowest is (\d+)", lambda m: Between(least=int(m[1]), most=int(m[2]))),
    (r"amount value supports up to eight digits", lambda _: ChargeableAmount()),
    (r"Maximum of (\w+) years? interval allowed", lambda m: max_interval(_number(m[1]))),
    (r"maximum duration is (\w+) years", lambda m: max_interval(_number(m[1]))),
    (r"^A future timestamp", lambda _: InFuture()),
    (r"or a future timestamp measured in seconds", lambda _: InFuture()),
    (r"isn't usable after this future timestamp", lambda _: InFuture()),
    (r"^A past timestamp", lambda _: InPast()),
    (r"cannot be set to more than (\d+) years in the future", lambda m: WithinYears(int(m[1]))),
    (r"\(up to (\d+) years in the future\)", lambda m: WithinYears(int(m[1]))),
    (
        r"Can be at most (\w+) years from `billing_cycle_anchor`",
        lambda m: WithinYears(_number(m[1]), "The maximum number of trial period days is 730 (2 years)."),
    ),
    (r"must be greater than or equal to the start", lambda _: NotBefore("start")),
)
_LISTS: tuple[tuple[str, Reading], ...] = (
    (r"\blist of up to (\d+)\b", lambda m: MaxItems(int(m[1]))),
    (r"You may pass up to (\d+) items", lambda m: MaxItems(int(m[1]))),
    (r"Up to (\d+) line items are supported", lambda m: MaxItems(int(m[1]))),
    (r"There is a maximum of (\d+) optional items", lambda m: MaxItems(int(m[1]))),
    (r"Limit (\d+) prices", lambda m: MaxItems(int(m[1]))),
    (r"You can specify up to (\d+) lookup_keys", lambda m: MaxItems(int(m[1]))),
    (r"Only one entry is supported", lambda _: MaxItems(1)),
    (r"can only specify up to one filter", lambda _: MaxItems(1)),
    (r"Up to (\d+) fields are supported", lambda m: MaxItems(int(m[1]))),
    (r"Up to (\d+) options allowed", lambda m: MaxItems(int(m[1]))),
    (r"the `(\w+)` permission must be included", lambda m: Includes(m[1])),
)
_MAPS: tuple[tuple[str, Reading], ...] = (
    (r"Each key must be a three-letter \[ISO currency code\].* a \[supported currency\]", lambda _: CurrencyKeys()),
)
_BY_KIND = {
    ParamKind.STRING: _TEXTS,
    ParamKind.INTEGER: _INTEGERS,
    ParamKind.NUMBER: _DECIMALS,
    ParamKind.LIST: _LISTS,
    ParamKind.MAP: _MAPS,
}
# For all kinds of parameters: which other parameter excludes this one.
_EXCLUDED = (
    r"Only one of `(?P<one>\w+)` and `(?P<two>\w+)` can be set",
    r"If set, `(?P<one>\w+)` must not be set",
    r"Cannot be (?:used in combination|combined|set) with `(?P<one>\w+)`",
    r"can not be combined with `(?P<one>\w+)`",
    r"Not valid when `(?P<one>\w+)` is used",
    r"Mutually exclusive with (?P<one>\w+)\b",
    r"together with `(?P<one>\w+)` is not allowed",
    r"either `(?P<one>\w+)` or `(?P<two>\w+)`, but not both",
)
# Which value of a sibling a parameter requires, and which value makes the parameter required.
_GOES_WITH = (
    r"(?:Only valid|Valid only) (?:when|for \w+ where) (?:the )?`(?P<sibling>\w+)"
    r"(?:=(?P<a>\w+)`|` is (?:set to )?`(?P<b>\w+)`)"
)
_APPLICABLE_WITH = r"(?:applicable|supported) only if `(?P<sibling>\w+)` is `(?P<a>\w+)`(?P<b>)"
_REQUIRED_WITH = (
    r"Required (?:only )?(?:when|if) `(?P<sibling>\w+)(?:=(?P<a>\w+)`|` is `(?P<b>\w+)`)",
    r"Must be present if (?P<sibling>type) is `(?P<b>\w+)`",
    r"required if `(?P<sibling>\w+)` is passed",
)
# Parameters of a hash of which at least one is required.
_ONE_NEEDED = r"One of (?P<names>`\w+`(?:, `\w+`)*,? or `\w+`) is required[.](?!\w)"
# A sibling's value if the request omits it.
_DEFAULTS = {"collection_method": "charge_automatically", "duration": "once"}


def read_checks(param: Param) -> Iterator[tuple[Check, str]]:
    """Yield the checks that a parameter's description asks for, each with its sentence."""
    text = " ".join(param.description.split())
    if not text:
        return
    for pattern, read in _BY_KIND.get(param.kind, ()):
        match = re.search(pattern, text)
        if match is not None:
            yield read(match), _sentence(text, match)
    for pattern in _EXCLUDED:
        match = re.search(pattern, text)
        if match is not None:
            others = [name for name in match.groupdict().values() if name and name != param.name]
            for other in others:
                yield Excludes(other), _sentence(text, match)


def read_conditions(param: Param, siblings: Mapping[str, Param]) -> Iterator[tuple[Check, str, bool]]:
    """Yield the checks in a parameter's description that depend on its siblings, each with its sentence.

    The last value says whether the check belongs to the siblings' hash, so that it applies even if the parameter is
    missing.
    """
    text = " ".join(param.description.split())
    for pattern in (_GOES_WITH, _APPLICABLE_WITH):
        match = re.search(pattern, text)
        if match is not None and match["sibling"] in siblings:
            sibling, value = match["sibling"], match["a"] or match["b"]
            yield OnlyWith(sibling, value, _default_of(sibling, siblings)), _sentence(text, match), False
    match = re.search(_ONE_NEEDED, text)
    names = tuple(re.findall(r"`(\w+)`", match["names"])) if match is not None else ()
    # All of the names have this sentence, so the first one is enough.
    if match is not None and param.name == names[0]:
        # An entry that has an id already exists.
        yield NeedsOneOf(names, tuple(name for name in ("id",) if name in siblings)), _sentence(text, match), True
    for pattern in _REQUIRED_WITH:
        match = re.search(pattern, text)
        if match is not None and match["sibling"] in siblings:
            sibling, groups = match["sibling"], match.groupdict()
            value = groups.get("a") or groups.get("b")
            default = _default_of(sibling, siblings)
            yield NeedsWhen(sibling, value, (param.name,), default), _sentence(text, match), True


def _default_of(sibling: str, siblings: Mapping[str, Param]) -> str | None:
    """Return a sibling's value if a request omits it: its known default, or the only keyword that it accepts."""
    words = siblings[sibling].enum
    return _DEFAULTS.get(sibling) or (words[0] if len(words) == 1 else None)


def _sentence(text: str, match: re.Match[str]) -> str:
    """Return the sentences around a match, without their links."""
    start = max((at.end() for at in re.finditer(r"[.] ", text[: match.start()])), default=0)
    rest = re.search(r"[.](?: |$)", text[match.end() - 1 :])
    end = len(text) if rest is None else match.end() - 1 + rest.start() + 1
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text[start:end]).strip()
