"""What types can't say of a resource: how an object is found, replaced and removed, as the types of that data.

The data itself, one row a resource, is in `lifecycles.py`; `lifecycle_of` gives it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.model.foreseen import AtMost, FirstBill, Fixed, OneCurrency, PricesNamed, Window

CREATE = "create"
STREAM = "stream"
# The operations that create an object, with one call each, and those that batch their requests.
CREATING = frozenset({CREATE, STREAM})
IN_BULK = frozenset({STREAM})
# The option by which a sync asks for `replace_if_asked`.
REPLACE = "replace"
# The option by which a sync also updates holders that no sync writes, so that they release what it replaces.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call on an existing object: a method of its SDK service, with its parameters.

    `gone` says that the object can't be used again afterwards: if its row comes back, a new object is made. `revive`
    has the parameters of the update that undoes the step, if one exists; `revive_by` names the method that undoes it if
    that isn't an update.
    """

    operation: str
    params: Mapping[str, Any] = field(default_factory=dict)
    gone: bool = True
    revive: Mapping[str, Any] | None = None
    revive_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ByStatus:
    """A removal that depends on the object's `status` in Stripe, read when the plan is made.

    With a status that isn't in `steps`, the object is left alone, for the reason in `otherwise`. `status_field` is a
    dotted path; a null there counts as the status `None`. `expand` names what must be expanded to see it.
    """

    steps: Mapping[str, Step]
    otherwise: str
    status_field: str = "status"
    expand: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """A new object takes over: created with `carry_over` added to its parameters, then the old one gets `then`.

    If `then` depends on the old object's status and has no step for it, the row is rejected instead. `unless_mapped`
    names parameters that two live objects can't share: if a row keeps one of them, the old object ends before the new
    one is created. `gives_up` names those that the old object loses, since its row may need them again later.
    `takes_over` names parameters that would create a further object with the new one, each with the parameter by which
    the new object reuses the old one's.
    """

    carry_over: Mapping[str, Any] = field(default_factory=dict)
    then: Removal = Removal.ARCHIVE
    unless_mapped: tuple[str, ...] = ()
    gives_up: tuple[str, ...] = ()
    takes_over: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReplaced:
    """The row is rejected, with the reason: nothing can take the object's place."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBy:
    """What may hold an object, so that Stripe refuses to end it or ending it would break the holder.

    A `resource` holds it by its `parameter`. `named_by` is the parameter of the held object that names its holder; else
    holders are listed with the held object's id as `listed_by`, beside `listed_with`. `moves` says that an update lets
    the holder name another object; `together` that a holder of ours must be able to follow, or nothing is replaced.
    """

    resource: str
    parameter: str
    named_by: str | None = None
    listed_by: str | None = None
    listed_with: Mapping[str, Any] = field(default_factory=dict)
    moves: bool = False
    together: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CutsShort:
    """A removal, by its `operation`, that immediately affects another object: one of `resource` that it names.

    `wholly` says that it also ends the other object; otherwise it removes a part of it.
    """

    operation: str
    resource: str
    wholly: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedBy:
    """What needs an object until it ends itself: a `resource`, listed by its `listed_by` for each `through`.

    `operation` is the removal that waits for that. `ends_by_itself` are parameters of which one says that it will end.
    """

    operation: str
    through: HeldBy
    resource: str
    listed_by: str
    ends_by_itself: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique:
    """A parameter whose value must be unique among a resource's objects.

    `among_active` ignores archived ones, `ignores_case` the case of letters. `transfer` names the parameter by which an
    object takes the value from another; without it the other must lose it first.
    """

    parameter: str
    among_active: bool = False
    ignores_case: bool = False
    transfer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemList:
    """A list whose items have ids: in an update, one without an id is added and one that is missing stays.

    `identity_field` names a field that is unique among an object's items; `gone` is sent, with its id, to remove an
    item. If the object shows only some of its items, `listed_by` is the resource that lists them, by the object's name,
    or `listed_with` is the object's own operation that does.
    """

    identity_field: str
    gone: Mapping[str, Any] = field(default_factory=dict)
    listed_by: tuple[str, str] | None = None
    listed_with: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """A list of hashes that every update sends completely: unmapped parts are sent as they are in Stripe.

    `starts` is the part that identifies an entry in a list that has grown or shrunk. `own` are the parts that define an
    entry, so that they only come from the row; `inner` are nested lists, with the part that identifies their entries.
    """

    starts: str
    own: frozenset[str] = frozenset()
    inner: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """One step that finalizes an object, if the sync's options have its `name`.

    It leads from `status` to `becomes`. `needs` are groups of parameters of which the object must have one by then,
    unless one of `copies` makes it a copy of another; `needs_source` cites the rule.
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
        """The first group of which the object's parameters have none; empty if nothing is missing."""
        if any(params.get(name) for name in self.copies):
            return ()
        return next((names for names in self.needs if not any(params.get(name) for name in names)), ())


