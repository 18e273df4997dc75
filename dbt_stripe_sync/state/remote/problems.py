"""Everything that can be wrong with a remote state, each with a hint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.model.errors import Location, Problem, Severity, StateError
from dbt_stripe_sync.state.place import LEASED

if TYPE_CHECKING:
    from dbt_stripe_sync.state.place import RemotePlace

# The environment variables from which each kind of store reads its credentials.
_CREDENTIALS = {
    "s3": "`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (and `AWS_SESSION_TOKEN`), `AWS_REGION`, or the machine's"
    " role",
    "gs": "`GOOGLE_APPLICATION_CREDENTIALS`, or the machine's service account",
    "az": "`AZURE_STORAGE_ACCOUNT_NAME` with `AZURE_STORAGE_ACCOUNT_KEY` or `AZURE_STORAGE_SAS_TOKEN`, or the machine's"
    " managed identity",
}
# The code of the problem that the store gave no answer, or a server error.
UNREACHABLE = "state-store-unreachable"
_NEEDED = "read, write, list and delete objects there"
_MOVED_AWAY = (
    "move the folder away, put back a backup with `state import FOLDER`, and run `dbt-stripe-sync state rebuild`"
)


def _store(place: RemotePlace) -> str:
    """What the state is on, for messages: a `file://` state has no bucket, credentials or network."""
    return "the folder" if _is_folder(place) else "the object store"


def _is_folder(place: RemotePlace) -> bool:
    return place.url.startswith("file:")


def _problem(code: str, place: RemotePlace, summary: str, hint: str) -> StateError:
    return StateError(Problem(code=code, summary=summary, where=Location(file=str(place)), hint=hint))


def not_installed(place: RemotePlace) -> StateError:
    """The library for object stores is an optional extra."""
    return _problem(
        "object-store-missing",
        place,
        "a state on an object store needs the package `obstore`, which is not installed",
        "install it with `pip install 'dbt-stripe-sync[object-store]'`",
    )


def refused(place: RemotePlace, scheme: str, *, is_known: bool) -> StateError:
    """The store rejects the credentials, or they lack a permission."""
    if _is_folder(place):
        return _problem(
            "state-store-credentials",
            place,
            "the folder's permissions do not allow this",
            "let this user read, write, list and delete files there",
        )
    what = "does not allow this" if is_known else "does not accept the credentials, or there are none"
    return _problem(
        "state-store-credentials",
        place,
        f"the object store {what}",
        f"check {_CREDENTIALS[scheme]}; they need to {_NEEDED}",
    )


def expired(place: RemotePlace, scheme: str) -> StateError:
    """The credentials have expired."""
    return _problem(
        "state-store-credentials",
        place,
        "the credentials for the object store have expired",
        f"get new ones that last longer than a run, or use a role that renews them; check {_CREDENTIALS[scheme]}. Then"
        " run again: the state knows everything that was sent",
    )


def wrong_clock(place: RemotePlace) -> StateError:
    """The store compares the time of a request with its own time."""
    return _problem(
        "state-store-credentials",
        place,
        "the object store rejects requests because this machine's clock is wrong",
        "set the clock, for example with NTP, and run again",
    )


def no_bucket(place: RemotePlace) -> StateError:
    """There is no such bucket, container or folder."""
    if _is_folder(place):
        return _problem(
            "state-store-missing",
            place,
            "the folder of the state does not exist",
            "mount it, or correct `state` in vars.stripe_sync (or `--state-url`), and run again",
        )
    return _problem(
        "state-store-missing",
        place,
        "the bucket or container of the state does not exist",
        "create it, or correct `state` in vars.stripe_sync (or `--state-url`); folders inside it are created as needed",
    )


def _check(place: RemotePlace) -> str:
    if _is_folder(place):
        return "check that it is a folder, that it is mounted, and that its disk has room"
    return "check the network and the store's address and region"


def unreachable(place: RemotePlace, reason: str) -> StateError:
    """The store gave no answer, or a server error."""
    return _problem(
        UNREACHABLE,
        place,
        f"{_store(place)} of the state can't be used ({reason})",
        f"{_check(place)}, and run again: nothing was sent that the state does not know of",
    )


def no_conditions(place: RemotePlace) -> StateError:
    """The store overwrites objects despite the condition."""
    if _is_folder(place):
        return _problem(
            "state-store-conditions",
            place,
            "the folder's file system overwrites a file despite the condition, so it can't keep two runs apart",
            "use a file system that can create a file only if it doesn't exist yet",
        )
    return _problem(
        "state-store-conditions",
        place,
        "the object store ignores conditional writes, so it can't keep two runs apart",
        "use a store that honors `If-None-Match` and `If-Match` on writes: Amazon S3, Google Cloud Storage, Azure Blob"
        " Storage, or a current version of yours",
    )


def leased(place: RemotePlace, holder: str, until: str, waited: float) -> StateError:
    """Another run has the lease."""
    return _problem(
        LEASED,
        place,
        f"another run holds the state: {holder}" + (f" (waited {waited:g} s)" if waited else ""),
        f"wait for it to end, or pass `--wait-for-lock SECONDS`; if its machine is gone, its lease expires at {until}",
    )


def lease_lost(place: RemotePlace, reason: str) -> StateError:
    """Another run has the lease now, or it could not be renewed in time."""
    return _problem(
        "state-lease-lost",
        place,
        f"this run lost its lease on the state and was stopped: {reason}",
        "run again: what it had sent is in the state, and what was under way is settled first",
    )


def wrong_digest(place: RemotePlace, name: str) -> StateError:
    """An object has changed since it was written."""
    return _problem(
        "state-digest",
        place,
        f"`{name}` of the state is damaged or was replaced: its digest is not the one that was written",
        f"restore it from a backup of the folder; otherwise {_MOVED_AWAY}"
        if _is_folder(place)
        else f"restore its previous version in the bucket if versioning is on; otherwise {_MOVED_AWAY}",
    )


def incomplete(place: RemotePlace, name: str) -> StateError:
    """A required object is missing."""
    return _problem(
        "state-incomplete",
        place,
        f"`{name}` of the state is missing, and others build on it",
        f"restore it from a backup of the folder; otherwise {_MOVED_AWAY}"
        if _is_folder(place)
        else "exempt the folder from lifecycle rules and restore the object if the bucket keeps versions; otherwise"
        f" {_MOVED_AWAY}",
    )


def older_than_copy(place: RemotePlace, copy: str, known: int, found: int) -> StateError:
    """The store has less than this machine has already seen there: an older state was restored."""
    newest = "files" if _is_folder(place) else "objects"
    return _problem(
        "state-store-older",
        place,
        f"{_store(place)} holds an older state (entry {found:,}) than the copy on this machine (entry {known:,})",
        f"restore the newest {newest} there; if the older state is meant, remove `{copy}` and run"
        " `dbt-stripe-sync state rebuild`",
    )


def not_moved(place: RemotePlace, local: str) -> StateError:
    """There is a local state, but the store has none: starting with an empty one would be a silent reset."""
    return _problem(
        "state-not-moved",
        place,
        f"{_store(place)} has no state yet, and there is a local one: `{local}`",
        f"move it: `dbt-stripe-sync state export FOLDER --state-path {local}`, then `dbt-stripe-sync state import"
        " FOLDER`; if it is not wanted, move the file away",
    )


def no_remote_state(place: RemotePlace) -> StateError:
    """Nothing was ever written there."""
    return _problem(
        "no-state",
        place,
        "there is no state yet",
        "the first `dbt-stripe-sync run` creates it",
    )


def not_folded(place: RemotePlace, error: StateError) -> Problem:
    """The snapshot could not be written at the end of the run. Nothing is lost, because the log is complete."""
    return Problem(
        code="snapshot-not-written",
        summary=f"the state's snapshot could not be written: {error.problems[0].summary}",
        where=Location(file=str(place)),
        hint="nothing is lost: the next run reads the log of this one and writes the snapshot",
        severity=Severity.WARNING,
    )
