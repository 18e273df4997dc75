"""What was last written to Stripe for one row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from dbt_stripe_sync.model.change import Params


# The prefix of what a record stores besides parameters. No Stripe parameter begins with it.
MARK = "$"
# The steps that have finalized the object. No Stripe parameter begins like this.
FINISHED = "$finished"
# In the parameters of a record whose sync was renamed: the old name, which is still in the object's tag.
TAGGED_AS = "$tagged_as"
# Instead of that name, if the object has ended for a replacement that was not created yet, and has lost its tag to it.
NO_TAG = ""
# Replaces the hash of a record that was read back from Stripe: its params are the object's, not what was sent.
REBUILT = "rebuilt"

# The entry in the state's table `meta` for the time at which a sync's objects were last read back: `read_back:<sync>`.
READ_BACK = "read_back:"


class Record(Struct, frozen=True, kw_only=True):
    """What was last written for one row. `params` has every parameter that the sync set, as last sent.

    `refs` holds the ids that the row referred to, in the order of the mapping, joined by U+001E. `removed` says that
    the row left the model and its object was archived or the like (it can come back); a deleted one has no record.
    """

    sync: str
    key: str
    resource: str
    stripe_id: str
    params: Params
    payload_hash: str
    source_hash: int | None
    refs: str | None
    removed: bool = False
    adopted: bool = False
