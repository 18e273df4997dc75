"""Removes what must not be shown: secrets always, and row values unless they were requested."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.calls import OBJECT_ID, is_object_id
from dbt_stripe_sync.model.change import Fingerprint, NotStored, Ref
from dbt_stripe_sync.model.money import is_currency
from dbt_stripe_sync.model.nested import map_leaves

if TYPE_CHECKING:
    from collections.abc import Iterator

HIDDEN = "…"
NOT_KEPT = "(not stored)"
HIDDEN_SECRET = "(hidden)"  # noqa: S105 - what stands in its place

# docs.stripe.com/keys: secret, restricted, publishable, ephemeral and organization keys, and signing secrets of
# webhooks. A key shows its mode, or contains a digit or Stripe's own asterisks. So a name such as `pk_customers`
# doesn't match, and neither do `sk_test_…` and `sk_test_` in our own hints.
_KEY = re.compile(
    r"\b(sk_org|sk|rk|pk|ek|whsec)_(?=(?:live|test)_[_.]*[A-Za-z0-9*]|(?!(?:live|test)_)[A-Za-z0-9_*.]*[0-9*])"
    r"[A-Za-z0-9_*.]{4,}",
    re.ASCII,
)
# A key that shows its mode is also found in the middle of a word: `key_sk_live_…`. `risk_test_run` doesn't match.
_KEY_IN_A_WORD = re.compile(r"([sr]k)_(?:live|test)_[A-Za-z0-9]{10,}", re.ASCII)
# A signing secret has 32 letters and digits, or base64. One without a digit matches, too, since no model has such a
# name.
_SIGNING_SECRET = re.compile(r"(?<![A-Za-z0-9])(whsec)_[A-Za-z0-9+/]{16,}={0,2}")
# `pi_…_secret_…`. A secret has both cases, or is long, so a model's name such as `dim_secret_santa` doesn't match.
_CLIENT_SECRET = re.compile(r"_secret_(?:(?=[a-z0-9]*[A-Z])(?=[A-Z0-9]*[a-z])[A-Za-z0-9]{4,}|[A-Za-z0-9]{16,})")
# A part that each of them contains. Most texts contain none, and are skipped.
_LIKE_A_KEY = re.compile(r"(?:[srpe]k|whsec|secret)_", re.ASCII)
_EMAIL = re.compile(r"[^\s'\"<>:,;()]*@[^\s'\"<>:,;()]*")
# Parameters of card, bank and identity data: docs.stripe.com/api accepts them, but reports must not show them.
_SECRET_NAMES = frozenset(
    {
        "account_number",
        "client_secret",
        "cryptogram",
        "cvc",
        "id_number",
        "password",
        "personal_id_number",
        "routing_number",
        "secret",
        "ssn_last_4",
        "token",
    }
)
# A card's `number` is sensitive, an invoice's isn't.
_CARD_NAMES = frozenset({"exp_month", "exp_year", "number"})
# Shorter texts would also match words of the message that aren't row values.
_SHORTEST_ANY_CASE = 4
# If Stripe quotes a single letter, it is the row's.
_SHORTEST = 2
_MARKS = "['\"]"
_QUOTE = f"(?<={_MARKS})"


def is_secret(name: str, parent: str = "") -> bool:
    """Whether a parameter of this name, in a hash named `parent`, may hold sensitive data."""
    return name in _SECRET_NAMES or (parent == "card" and name in _CARD_NAMES)


def hide_keys(text: str) -> str:
    """A text without anything that looks like a key or a client secret. Every report's text goes through this."""
    if _LIKE_A_KEY.search(text) is None:
        return text
    for pattern in (_SIGNING_SECRET, _KEY, _KEY_IN_A_WORD):
        text = pattern.sub(lambda found: f"{found[1]}_{HIDDEN}", text)
    return _CLIENT_SECRET.sub("_secret_" + HIDDEN, text)


def hide_keys_in(document: Any) -> Any:
    """A document of JSON values without secrets at any depth."""
    return map_leaves(
        document, lambda leaf: hide_keys(leaf) if isinstance(leaf, str) else leaf, lambda name: hide_keys(str(name))
    )


def hide_secrets(value: Any, parent: str = "") -> Any:
    """Parameters with every key, client secret, card and bank number removed. Texts are searched as well."""
    if isinstance(value, str):
        return hide_keys(value)
    if isinstance(value, dict):
        return {
            hide_keys(name): HIDDEN_SECRET if is_secret(name, parent) and _is_leaf(part) else hide_secrets(part, name)
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [hide_secrets(part, parent) for part in value]
    return value


def hide_values(text: str, params: Any) -> str:
    """Stripe's message without the row values that it repeats: every value of `params`, and every email address.

    Stripe's own ids stay, because people search for them.
    """
    # A value surrounded by blanks in a message is not a different cause.
    text = " ".join(_EMAIL.sub(HIDDEN, hide_secrets(text)).split())
    folded = text.casefold()
    # Few of a row's values occur in a message, so the others are skipped cheaply first.
    found = {value for value in _texts(params) if value.casefold() in folded and not is_object_id(value)}
    for value in sorted(found, key=len, reverse=True):
        flags = re.IGNORECASE if len(value) >= _SHORTEST_ANY_CASE else 0
        before, after = (
            (r"(?<!\w)", r"(?!\w)") if len(value) >= _SHORTEST or value.isdigit() else (_QUOTE, f"(?={_MARKS})")
        )
        text = re.sub(before + re.escape(value) + after, HIDDEN, text, flags=flags)
    return text


def describe_values(value: Any) -> Any:
    """Parameters with each value replaced by its type: the shape of what was sent, without its contents."""
    return map_leaves(value, _described)


def _described(value: Any) -> Any:
    if isinstance(value, bool):
        return "(true or false)"
    if isinstance(value, str):
        if not value:
            return ""
        return value if is_object_id(value) else "(text)"
    if isinstance(value, NotStored):
        return f"({value.kind})"
    if isinstance(value, Fingerprint):
        return NOT_KEPT
    return "(null)" if value is None else value if isinstance(value, Ref) else "(number)"


def without_ids(text: str) -> str:
    """A message without ids, so that the same failure of many rows is one cause."""
    return OBJECT_ID.sub(HIDDEN, text)


def _is_leaf(part: Any) -> bool:
    return part is not None and not isinstance(part, dict | list | tuple)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            # A currency isn't personal, and without it "The invoice is in usd, the item in …" would be useless.
            if not (name == "currency" and isinstance(part, str) and is_currency(part.lower())):
                yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, bool) or value is None or isinstance(value, Ref | Fingerprint | NotStored):
        return
    elif text := str(value).strip():
        yield text
