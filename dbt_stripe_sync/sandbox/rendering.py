"""Renders a stored body as the API returns it: computed fields, on-demand fields, expansion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox.store import copy_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.sandbox.family import Family
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

PAGES = ("list", "search_result")
# Fields that hold an object's id, but aren't named after its kind.
_KINDS = {
    "default_price": "price",
    "latest_invoice": "invoice",
    "from_invoice": "invoice",
    "schedule": "subscription_schedule",
    "default_payment_method": "payment_method",
    "released_subscription": "subscription",
}


def render(work: Work, family: Family | None, body: Body, expand: Sequence[str] = ()) -> Body:
    """Return an object or a page as an answer shows it."""
    if family is None or body.get("deleted") or body.get("object") not in {family.object, *PAGES}:
        return body
    if body["object"] in PAGES:
        inner = tuple(path[5:] for path in expand if path.startswith("data."))
        return {**body, "data": [render(work, family, item, inner) for item in body["data"]]}
    shown = family.render(work, body) if family.render is not None else body
    top = {path.partition(".")[0] for path in expand}
    if family.expand_only:
        shown = {key: value for key, value in shown.items() if key not in family.expand_only or key in top}
    for name, compute in family.computed.items():
        if name in top:
            shown = {**shown, name: compute(work, shown)}
    if expand:
        shown = copy_json(shown)
        for path in expand:
            _expand(work, shown, path.split("."))
    return shown


def full(work: Work, family: Family | None, body: Body) -> Body:
    """Return an object with all of its stored fields, even those that only `expand` shows, for the controls."""
    return family.render(work, body) if family is not None and family.render is not None else body


def _expand(work: Work, node: Any, steps: list[str]) -> None:
    if isinstance(node, list):
        for item in node:
            _expand(work, item, steps)
        return
    if not isinstance(node, dict) or not steps:
        return
    name, rest = steps[0], steps[1:]
    value = node.get(name)
    if isinstance(value, str):
        found = _object(work, name, value)
        if found is not None:
            node[name] = copy_json(found)
    elif isinstance(value, list):
        node[name] = [
            (copy_json(_object(work, name, item) or item) if isinstance(item, str) else item) for item in value
        ]
    _expand(work, node.get(name), rest)


def _object(work: Work, name: str, id_: str) -> Body | None:
    prefix = id_.partition("_")[0]
    kinds = [_KINDS.get(name, name), *(kind for kind, family in work.families.items() if family.prefix == prefix)]
    for kind in kinds:
        if kind in work.families:
            body = work.shown(kind, id_)
            if body is not None:
                return render(work, work.families[kind], body)
    return None
