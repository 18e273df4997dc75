"""Sends one change: its calls in order, each after its intent is durable, then writes the outcome and the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.engine.payload.builder import resolve_refs, resolve_refs_text
from dbt_stripe_sync.engine.payload.compare import payload_hash
from dbt_stripe_sync.model.calls import RESOURCE_MISSING, Call, Verdict
from dbt_stripe_sync.model.change import Action, Owed, Ref
from dbt_stripe_sync.model.record import REBUILT, Record
from dbt_stripe_sync.model.run import Intent, Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.engine.apply.journal import Journal
    from dbt_stripe_sync.engine.ports import Stripe
    from dbt_stripe_sync.model.calls import Answer
    from dbt_stripe_sync.model.change import Change, PlannedCall
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.params import Catalog

_ACTIONS = {"delete": Action.DELETE, "cancel": Action.CANCEL, "void_invoice": Action.VOID}
INTERNAL_ERROR = 500
IDEMPOTENCY = "idempotency_error"


def build_intent(change: Change, ids: Mapping[Ref, str], run_id: str) -> Intent:
    """The intent to send a change, with every reference resolved to an id and a new idempotency key for each call.

    Raises `KeyError` if `ids` lacks a reference.
    """
    calls = change.calls
    if ids:
        calls = tuple(
            replace(call, target=resolve_refs(call.target, ids), params=resolve_refs(dict(call.params), ids))
            for call in calls
        )
    named = next((call.target for call in calls if isinstance(call.target, str)), None)
    stripe_id = change.stripe_id if calls[0].creates else change.stripe_id or named
    resolved = change
    if ids:
        desired, refs = resolve_refs(dict(change.desired), ids), resolve_refs_text(change.refs, ids)
        resolved = replace(change, stripe_id=stripe_id, calls=calls, desired=desired, refs=refs)
    elif stripe_id != change.stripe_id:
        resolved = replace(change, stripe_id=stripe_id)
    keys = tuple(str(uuid4()) for _ in change.calls)
    return Intent(id=_intent_id(run_id), run_id=run_id, change=resolved, keys=keys, stripe_id=resolved.stripe_id)


class Sender(Struct):
    """Sends the calls of intents. No call is sent before `journal` has its intent on disk."""

    stripe: Stripe
    journal: Journal
    catalog: Catalog
    clock: Clock
    run_id: str

    async def carry_out(self, intent: Intent) -> Outcome:
        """Send an intent's remaining calls, from its current step on, and write the outcome.

        Raises `StateError` if the state can't be written; then no further call is sent.
        """
        attempts = 0
        answer: Answer | None = None
        while intent.step < len(intent.change.calls):
            # A key that an earlier run used may already have had its effect, whatever Stripe responds now.
            repeated = intent.key_sent_at is not None
            intent = replace(intent, key_sent_at=intent.key_sent_at or self.clock.now())
            await self.journal.open(intent)
            answer = await self.stripe.send(self._call(intent, repeated=repeated))
            attempts += answer.attempts
            if not self._has_effect(intent, answer):
                return await self._fail(intent, answer, attempts)
            intent = replace(
                intent, step=intent.step + 1, stripe_id=_id_after(intent, answer), key_sent_at=None, key_spent=False
            )
        outcome = self._outcome(intent, Status.SUCCEEDED, answer, attempts, _record_after(intent))
        await self.journal.close(outcome)
        return outcome

    @staticmethod
    def _call(intent: Intent, *, repeated: bool) -> Call:
        planned = intent.change.calls[intent.step]
        named = planned.target if isinstance(planned.target, str) else None
        target = None if planned.creates else named or intent.stripe_id
        return Call(
            resource=planned.resource or intent.change.resource,
            operation=planned.operation,
            target=target,
            params=planned.params,
            idempotency_key=intent.keys[intent.step],
            repeated=repeated,
        )

    def _has_effect(self, intent: Intent, answer: Answer) -> bool:
        if answer.verdict is Verdict.DONE:
            return True
        if _is_repeat(intent, answer, self.catalog.resources[intent.change.resource].lifecycle):
            return True
        # If the object to remove doesn't exist, someone or an earlier call has already removed it.
        code = answer.failure.code if answer.failure else None
        is_removal = intent.change.gone or _ends_replaced(intent) or intent.change.settles
        return answer.verdict is Verdict.REFUSED and code == RESOURCE_MISSING and bool(is_removal)

    async def _fail(self, intent: Intent, answer: Answer, attempts: int) -> Outcome:
        if answer.verdict is Verdict.UNKNOWN:
            status = answer.failure.status if answer.failure else None
            # Stripe saves a 500 under its key and would repeat it, and rejects other parameters under a known key
            # (docs.stripe.com/api/idempotent_requests).
            spent = status == INTERNAL_ERROR or (answer.failure is not None and answer.failure.type == IDEMPOTENCY)
            await self.journal.open(replace(intent, key_spent=spent))
            outcome = self._outcome(intent, Status.UNKNOWN, answer, attempts, None)
        else:
            outcome = self._outcome(intent, Status.REJECTED, answer, attempts, _record_so_far(intent))
        await self.journal.close(outcome)
        return outcome

    def _outcome(
        self, intent: Intent, status: Status, answer: Answer | None, attempts: int, record: Record | None
    ) -> Outcome:
        return Outcome(
            intent_id=intent.id,
            run_id=self.run_id,
            change=intent.change,
            status=status,
            record=record,
            stripe_id=intent.stripe_id,
            request_id=answer.request_id if answer else None,
            failure=answer.failure if answer and status is not Status.SUCCEEDED else None,
            attempts=attempts,
            finished_at=self.clock.now(),
            owed=_owed_after(intent, status),
            settled=intent.change.settles[: intent.step],
            refused_step=_refused_step(intent, status),
            taken=_taken(intent, self.catalog.resources[intent.change.resource].lifecycle),
        )


def _intent_id(run_id: str) -> str:
    """A new intent's id. It contains the run's id, so that it differs from the intents of other runs."""
    return f"{run_id}/{uuid4()}"


def _owed_after(intent: Intent, status: Status) -> tuple[Owed, ...]:
    """The steps on other objects that are owed once the row has its new object.

    In an intent of an earlier version, the removal of the old object is among its own calls.
    """
    change = intent.change
    # If a replaced object becomes the row's object again, nothing is created, but the other object must still end.
    has_its_object = change.calls[0].creates or (status is Status.SUCCEEDED and not change.settles)
    if intent.step == 0 or not has_its_object or status is Status.UNKNOWN:
        return ()
    ids = {Ref(sync=change.sync, key=change.key): str(intent.stripe_id)}
    owed = [replace(step, params=resolve_refs(dict(step.params), ids)) for step in change.owes]
    if not change.calls[0].creates:
        return tuple(owed)
    owed += [
        _owed_call(change, call, call.target) for call in change.calls[intent.step :] if isinstance(call.target, str)
    ]
    return tuple(step for step in owed if step.target != intent.stripe_id)


def _owed_call(change: Change, call: PlannedCall, target: str) -> Owed:
    return Owed(
        id=f"{change.id}!{target}",
        sync=change.sync,
        key=change.key,
        resource=call.resource or change.resource,
        action=_ACTIONS.get(call.operation, Action.ARCHIVE),
        operation=call.operation,
        target=target,
        params=call.params,
        reason="a new object has taken its place",
    )


def _refused_step(intent: Intent, status: Status) -> str | None:
    settles = intent.change.settles
    return settles[intent.step] if status is Status.REJECTED and intent.step < len(settles) else None


def _taken(intent: Intent, lifecycle: Lifecycle) -> dict[str, str]:
    """The values that the calls before the current one have transferred to the row's object, by parameter."""
    return {
        unique.parameter: call.params[unique.parameter]
        for unique in lifecycle.uniques
        for call in intent.change.calls[: intent.step]
        if unique.transfer is not None and unique.transfer in call.params
    }


