"""Every fault that the tests cause, as data.

The tests assert it, and docs/faults.md is generated from it.

`python tests/faults/fault_table.py` rewrites the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import Fault
from dbt_stripe_sync.stripe_api.retry import MOST_ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
CREATION: dict[str, Any] = {"method": "POST", "path": "^/v1/customers$"}

SENT_AGAIN = (
    "The same call is retried under the same key, up to {attempts} times in 5 minutes. After that the row is `unknown` "
    "and its intent stays in the state."
)
NOT_SENT_AGAIN = (
    "The call isn't retried under its key, since Stripe has saved the failure under it. The row is `unknown`."
)
REFUSED = "Stripe did nothing. The call isn't retried, and the row is `rejected`."
TURNED_AWAY = (
    "Stripe did nothing. The same call is retried as long as other calls succeed, at least {attempts} times. After "
    "that the row is `rejected`."
)
REPLAYED = "Sends the open calls again under their old keys. Stripe repeats its first answer, or executes them now."
LOOKED_FOR = "Looks for the tag in Stripe's lists. It records what exists, and creates what is missing under a new key."
PLANNED = "Plans the remaining rows and sends them."
NOTHING = "Runs as usual: the state knows what was sent."


@dataclass(frozen=True, kw_only=True)
class StripeFault:
    """A fault of Stripe, or of the way there.

    `once` says that a run overcomes it where it happens once, `lasting` how the rows end where it goes on, `attempts`
    how often each row's call was sent then. `acts` says that Stripe has done the work all the same.
    """

    name: str
    fault: Callable[..., Fault]
    happens: str
    seen: tuple[str, ...]
    next_run: str
    once: bool = True
    lasting: str = "unknown"
    attempts: int | None = MOST_ATTEMPTS
    acts: bool = False


@dataclass(frozen=True, kw_only=True)
class OtherFault:
    """A fault of the machine, the state or the warehouse. `exit_code` is that of the run that meets it."""

    name: str
    happens: str
    seen: tuple[str, ...]
    next_run: str
    exit_code: int


def _of(make: Callable[..., Fault], *args: Any, **given: Any) -> Callable[..., Fault]:
    return lambda **more: make(*args, **given, **more)


_CONNECTION = ("unresolved[connection]", "the connection was cut", "the next run finds out first")
_OWN_ERROR = ("unresolved[api_error]", "Stripe had an internal error, so the change may have been made")
_TOO_MANY = ("rejected[rate_limit]", "Stripe received too many requests, even after waiting and slowing down")

STRIPE_FAULTS = (
    StripeFault(
        name="the connection is cut before Stripe acts",
        fault=_of(Fault.cut, after_effect=False),
        happens=SENT_AGAIN,
        seen=_CONNECTION,
        next_run=REPLAYED,
    ),
    StripeFault(
        name="the connection is cut after Stripe has acted",
        fault=_of(Fault.cut, after_effect=True),
        happens=SENT_AGAIN,
        seen=_CONNECTION,
        next_run=REPLAYED,
        acts=True,
    ),
    StripeFault(
        name="no answer within 80 seconds",
        fault=_of(Fault.hang, 2.5, after_effect=True),
        happens=SENT_AGAIN,
        seen=("unresolved[connection]", "no answer in time", "the next run finds out first"),
        next_run=REPLAYED,
        acts=True,
    ),
    StripeFault(
        name="500, and nothing was done",
        fault=_of(Fault.status_code, 500),
        happens=NOT_SENT_AGAIN,
        seen=_OWN_ERROR,
        next_run=LOOKED_FOR,
        once=False,
        attempts=1,
    ),
    StripeFault(
        name="500, and it was done",
        fault=_of(Fault.status_code, 500, after_effect=True),
        happens=NOT_SENT_AGAIN,
        seen=_OWN_ERROR,
        next_run=LOOKED_FOR,
        once=False,
        attempts=1,
        acts=True,
    ),
    StripeFault(
        name="502",
        fault=_of(Fault.status_code, 502),
        happens=SENT_AGAIN,
        seen=_OWN_ERROR,
        next_run=REPLAYED,
    ),
    StripeFault(
        name="503",
        fault=_of(Fault.status_code, 503),
        happens=SENT_AGAIN,
        seen=_OWN_ERROR,
        next_run=REPLAYED,
    ),
    StripeFault(
        name="409: the key is in use",
        fault=Fault.conflict,
        happens=SENT_AGAIN,
        seen=("unresolved[idempotency_key_in_use]", "Stripe was still processing the same request"),
        next_run=REPLAYED,
    ),
    *(
        StripeFault(
            name=f"429 with reason `{reason}`",
            fault=_of(Fault.rate_limited, reason),
            happens=f"{TURNED_AWAY} {slows}",
            seen=_TOO_MANY,
            next_run=PLANNED,
            lasting="rejected",
        )
        for reason, slows in (
            ("global-rate", "All calls slow down to half the rate, and recover later."),
            ("endpoint-rate", "Calls to this endpoint slow down to half the rate, and recover later."),
            ("global-concurrency", "Half as many calls run at once, until calls succeed again."),
            ("endpoint-concurrency", "Half as many calls to this endpoint run at once, until calls succeed again."),
            ("resource-specific", "The rate stays the same, because the limit applies to that object."),
        )
    ),
    StripeFault(
        name="429 `lock_timeout`: another request holds the object",
        fault=Fault.lock_timeout,
        happens=TURNED_AWAY,
        seen=("rejected[lock_timeout]",),
        next_run=PLANNED,
        lasting="rejected",
    ),
    StripeFault(
        name="401 during a run: the key was revoked",
        fault=_of(Fault.unauthorized),
        happens=f"{REFUSED} The run sends nothing more and stops.",
        seen=("Stripe does not accept the key", "copy a current key"),
        next_run=f"With a valid key: {PLANNED[0].lower()}{PLANNED[1:]}",
        once=False,
        lasting="rejected",
        attempts=None,
    ),
    StripeFault(
        name="403 during a run: the key lost a permission",
        fault=_of(Fault.forbidden),
        happens=f"{REFUSED} The sync sends nothing more; other syncs continue.",
        seen=("rejected[more_permissions_required]", "the key lacks permission for this", "give the restricted key"),
        next_run=f"With the permission: {PLANNED[0].lower()}{PLANNED[1:]}",
        once=False,
        lasting="rejected",
        attempts=None,
    ),
    StripeFault(
        name="200 with a page that is not JSON",
        fault=_of(Fault.not_json, after_effect=True),
        happens=SENT_AGAIN,
        seen=("unresolved[not_stripe]", "something between this machine and Stripe answered in its place"),
        next_run=REPLAYED,
        acts=True,
    ),
    StripeFault(
        name="502 with a page that is not JSON",
        fault=_of(Fault.not_json, after_effect=False, status=502),
        happens=SENT_AGAIN,
        seen=("unresolved[not_stripe]", "something between this machine and Stripe answered in its place"),
        next_run=REPLAYED,
    ),
)

GONE = OtherFault(
    name="connection refused during a run",
    happens=f"{SENT_AGAIN} If no call gets an answer at all, the run stops.",
    seen=("unresolved[connection]", "the next run finds out first"),
    next_run=REPLAYED,
    exit_code=1,
)
NEVER_THERE = OtherFault(
    name="connection refused from the start",
    happens="Nothing is read and nothing is sent.",
    seen=("error[stripe-unreachable]", "can't be reached", "check the network"),
    next_run=PLANNED,
    exit_code=2,
)
MISMATCH = OtherFault(
    name="400: the key was used with other parameters",
    happens="The key is discarded and never used again. The row is `unknown`.",
    seen=("unresolved[idempotency_error]",),
    next_run=LOOKED_FOR,
    exit_code=1,
)
SLOW = OtherFault(
    name="a very slow answer",
    happens="The run waits up to 80 seconds for it; calls to other endpoints continue.",
    seen=("Run succeeded (exit 0)",),
    next_run=NOTHING,
    exit_code=0,
)
FULL_EARLY = OtherFault(
    name="the disk is full while the plan is made",
    happens="None of the plan is sent, and the partly written plan is removed.",
    seen=("error[plan-unwritable]", "the plan can't be written", "free some space"),
    next_run=PLANNED,
    exit_code=2,
)
FULL = OtherFault(
    name="the disk is full while changes are sent",
    happens="No call is sent before its intent is written. Calls in flight already have theirs on disk.",
    seen=("error[state-disk-full]", "the disk is full", "free some space and run again"),
    next_run=REPLAYED,
    exit_code=2,
)
READ_ONLY = OtherFault(
    name="the state's folder is read-only",
    happens="Nothing is sent.",
    seen=("error[state-readonly]", "the state can't be written", "make its folder writable"),
    next_run=PLANNED,
    exit_code=2,
)
DAMAGED = OtherFault(
    name="the state file is damaged",
    happens="Nothing is sent, and the file is left unchanged. A damaged state is never replaced by a new one.",
    seen=("error[state-damaged]", "the state can't be read", "state rebuild"),
    next_run="After you move the file away, restore a backup if there is one, and run `state rebuild`: knows every "
    "object by its tag, and creates none.",
    exit_code=2,
)
BEHIND = OtherFault(
    name="the state file is an older copy",
    happens="An object has the tag of a row but isn't in the state. The run stops, and nothing is sent.",
    seen=("error[state-behind]", "the state is older than what was sent", "state rebuild"),
    next_run="With the newest copy, or after `state rebuild`: knows every object, and creates none twice.",
    exit_code=2,
)
NEWER = OtherFault(
    name="a newer version wrote the state file",
    happens="Nothing is sent, and the file is left unchanged.",
    seen=("error[state-newer]", "upgrade dbt-stripe-sync"),
    next_run="With that version: runs as usual.",
    exit_code=2,
)
WAREHOUSE = OtherFault(
    name="the warehouse fails in the middle of a read",
    happens="Nothing is sent: rows that weren't read must not count as removed from the model.",
    seen=("error[read-failed]", "reading model `customers` failed"),
    next_run=PLANNED,
    exit_code=2,
)
CLOCK_BACK = OtherFault(
    name="the clock steps back between two runs",
    happens="The age of a key can't be known from an intent in the future, so the key isn't used again.",
    seen=("Run succeeded (exit 0)",),
    next_run=LOOKED_FOR,
    exit_code=0,
)
KILLED = OtherFault(
    name="SIGKILL, at any instant",
    happens="Calls in flight may or may not take effect; their intents are on disk. Nothing else is left behind.",
    seen=(),
    next_run=f"{REPLAYED} Then plans and sends the rest.",
    exit_code=-9,
)
OWED_AGAIN = (
    "Lists the owed step first and retries it. It exits with 1 until the step is done, or until "
    "`state settle SYNC KEY` drops it."
)
END_REFUSED = OtherFault(
    name="Stripe refuses to archive a replaced object",
    happens="The new object exists and is recorded. The state records that archiving the old one is owed.",
    seen=("owed: archive", "a new object has replaced it", "state settle"),
    next_run=OWED_AGAIN,
    exit_code=1,
)
END_LOST = OtherFault(
    name="archiving a replaced object gets no answer",
    happens="The new object exists and is recorded. Archiving the old one is `unknown` and owed.",
    seen=("owed: archive", "unresolved[connection]", "state settle"),
    next_run=f"{REPLAYED} A step that is done is no longer owed.",
    exit_code=1,
)
END_KILLED = OtherFault(
    name="SIGKILL after the new object is created and before the old one is archived",
    happens="The commit that records the new object also records that archiving the old one is owed.",
    seen=(),
    next_run="Archives the old object, once.",
    exit_code=-9,
)
HOLDER_REFUSED = OtherFault(
    name="a product can't be moved to its new default price",
    happens="The old price stays active as long as it is the product's default. Both steps are owed.",
    seen=("owed: archive", "default_price", "state settle"),
    next_run=OWED_AGAIN,
    exit_code=1,
)
DEPENDENT_STAYS = OtherFault(
    name="a promotion code can't follow its replaced coupon",
    happens="Neither is changed: the code stays active on its current coupon.",
    seen=("dependent-stays", "still refers to this coupon"),
    next_run=PLANNED,
    exit_code=1,
)
VALUE_TAKEN = OtherFault(
    name="two rows want a value that only one object can have",
    happens="One row gets it. The other is rejected before any call.",
    seen=("value-taken", "only one object can have this `lookup_key`"),
    next_run=PLANNED,
    exit_code=1,
)
OWED_FAULTS = (END_REFUSED, END_LOST, END_KILLED, HOLDER_REFUSED, DEPENDENT_STAYS, VALUE_TAKEN)
OTHER_FAULTS = (
    NEVER_THERE,
    GONE,
    MISMATCH,
    SLOW,
    KILLED,
    FULL_EARLY,
    FULL,
    READ_ONLY,
    DAMAGED,
    BEHIND,
    NEWER,
    WAREHOUSE,
    CLOCK_BACK,
)

HEAD = """\
# What happens when something breaks

