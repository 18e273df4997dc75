"""The types that describe how objects are found, replaced and removed, which the SDK's types don't say.

The data itself, one entry per resource, is in `lifecycles.py`; `lifecycle_of` returns it.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.model.foreseen import AtMost, FirstBill, Fixed, OneCurrency, PricesNamed, Window

CREATE = "create"
STREAM = "stream"
# The operations that create one object each, and those that batch their requests.
CREATING = frozenset({CREATE, STREAM})
IN_BULK = frozenset({STREAM})
# The option with which a sync asks for `replace_if_asked`.
REPLACE = "replace"
# The option with which a sync also updates holders that no sync writes, so that they release what it replaces.
MOVE_HOLDERS = "move_holders"


class Mode(Enum):
    """Which rows a sync may write: all, only those without an object, or only those with one."""

    UPSERT = "upsert"
    INSERT = "insert"
    UPDATE = "update"


class Removal(Enum):
    """What happens to the object of a row that left the model."""

    IGNORE = "ignore"
    DELETE = "delete"
    ARCHIVE = "archive"
    CANCEL = "cancel"
    CANCEL_AT_PERIOD_END = "cancel_at_period_end"
    VOID = "void"
    DEACTIVATE = "deactivate"


class Step(Struct, frozen=True, kw_only=True):
    """One call on an existing object: a method of its SDK service, with its parameters.

    `gone` says that the object can't be used again afterwards: if its row comes back, a new object is created. `revive`
    has the parameters of the update that reverses the step, if one exists; `revive_by` names the method that reverses
    it if that isn't an update. `becomes` is the object's status afterwards, if Stripe refuses the call a second time.
    """

    operation: str
    params: Mapping[str, Any] = field(default_factory=dict)
    gone: bool = True
    revive: Mapping[str, Any] | None = None
    revive_by: str | None = None
    becomes: str | None = None


class ByStatus(Struct, frozen=True, kw_only=True):
    """A removal that depends on the object's `status` in Stripe, which is read when the plan is made.

    With a status that isn't in `steps`, the object is left alone, for the reason in `otherwise`. `status_field` is a
    dotted path; a null there counts as the status `None`. `expand` names what must be expanded to read it.
    """

    steps: Mapping[str, Step]
    otherwise: str
    status_field: str = "status"
    expand: tuple[str, ...] = ()


class Replace(Struct, frozen=True, kw_only=True):
    """A new object replaces the old one.

    It is created with `carry_over` added to its parameters; then the old one gets `then`.

    If `then` depends on the old object's status and has no step for it, the row is rejected instead. `exclusive`
    names parameters that two live objects can't share: if a row keeps one of them, the old object ends before the new
    one is created. `gives_up` names those that the old object loses, since its row may need them again later.
    `takes_over` names parameters that would create a further object with the new one. For each, it has the parameter
    with which the new object reuses the old one's.
    """

    carry_over: Mapping[str, Any] = field(default_factory=dict)
    then: Removal = Removal.ARCHIVE
    exclusive: tuple[str, ...] = ()
    gives_up: tuple[str, ...] = ()
    takes_over: Mapping[str, str] = field(default_factory=dict)


class NotReplaced(Struct, frozen=True, kw_only=True):
    """The row is rejected, with the reason, because its object can't be replaced."""

    reason: str


class HeldBy(Struct, frozen=True, kw_only=True):
    """A reference from another object, the holder, because of which an object can't simply end.

    Stripe rejects ending the object, or ending it would break the holder. The holder is a `resource` and refers to the
    object by its `parameter`. `named_by` is the parameter of the held object that names its holder. Otherwise, holders
    are listed with the held object's id as `listed_by`, together with `listed_with`. `moves` says that an update can
    make the holder refer to another object. `together` says that if a sync wrote the holder, it must be able to follow,
    or nothing is replaced.
    """

    resource: str
    parameter: str
    named_by: str | None = None
    listed_by: str | None = None
    listed_with: Mapping[str, Any] = field(default_factory=dict)
    moves: bool = False
    together: bool = False


