"""Checks that the fields which a request expands can be expanded (docs.stripe.com/api/expanding_objects)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.sandbox.errors import bad_request
from dbt_stripe_sync.sandbox.rendering import PAGES
from dbt_stripe_sync.stripe_api.sdk_expandable import can_expand

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dbt_stripe_sync.sandbox.store import Body

MOST_EXPANDED_LEVELS = 4


def read_expand(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that a request expands. Raises `ApiError` for a path that is too deep."""
    wanted = tuple(paths)
    for path in wanted:
        if path.count(".") >= MOST_EXPANDED_LEVELS:
            raise bad_request(
                f"You cannot expand more than {MOST_EXPANDED_LEVELS} levels of a property. The property that you "
                f"attempted to expand was `{path}`.",
                "expand",
            )
    return wanted


def check_expand(body: Body, listed: str | None, paths: Iterable[str]) -> None:
    """Raise `ApiError` for a path that doesn't exist, or that leads to a plain value.

    `listed` is the kind of the objects on a page, if known. It is needed if the page is empty.
    """
    is_page = body.get("object") in PAGES
    for path in paths:
        steps = tuple(path.split("."))
        name = body.get("object")
        if is_page:
            if steps[0] != "data":
                raise bad_request(
                    f"This property cannot be expanded ({path}). You may want to try expanding 'data.{path}' instead.",
                    "expand",
                )
            name, steps = (body["data"][0].get("object") if body["data"] else listed), steps[1:]
        if name and steps and not can_expand(str(name), steps):
            raise bad_request(f"This property cannot be expanded ({path}).", "expand")