<!-- `python tests/faults/fault_table.py` writes this page from what the tests assert. -->

A test causes each of these faults, with the real command line, the official SDK and a real warehouse. After the fault
and the next run, every row has exactly one object and the state knows it. A run after that sends nothing.

The change of an `unknown` row may or may not have happened, so it never counts as failed. Nothing else happens to that
row until a later run has resolved it. The change of a `rejected` row certainly hasn't happened.
"""
NAMES = ("fault", "what happens", "what the user sees", "what the next run does")


def render_page() -> str:
    """The whole page."""
    lines = [HEAD, "## Faults at Stripe or on the network\n", *_table(STRIPE_FAULTS), ""]
    lines += ["## Changes with several steps\n", *_table(OWED_FAULTS), "", "## Everything else\n"]
    return "\n".join([*lines, *_table(OTHER_FAULTS), ""])


def _table(faults: tuple[StripeFault | OtherFault, ...]) -> list[str]:
    rows = [f"| {' | '.join(NAMES)} |", "|---" * len(NAMES) + "|"]
    for fault in faults:
        cells = (fault.name, fault.happens.format(attempts=MOST_ATTEMPTS), _seen(fault), fault.next_run)
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _seen(fault: StripeFault | OtherFault) -> str:
    texts = ", ".join(f"`{text}`" if "`" not in text else text for text in fault.seen)
    if isinstance(fault, OtherFault):
        code = "nothing: the process is gone" if fault.exit_code < 0 else f"exit {fault.exit_code}"
        return f"{texts}; {code}" if texts else code
    return f"{'once: nothing, exit 0; if it persists: ' if fault.once else ''}{texts}; exit 1"


if __name__ == "__main__":
    PAGE.write_text(render_page())