class CutsShort(Struct, frozen=True, kw_only=True):
    """A removal, by its `operation`, that immediately affects another object: one of `resource` that it refers to.

    `wholly` says that it also ends the other object; otherwise it removes a part of it.
    """

    operation: str
    resource: str
    wholly: bool = False


class UsedBy(Struct, frozen=True, kw_only=True):
    """What needs an object until it ends by itself: a `resource`, listed with `listed_by` for each object in `through`.

    `operation` is the removal that has to wait. `ends_by_itself` are the parameters which say that the resource will
    end.
    """

    operation: str
    through: HeldBy
    resource: str
    listed_by: str
    ends_by_itself: tuple[str, ...] = ()


class Unique(Struct, frozen=True, kw_only=True):
    """A parameter whose value must be unique among a resource's objects.

    `among_active` ignores archived ones, `ignores_case` the case of letters. `transfer` names the parameter with which
    an object takes the value from another; without it, the other must lose it first.
    """

    parameter: str
    among_active: bool = False
    ignores_case: bool = False
    transfer: str | None = None


class ItemList(Struct, frozen=True, kw_only=True):
    """A list whose items have ids.

    In an update, an item without an id is added, and a missing one stays.

    `identity_field` names a field that is unique among an object's items. Instead of it, a row can set `same_as`,
    with the same id, or `described_by`, a hash from which Stripe creates the other object. `gone` is sent, with its
    id, to remove an item. If the object only returns some of its items, `listed_by` is the resource that lists them,
    with the parameter for the object, or `listed_with` is the object's own operation that does.
    """

    identity_field: str
    same_as: str | None = None
    described_by: str | None = None
    gone: Mapping[str, Any] = field(default_factory=dict)
    listed_by: tuple[str, str] | None = None
    listed_with: str | None = None

    @property
    def identified_by(self) -> tuple[str, ...]:
        """The parameters that tell which item is meant, if it has no id."""
        return tuple(name for name in (self.identity_field, self.same_as, self.described_by) if name is not None)


class Entries(Struct, frozen=True, kw_only=True):
    """A list of hashes that every update sends completely: unmapped parts are sent as they are in Stripe.

    `starts` is the part that identifies an entry in a list that has grown or shrunk. `own` are the parts that define an
    entry, so that they only come from the row; `inner` are nested lists, with the part that identifies their entries.
    """

    starts: str
    own: frozenset[str] = frozenset()
    inner: Mapping[str, str] = field(default_factory=dict)


