"""Finds Stripe secrets in the project's YAML, and keeps them out of messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# docs.stripe.com/keys, docs.stripe.com/webhooks/signature: secret and restricted keys, and the secrets of webhooks.
SECRET = re.compile(r"\b(?:[sr]k_(?:live|test)|whsec)_\w+|[sr]k_(?:live|test)_[A-Za-z0-9]{10,}")


def without_secrets(text: str) -> str:
    """The text with each Stripe secret reduced to its kind."""
    return SECRET.sub(lambda found: f"{found[0].partition('_')[0]}_…", text)


def find_secrets(value: Any) -> Iterator[tuple[str, ...]]:
    """The paths of the texts and names in some YAML that contain a secret. A path may contain one itself."""
    if isinstance(value, str):
        if SECRET.search(value):
            yield ()
    elif isinstance(value, dict):
        for name, part in value.items():
            if SECRET.search(str(name)):
                yield (str(name),)
            yield from ((str(name), *rest) for rest in find_secrets(part))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from ((str(index), *rest) for rest in find_secrets(part))