def _ends_replaced(intent: Intent) -> bool:
    """Whether the current call ends an object that an earlier call has replaced."""
    change = intent.change
    return change.action is Action.REPLACE and change.calls[intent.step].target == change.stripe_id


def _is_repeat(intent: Intent, answer: Answer, lifecycle: Lifecycle) -> bool:
    """Whether Stripe rejects a create because an earlier run has already created the row's object."""
    words = lifecycle.repeated
    message = (answer.failure.message if answer.failure else None) or ""
    is_create = intent.change.calls[intent.step].creates
    return is_create and answer.verdict is Verdict.REFUSED and words is not None and words in message


def _id_after(intent: Intent, answer: Answer) -> str | None:
    made = intent.change.calls[intent.step].creates
    return str(answer.body.get("id") or intent.change.id) if made else intent.stripe_id


def _record_after(intent: Intent) -> Record | None:
    if intent.change.settles or (intent.change.removed and intent.change.gone):
        return None
    return _record(intent, intent.change.desired, intent.change.source_hash)


def _record_so_far(intent: Intent) -> Record | None:
    """A record of the parameters set so far, if the object was created or restored and a later call was rejected.

    The next run plans the rest.
    """
    if intent.step == 0:
        return None
    if not intent.change.calls[0].creates:
        return _record(intent, intent.change.before, None) if intent.change.before else None
    made = intent.change.calls[0].params
    params = {name: value for name, value in intent.change.desired.items() if name in made}
    return _record(intent, params, None)


def _record(intent: Intent, params: Mapping[str, Any], source_hash: int | None) -> Record:
    change = intent.change
    return Record(
        sync=change.sync,
        key=change.key,
        resource=change.resource,
        stripe_id=str(intent.stripe_id),
        params=params,
        payload_hash=REBUILT if change.rebuilt else payload_hash(params),
        source_hash=source_hash,
        refs=change.refs,
        removed=change.removed,
        adopted=change.found_by is not None,
    )