def finishes_asked(finishes: Mapping[str, Finish], options: Mapping[str, Any]) -> tuple[Finish, ...]:
    """The steps that a sync's options ask for, in the order that Stripe requires."""
    asked = [name for name in finishes if options.get(name) is True]
    if not asked:
        return ()
    names = list(finishes)
    # `accept` needs a quote that is finalized: what comes before in the object's life is done as well.
    return tuple(finishes[name] for name in names[: names.index(asked[-1]) + 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """Another way to create, many objects a request, for a sync whose options ask for it by `name`.

    `operation` takes the place of `create` in a change's call; one request carries `most` such calls. `note` is what
    is given up for it.
    """

    name: str
    operation: str
    most: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """How objects of one resource live.

    `found_by` lists what `match` may name: `id`, `metadata`, or a parameter that the list operation filters by or that
    the object shows. `own_id` says that `id` may be given at creation. `tagged` says that the object has metadata for
    our tag. `permanent` warns of a removal that can't be undone. `listed` says that all objects can be listed (those of
    a nested resource can be only under their parent). `refused` is the reason why no sync may write it. `note` is what
    a user should know before the first sync. `item_lists` are parameters whose items have ids.
    `replace_if_asked` takes the place of `when_immutable_changes` for a sync with the option `replace`. `finishes` are
    steps that a sync may ask for once all that belongs to an object is there, in the order in which Stripe takes them.
    `key_as` is a parameter that tells the object's rows apart for Stripe: it comes from the row's key where the sync
    maps nothing to it, and a second object with the same one is refused with words that hold `repeated`. `windows` are
    the times that creation takes, by parameter. `one_at_a_time` are dotted parameters: Stripe takes one creation at a
    time of those that have the same values in all of them. `request_only` are parameters that hold for one request and
    are no part of the object: every update says them again. `fixed` is what an object's status no longer lets change.
    `shown_if_asked` are parameters that an object shows only where they are expanded. `bulk` is another way to
    create, for a sync that asks for it. `held_by` is what may hold an object, `ends_with_it` what comes to its end
    where an object is removed for good, `cuts_short` what a removal does to the object that this one belongs to,
    `managed_by` the resources whose objects have to let go of one before it can be told to end later, `not_followed`
    the resources that refer to it and can't move to a new object with another value of a parameter, `needs_one_of`
    groups of parameters of which creation needs one,
    `uniques` what no two objects share, `ended` the statuses in which an object's life is over. `whole_lists` are
    lists that an update replaces as a whole, and to which people add by hand; `entries` are those of hashes that may
    have more than a row maps. `anchored` are lists whose first entry
    says in each update where the object's own first one begins, by the parameter given here; creation has that
    parameter beside the list. `set_once` are parameters that an update takes only as long as they have the value
    given here, by their dotted path; a `*` in it stands for any key of a map. `listed_with` are sets of parameters of
    the list operation: lists with each of them have every object between them, where a plain list leaves out those
    that are archived or have ended. `hides_test_clocks` says that they leave out objects of test clocks unless one is
    named. `moved_by_stripe` are parameters that Stripe itself changes while an object lives. `counted_at` names the
    parameter with the time of what Stripe counts and never shows, so that totals alone can tell of it. `merges_hashes`
    says that an update is known to change the parts of a hash that it names, and to keep the others. `at_most` and
    `one_currency` are what holds for the objects of one parent together. `prices_named` says where it names prices,
    and which it takes there; `first_bill` how late its first bill may be. `kept_by` are objects for whose sake Stripe
    refuses to delete one. `part_of` is the parameter with the object that this one is a part of and ends with.
    `used_by` is what needs an object until its own end. `undone_by` is the removal that undoes a creation, where it
    isn't the first that can itself be undone.
    """

    found_by: tuple[str, ...] = ()
    modes: frozenset[Mode] = frozenset(Mode)
    on_removed: Mapping[Removal, Step | ByStatus] = field(default_factory=dict)
    when_immutable_changes: Replace | NotReplaced = NotReplaced(reason="Stripe can't change it")
    own_id: bool = False
    tagged: bool = True
    permanent: frozenset[Removal] = frozenset()
    listed: bool = True
    refused: str | None = None
    note: str | None = None
    item_lists: Mapping[str, ItemList] = field(default_factory=dict)
    replace_if_asked: Replace | None = None
    finishes: Mapping[str, Finish] = field(default_factory=dict)
    key_as: str | None = None
    repeated: str | None = None
    windows: Mapping[str, Window] = field(default_factory=dict)
    one_at_a_time: tuple[str, ...] = ()
    request_only: tuple[str, ...] = ()
    fixed: tuple[Fixed, ...] = ()
    shown_if_asked: tuple[str, ...] = ()
    bulk: Bulk | None = None
    held_by: tuple[HeldBy, ...] = ()
    ends_with_it: tuple[HeldBy, ...] = ()
    cuts_short: tuple[CutsShort, ...] = ()
    managed_by: tuple[str, ...] = ()
    needs_one_of: tuple[tuple[str, ...], ...] = ()
    not_followed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    uniques: tuple[Unique, ...] = ()
    ended: frozenset[str] = frozenset()
    whole_lists: tuple[str, ...] = ()
    entries: Mapping[str, Entries] = field(default_factory=dict)
    anchored: Mapping[str, str] = field(default_factory=dict)
    moved_by_stripe: tuple[str, ...] = ()
    counted_at: str | None = None
    merges_hashes: bool = False
    set_once: Mapping[str, Any] = field(default_factory=dict)
    listed_with: tuple[Mapping[str, Any], ...] = ({},)
    hides_test_clocks: bool = False
    at_most: AtMost | None = None
    one_currency: OneCurrency | None = None
    prices_named: tuple[PricesNamed, ...] = ()
    first_bill: FirstBill | None = None
    kept_by: tuple[HeldBy, ...] = ()
    part_of: str | None = None
    used_by: tuple[UsedBy, ...] = ()
    undone_by: Removal | None = None

    def set_once_from(self, path: Sequence[str]) -> tuple[Any, ...]:
        """The only value from which a parameter can be changed; empty if it can always be changed."""
        return tuple(value for name, value in self.set_once.items() if _covers(name.split("."), path))[:1]

    @property
    def fixed_expand(self) -> tuple[str, ...]:
        """What has to be expanded for an object to show the statuses that fix something of it."""
        return tuple(dict.fromkeys(name for rule in self.fixed for name in rule.expand))

    @property
    def options(self) -> tuple[str, ...]:
        """The names that a sync's `options` may have."""
        replaced = (REPLACE,) if self.replace_if_asked is not None else ()
        in_bulk = (self.bulk.name,) if self.bulk is not None else ()
        may_move = (MOVE_HOLDERS,) if any(rule.moves for rule in self.held_by) else ()
        return (*self.finishes, *replaced, *in_bulk, *may_move)


def _covers(pattern: Sequence[str], path: Sequence[str]) -> bool:
    return len(pattern) == len(path) and all(part in ("*", name) for part, name in zip(pattern, path, strict=True))


def stays_when_replaced(lifecycle: Lifecycle) -> bool:
    """Whether an object that was replaced can still be referred to: it was archived, not deleted or ended."""
    rules = (lifecycle.when_immutable_changes, lifecycle.replace_if_asked)
    steps = [lifecycle.on_removed.get(rule.then) for rule in rules if isinstance(rule, Replace)]
    return any(isinstance(step, Step) and not step.gone for step in steps)