class Finish(Struct, frozen=True, kw_only=True):
    """One step that finalizes an object, if the sync's options include its `name`.

    It leads from `status` to `becomes`. `needs` are groups of parameters of which the object must have one by then,
    unless one of `copies` makes it a copy of another object; `needs_source` cites the rule.
    """

    name: str
    operation: str
    status: str
    becomes: str
    status_field: str = "status"
    needs: tuple[tuple[str, ...], ...] = ()
    copies: tuple[str, ...] = ()
    needs_source: str = ""

    def lacking(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the first group of which the object's parameters have none; empty if nothing is missing."""
        if any(params.get(name) for name in self.copies):
            return ()
        return next((names for names in self.needs if not any(params.get(name) for name in names)), ())


def finishes_asked(finishes: Mapping[str, Finish], options: Mapping[str, Any]) -> tuple[Finish, ...]:
    """Return the steps that a sync's options ask for, in the order that Stripe requires."""
    asked = [name for name in finishes if options.get(name) is True]
    if not asked:
        return ()
    names = list(finishes)
    # `accept` needs a quote that is finalized, so the earlier steps are done, too.
    return tuple(finishes[name] for name in names[: names.index(asked[-1]) + 1])


class Bulk(Struct, frozen=True, kw_only=True):
    """Another way to create, many objects per request, for a sync whose options ask for it by `name`.

    `operation` replaces `create` in a change's call; one request carries up to `most` such calls. `note` describes the
    drawback.
    """

    name: str
    operation: str
    most: int
    note: str


class Lifecycle(Struct, frozen=True, kw_only=True):
    """How objects of one resource are found, changed, replaced and removed."""

    # What `match` may name: `id`, `metadata`, or a parameter that the list operation filters by or that the object
    # returns.
    found_by: tuple[str, ...] = ()
    # The modes that a sync of the resource may have.
    modes: frozenset[Mode] = frozenset(Mode)
    # The removals that a sync may ask for, with their steps.
    on_removed: Mapping[Removal, Step | ByStatus] = field(default_factory=dict)
    # What happens if a row changes a parameter that only creation accepts.
    when_immutable_changes: Replace | NotReplaced = NotReplaced(reason="Stripe can't change it")
    # Whether creation accepts an `id`.
    own_id: bool = False
    # Whether the object has metadata for the `dbt_stripe_sync` tag.
    tagged: bool = True
    # The removals that can't be undone.
    permanent: frozenset[Removal] = frozenset()
    # Whether all objects can be listed. Objects of a nested resource can only be listed under their parent.
    listed: bool = True
    # The reason why the resource can't be synced.
    refused: str | None = None
    # What a user should know before the first sync.
    note: str | None = None
    # Parameters that are lists whose items have ids.
    item_lists: Mapping[str, ItemList] = field(default_factory=dict)
    # Used instead of `when_immutable_changes` for a sync with the option `replace`.
    replace_if_asked: Replace | None = None
    # The finalization steps that a sync may ask for, in the order that Stripe requires.
    finishes: Mapping[str, Finish] = field(default_factory=dict)
    # The parameter that identifies a row for Stripe. Unless the sync maps it, it is derived from the row's key.
    key_as: str | None = None
    # A part of the message with which Stripe rejects a second object with the same `key_as`.
    repeated: str | None = None
    # The windows in which creation accepts a time, by parameter.
    windows: Mapping[str, Window] = field(default_factory=dict)
    # Dotted parameters. Stripe accepts only one creation at a time among those with the same values in all of them.
    one_at_a_time: tuple[str, ...] = ()
    # Parameters that apply to a single request and are not part of the object. Every update repeats them.
    request_only: tuple[str, ...] = ()
    # Parameters of an update that add something each time, which the object doesn't show.
    added_each_time: tuple[str, ...] = ()
    # What can't be changed in some statuses of the object.
    fixed: tuple[Fixed, ...] = ()
    # Parameters that an object returns only if they are expanded.
    shown_if_asked: tuple[str, ...] = ()
    # Another way to create objects, for a sync that asks for it.
    bulk: Bulk | None = None
    # What may refer to an object, so that Stripe rejects ending it, or ending it would break the other object.
    held_by: tuple[HeldBy, ...] = ()
    # Objects that end when an object is removed permanently.
    ends_with_it: tuple[HeldBy, ...] = ()
    # What a removal does to the object that this one belongs to.
    cuts_short: tuple[CutsShort, ...] = ()
    # The resources whose objects have to release an object before it can be set to end later.
    managed_by: tuple[str, ...] = ()
    # Groups of parameters; creation requires one of each group.
    needs_one_of: tuple[tuple[str, ...], ...] = ()
    # For a parameter, the resources that refer to the object and can't move to a new object with another value of it.
    not_followed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # Parameters whose values must be unique.
    uniques: tuple[Unique, ...] = ()
    # The statuses in which an object has ended.
    ended: frozenset[str] = frozenset()
    # Lists that an update replaces completely, and to which people add entries by hand.
    whole_lists: tuple[str, ...] = ()
    # Lists of hashes whose entries may have more parts than a row maps.
    entries: Mapping[str, Entries] = field(default_factory=dict)
    # Lists whose first entry must repeat, in each update, when the object's own first entry began. The value is the
    # parameter for that time; creation has it next to the list.
    anchored: Mapping[str, str] = field(default_factory=dict)
    # Parameters that Stripe itself changes.
    moved_by_stripe: tuple[str, ...] = ()
    # The time parameter of objects that Stripe counts but never returns, so that only totals show whether one exists.
    counted_at: str | None = None
    # Whether an update is known to change only the parts of a hash that it names.
    merges_hashes: bool = False
    # Parameters that an update accepts only as long as they have this value, by their dotted path. `*` stands for any
    # key of a map.
    set_once: Mapping[str, Any] = field(default_factory=dict)
    # Sets of parameters for the list operation. The lists with each of them contain all objects together, while a plain
    # list omits those that are archived or have ended.
    listed_with: tuple[Mapping[str, Any], ...] = ({},)
    # Whether lists omit objects of test clocks unless a test clock is named.
    hides_test_clocks: bool = False
    # How many objects one parent may have.
    at_most: AtMost | None = None
    # Whether the objects of one parent share a currency.
    one_currency: OneCurrency | None = None
    # Where an object names prices, and which kind it accepts there.
    prices_named: tuple[PricesNamed, ...] = ()
    # How late its first bill may be.
    first_bill: FirstBill | None = None
    # Objects that keep Stripe from deleting an object.
    kept_by: tuple[HeldBy, ...] = ()
    # The parameter with the object that this one is a part of and ends with.
    part_of: str | None = None
    # What needs an object until it ends by itself.
    used_by: tuple[UsedBy, ...] = ()
    # The removal that undoes a creation, if it isn't the first removal that can itself be undone.
    undone_by: Removal | None = None
    # The removal that undoes a creation from another object, by the parameter with that object: it was there before.
    undone_from: Mapping[str, Removal] = field(default_factory=dict)

    def set_once_from(self, path: Sequence[str]) -> tuple[Any, ...]:
        """Return the only value from which a parameter can be changed; empty if it can always be changed."""
        return tuple(value for name, value in self.set_once.items() if _covers(name.split("."), path))[:1]

    @property
    def fixed_expand(self) -> tuple[str, ...]:
        """What must be expanded for an object to show the statuses that `fixed` depends on."""
        return tuple(dict.fromkeys(name for rule in self.fixed for name in rule.expand))

    @property
    def options(self) -> tuple[str, ...]:
        """The names that a sync's `options` may have."""
        replaced = (REPLACE,) if self.replace_if_asked is not None else ()
        in_bulk = (self.bulk.name,) if self.bulk is not None else ()
        may_move = (MOVE_HOLDERS,) if any(rule.moves for rule in self.held_by) else ()
        return (*self.finishes, *replaced, *in_bulk, *may_move)

    @property
    def over(self) -> frozenset[str]:
        """The statuses of objects that have ended, by themselves or by a removal."""
        rules = [
            rule for rule in self.on_removed.values() if isinstance(rule, ByStatus) and rule.status_field == "status"
        ]
        removals = [step for rule in rules for step in rule.steps.values() if step.gone]
        return self.ended | {step.becomes for step in removals if step.becomes is not None}


def _covers(pattern: Sequence[str], path: Sequence[str]) -> bool:
    return len(pattern) == len(path) and all(part in ("*", name) for part, name in zip(pattern, path, strict=True))


def stays_when_replaced(lifecycle: Lifecycle) -> bool:
    """Return whether an object that was replaced can still be referred to: it was archived, not deleted or ended."""
    rules = (lifecycle.when_immutable_changes, lifecycle.replace_if_asked)
    steps = [lifecycle.on_removed.get(rule.then) for rule in rules if isinstance(rule, Replace)]
    return any(isinstance(step, Step) and not step.gone for step in steps)
