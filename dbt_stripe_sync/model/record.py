"""What we last wrote for one row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from dbt_stripe_sync.model.change import Params


# The prefix of what a record stores besides parameters; no parameter of Stripe's has it.
MARK = "$"
# Says which steps have finished the object: no parameter of Stripe's begins like this.
FINISHED = "$finished"
# In the parameters of a record whose sync was renamed: the name that the object's tag still has.
TAGGED_AS = "$tagged_as"
# In place of the hash of a record that was read back from Stripe: its params are the object's, not what was sent.
REBUILT = "rebuilt"

# What the state's table `meta` calls the time at which a sync's objects were last read back: `read_back:<sync>`.
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
