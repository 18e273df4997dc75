"""Describes resources: their operations, and the parameters with their values and the operations that accept them."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.violation import Violation


class ParamKind(Enum):
    """What a parameter takes. `NUMBER` is a decimal, sent as text; `MAP` has names that the user chooses."""

    # That of an `Enum` is written in Python, and every cell of every row looks its parameter's kind up.
    __hash__ = object.__hash__

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ENUM = "enum"
    HASH = "hash"
    LIST = "list"
    MAP = "map"
    ANY = "any"


class Param(Struct, frozen=True, kw_only=True):
    """One parameter.

    `enum` lists the words that it accepts; an `INTEGER` accepts them besides numbers (`trial_end: now`), and creation
    rejects those in `update_words`. `required` means that creation requires it, `clearable` that an update accepts
    `''`, `immutable` that only creation accepts it, and `partly_immutable` that this is true of something inside it,
    found by `immutable_parts`. `in_path` marks a parameter in the URL. `item` is a list's, `fields` a hash's, `values`
    a map's.
    """

    name: str
    kind: ParamKind
    required: bool = False
    creatable: bool = True
    updatable: bool = True
    clearable: bool = False
    in_path: bool = False
    partly_immutable: bool = False
    enum: tuple[str, ...] = ()
    update_words: tuple[str, ...] = ()
    item: Param | None = None
    fields: Mapping[str, Param] | None = None
    values: Param | None = None
    description: str = ""

    @property
    def immutable(self) -> bool:
        """Whether the parameter is fixed once the object exists."""
        return self.creatable and not self.updatable

    @property
    def inner(self) -> Mapping[str, Param]:
        """What can be named below it: a hash's fields, those of a list's items and of a map's values."""
        below = self.item or self.values
        return below.inner if below is not None else self.fields or {}


def immutable_parts(param: Param) -> Iterator[tuple[str, ...]]:
    """The paths inside a parameter that are fixed once the object exists, the topmost of each."""
    if not param.partly_immutable:
        return
    for name, part in param.inner.items():
        if part.immutable:
            yield (name,)
        else:
            yield from ((name, *path) for path in immutable_parts(part))


def word_unshown(param: Param) -> Any:
    """The value of a required part of a hash if Stripe shows the hash without it, or None.

    The last tier of a price shows no bound (docs.stripe.com/api/prices/object), and a feature that an object shows is
    on.
    """
    if not param.required:
        return None
    if param.kind is ParamKind.INTEGER and param.enum:
        return param.enum[0]
    return True if param.kind is ParamKind.BOOLEAN and param.name == "enabled" else None


def early_words(value: Any, param: Param) -> Iterator[tuple[str, ...]]:
    """The paths inside a value of words that Stripe accepts only in updates, such as `now` as the end of a phase."""
    if isinstance(value, list):
        parts = [] if param.item is None else [(str(index), part, param.item) for index, part in enumerate(value)]
    elif isinstance(value, dict):
        fields = param.fields or {}
        parts = [(name, part, fields[name]) for name, part in value.items() if name in fields]
    else:
        parts = []
        if isinstance(value, str) and value in param.update_words:
            yield ()
    for name, part, below in parts:
        yield from ((name, *path) for path in early_words(part, below))


def has_early_words(param: Param) -> bool:
    """Whether `early_words` may find any in a value."""
    parts = [*(param.fields or {}).values(), *([param.item] if param.item is not None else [])]
    return bool(param.update_words) or any(has_early_words(part) for part in parts)


def has_update_only_parts(param: Param) -> bool:
    """Whether only updates accept something inside a parameter, such as the start of a schedule's phase."""
    below = [*(param.fields or {}).values(), *([param.item] if param.item is not None else [])]
    return any(not part.creatable or has_update_only_parts(part) for part in below)


def without_immutable(value: Any, param: Param) -> Any:
    """A value for an update: without the parts that only creation accepts; None if nothing remains.

    Items of a list that has such parts are updated by their ids, so a list that stays the same is left out as a whole.
    """
    if param.immutable or (param.partly_immutable and isinstance(value, list)):
        return None
    if not param.partly_immutable or not isinstance(value, dict):
        return value
    below = param.fields or {}
    parts = {
        name: part if (field := param.values or below.get(name)) is None else without_immutable(part, field)
        for name, part in value.items()
    }
    return {name: part for name, part in parts.items() if part is not None} or None


class Returned(Struct, frozen=True, kw_only=True):
    """What a method returns: the names that the objects have in their `object`, and the fields that all of them have.

    `listed` is the SDK's class of the list or search result that they come in.
    """

    names: frozenset[str]
    fields: frozenset[str]
    listed: str | None = None


class Operation(Struct, frozen=True, kw_only=True):
    """One method of a resource: `path` has its `path_params` in braces; `returned` is what comes back, where known."""

    name: str
    method: str
    path: str
    path_params: tuple[str, ...]
    params: Mapping[str, Param]
    description: str = ""
    returned: Returned | None = None


class Resource(Protocol):
    """A kind of object. `name` is the user's (`customer.tax_id`)."""

    def __hash__(self) -> int:
        """What follows from it is kept by it."""
        ...

    @property
    def name(self) -> str:
        """The user's name of it."""
        ...

    @property
    def operations(self) -> Mapping[str, Operation]:
        """Every operation by the name of its method in the SDK."""
        ...

    @property
    def params(self) -> Mapping[str, Param]:
        """Every parameter of creation and of updates; those of the URL come first."""
        ...

    @property
    def early(self) -> AbstractSet[str]:
        """The parameters of a creation that may have words in them which only an update takes."""
        ...

    @property
    def partly_creatable(self) -> AbstractSet[str]:
        """The parameters of a creation that have parts which only an update takes."""
        ...

    @property
    def required(self) -> Sequence[str]:
        """The parameters that no creation can do without."""
        ...

    @property
    def lifecycle(self) -> Lifecycle:
        """How its objects live: what types can't say."""
        ...

    def broken_rules(
        self,
        operation: str,
        params: Mapping[str, Any],
        *,
        now: int | None = None,
        known: Mapping[str, Any] | None = None,
        whole: bool | None = None,
        skips_limits: bool = False,
    ) -> Iterator[Violation]:
        """The documented rules of Stripe's that a call's parameters break; those about times only with `now`.

        `now` is in Unix seconds; `known` has the object's current values. `whole` says that the parameters are
        complete, which is the default for a creation. `skips_limits` leaves out the limits of single values, if they
        were checked already.
        """
        ...

    def param(self, path: tuple[str, ...]) -> Param | None:
        """The parameter at a dotted path; a map takes any name, a list is passed through to its items."""
        ...


class Catalog(Protocol):
    """All resources by name."""

    @property
    def resources(self) -> Mapping[str, Resource]:
        """Every resource."""
        ...

    def resource(self, name: str) -> Resource | None:
        """A resource by its name, its plural, or Stripe's own spelling, or None."""
        ...

    def why_not(self, name: str) -> str | None:
        """Why no sync writes a resource that only API v2 has; None for any other name."""
        ...
