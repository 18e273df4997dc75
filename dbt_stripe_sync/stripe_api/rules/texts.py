"""Checks of texts: their length, characters and format."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.money import is_currency
from dbt_stripe_sync.stripe_api.rules.rule import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.stripe_api.rules.rule import Spot

_COUNTRY = re.compile(r"[A-Za-z]{2}")
_WITH_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/]")


class MaxCharacters(Struct, frozen=True):
    """A text has at most this many characters."""

    most: int

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"at most {counted(self.most, 'character')}"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if the text is longer."""
        if isinstance(value, str) and len(value) > self.most:
            yield Fault(
                reason=f"has {len(value):,} characters, Stripe accepts {self.most:,}",
                message=f"Invalid string: must be at most {self.most} characters",
                hint=f"shorten it in the model, for example with left(…, {self.most})",
            )


class Without(Struct, frozen=True):
    """A text contains none of the given characters."""

    characters: str

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"none of {_listed(self.characters)}"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if the text contains one of them."""
        if isinstance(value, str) and any(character in value for character in self.characters):
            yield Fault(
                # By name, since the character itself is part of the row's value.
                reason=f"has a character that Stripe rejects here ({_named(self.characters)})",
                message=f"This value may not include any of these characters: {' '.join(self.characters)}",
                hint="remove it in the model, for example with translate()",
            )


class HasLetter(Struct, frozen=True):
    """A text contains a letter."""

    says: str = "at least one letter"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if there is no letter."""
        if isinstance(value, str) and value and not re.search(r"[A-Za-z]", value):
            yield Fault(
                reason="has no letter, and Stripe requires at least one",
                message="The statement descriptor must contain at least one alphabetic character.",
            )


class Matches(Struct, frozen=True):
    """A text matches a pattern, which `says` describes."""

    pattern: str
    says: str

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if the whole text doesn't match."""
        if isinstance(value, str) and value and not re.fullmatch(self.pattern, value):
            yield Fault(reason=f"must be {self.says}", message=f"Invalid value: must be {self.says}")


class Email(Struct, frozen=True):
    """A text looks like an email address."""

    says: str = "an email address: a name, `@`, and a domain with a dot, without spaces"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it doesn't."""
        if not isinstance(value, str) or not value:
            return
        name, _, domain = value.partition("@")
        if not (name and "." in domain.strip(".")) or re.search(r"\s", value):
            yield Fault(
                reason="is not an email address", message=f"Invalid email address: {value}", code="email_invalid"
            )


class Currency(Struct, frozen=True):
    """A currency that Stripe supports."""

    says: str = "a currency that Stripe supports"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if Stripe doesn't support it."""
        if isinstance(value, str) and value and not is_currency(value):
            yield _unknown_currency(value)


class CurrencyKeys(Struct, frozen=True):
    """The keys of a map are currencies that Stripe supports."""

    says: str = "each key is a currency that Stripe supports"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault for each key that isn't a supported currency."""
        if isinstance(value, dict):
            for name in value:
                if not is_currency(name):
                    yield _unknown_currency(name, within=(name,))


class Country(Struct, frozen=True):
    """A two-letter country code."""

    says: str = "a two-letter country code"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it doesn't have two letters."""
        if isinstance(value, str) and value and not _COUNTRY.fullmatch(value):
            yield Fault(
                reason="is not a two-letter country code",
                message="The country code you provided was invalid. Try a two-letter country code.",
                code="country_code_invalid",
                hint="use ISO 3166-1 alpha-2, such as `DE`",
            )


class Url(Struct, frozen=True):
    """A text is a URL with a scheme."""

    says: str = "a URL with its scheme, such as `https://example.com`"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it has no scheme."""
        if isinstance(value, str) and value and not _WITH_SCHEME.match(value):
            yield Fault(
                reason="is not a valid URL: it has no scheme",
                message="Invalid URL: An explicit scheme (such as https) must be provided.",
                code="url_invalid",
                hint="start it with `https://` in the model",
            )


def _unknown_currency(code: str, within: tuple[str, ...] = ()) -> Fault:
    return Fault(
        reason="is not a currency that Stripe supports",
        message=f"Invalid currency: {code}. Stripe supports the currencies of https://stripe.com/docs/currencies.",
        hint="use a three-letter ISO code, such as `usd` (docs.stripe.com/currencies)",
        within=within,
    )


_NAMES = {"<": "angle bracket", ">": "angle bracket", "\\": "backslash", '"': "quotation mark", "'": "apostrophe"}


def _named(characters: str) -> str:
    names = ("digit" if character.isdigit() else _NAMES.get(character, "asterisk") for character in characters)
    return ", ".join(dict.fromkeys(names))


def _listed(characters: str) -> str:
    return " ".join(f"`{character}`" for character in characters)
