"""Chooses the existing object of a row without a record, among those that match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.calls import reject, reject_unanswered, row_tag
from dbt_stripe_sync.engine.decide.rules import Ask, FindObjects, Observed, Reject, Rules
from dbt_stripe_sync.engine.payload.layout import keeps
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.objects import EMAIL, NEAR_EMAIL, TAG_FIELD, near_text
from dbt_stripe_sync.model.sync import MatchEmail, OnAmbiguous, WhenEnded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.engine.decide.rules import Found
    from dbt_stripe_sync.model.difference import RowDiff


class Existing(Struct, frozen=True, kw_only=True):
    """An object in Stripe that a row without a record was matched to."""

    body: Mapping[str, Any]
    by: str


def choose(
    rules: Rules, diff: RowDiff, params: Mapping[str, Any], observed: Observed
) -> Existing | Ask | Reject | None:
    """The object of a row without a record, or None if Stripe has none; or what has to be asked first."""
    if observed.found is None:
        pairs = _pairs(rules, diff)
        named = {} if rules.lifecycle.listed else params
        return Ask(need=FindObjects(pairs=pairs, params=named)) if pairs else None
    if observed.found.failed:
        return reject_unanswered(rules, diff.key)
    if not observed.found.objects and not observed.found.is_near and (near := _near_pairs(rules, diff)):
        return Ask(need=FindObjects(pairs=near, is_near=True))
    living = _usable(rules, observed.found.objects)
    if living and observed.found.is_near:
        if rules.sync.match_email is MatchEmail.EXACT:
            return _differs_in_case(rules, diff, living)
        return _choose(rules, diff, replace(observed.found, by=EMAIL), living)
    return _choose(rules, diff, observed.found, living) if living else None


def has_ended(rules: Rules, body: Mapping[str, Any]) -> bool:
    """Whether an object has ended, so that it can no longer become what its row asks for."""
    return body.get("status") in rules.lifecycle.ended


def in_use(rules: Rules, objects: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """The objects that are neither archived nor ended."""
    over = rules.lifecycle.over
    return tuple(body for body in objects if body.get("active") is not False and body.get("status") not in over)


def _pairs(rules: Rules, diff: RowDiff) -> tuple[tuple[str, str], ...]:
    """The values to search a row's object by. The tag comes first, so that a lost state doesn't create it twice."""
    is_asked = rules.tag_for is None or diff.key in rules.tag_for
    pairs = [(TAG_FIELD, row_tag(rules, diff.key))] if is_asked else []
    for match in rules.sync.match:
        text = rules.builder.text(match.value, diff.row)
        pairs += [(match.by, text)] if text else []
    return tuple(pairs)


def _near_pairs(rules: Rules, diff: RowDiff) -> tuple[tuple[str, str], ...]:
    """The row's email address, if the row is matched by it, to be compared without case and blanks."""
    if "search" not in rules.resource.operations:
        return ()
    texts = [rules.builder.text(match.value, diff.row) for match in rules.sync.match if match.by == EMAIL]
    return tuple((NEAR_EMAIL, near_text(text)) for text in texts if text)


def _differs_in_case(rules: Rules, diff: RowDiff, objects: Sequence[Mapping[str, Any]]) -> Reject:
    ids = ", ".join(str(body["id"]) for body in objects)
    whose = "an existing object has" if len(objects) == 1 else f"{len(objects)} existing objects have"
    return reject(
        Problem(
            code="ambiguous-match",
            summary=f"{whose} the same `{EMAIL}` except for case or blanks: {ids}",
            where=rules.sync.where.at_field("match").at_key(diff.key),
            hint="set `match_email: ignore_case` to adopt it, or write the address in the model as it is in Stripe",
        )
    )


def _usable(rules: Rules, objects: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """The objects to choose from.

    One in use comes before archived or ended ones, which are restarted if the sync asks for it.
    """
    living = in_use(rules, objects)
    if living or rules.sync.when_ended is WhenEnded.RESTART:
        return living or tuple(body for body in objects if not has_ended(rules, body))
    return tuple(objects)


def _choose(rules: Rules, diff: RowDiff, found: Found, objects: tuple[Mapping[str, Any], ...]) -> Existing | Reject:
    where = rules.sync.where.at_field("match").at_key(diff.key)
    if found.by == TAG_FIELD:
        if any(keeps(reference) for part in rules.layout.parts for reference in part.references):
            return _kept_unknown(rules, diff)
        # A replaced object keeps its tag, so the row's object is the newest one in use.
        objects = objects[:1]
    if len(objects) > 1 and rules.sync.on_ambiguous is OnAmbiguous.REJECT:
        ids = ", ".join(str(body["id"]) for body in objects)
        return reject(
            Problem(
                code="ambiguous-match",
                summary=f"{len(objects)} existing objects match by `{found.by}`: {ids}",
                where=where,
                hint="set `on_ambiguous: newest` or `oldest`, or match by something unique",
            )
        )
    body = objects[-1] if rules.sync.on_ambiguous is OnAmbiguous.OLDEST else objects[0]
    owner = found.owners.get(str(body["id"]))
    if owner is not None and owner != (rules.sync.name, diff.key):
        name, key = owner
        whose = f"row [{key}]" if name == rules.sync.name else f"row [{key}] of sync `{name}`"
        return reject(
            Problem(
                code="already-claimed",
                summary=f"{body['id']}, found by `{found.by}`, already belongs to {whose}",
                where=where,
                hint="two rows can't share one object: match by something unique",
            )
        )
    return Existing(body=body, by=found.by)


def _kept_unknown(rules: Rules, diff: RowDiff) -> Reject:
    return reject(
        Problem(
            code="kept-objects-unknown",
            summary="the row's object exists, but the state no longer knows which replaced objects the row keeps",
            where=rules.sync.where.at_key(diff.key),
            hint="`dbt-stripe-sync state rebuild` reads it back from Stripe; then run it again",
        )
    )
