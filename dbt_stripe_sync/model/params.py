"""The types that describe resources: their operations, and the parameters that these accept."""

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
    """The type of a parameter. `NUMBER` is a decimal, sent as text; a `MAP` has keys that the user chooses."""

    # The hash of an `Enum` member is computed in Python, and every cell of every row looks up its parameter's kind.
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

    - `enum` lists the keywords that it accepts. An `INTEGER` accepts them besides numbers (`trial_end: now`), and
      creation rejects those in `update_words`.
    - `required` means that creation requires it, and `clearable` that an update accepts `''`.
    - `immutable` means that only creation accepts it, `partly_immutable` that this is true of something inside it
      (`immutable_parts`).
    - `in_path` marks a parameter in the URL.
    - `item` belongs to a list, `fields` to a hash, and `values` to a map.
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
        """The parameters below it: the fields of a hash or of a list's items, or the values of a map."""
        below = self.item or self.values
        return below.inner if below is not None else self.fields or {}


def immutable_parts(param: Param) -> Iterator[tuple[str, ...]]:
    """Yield the paths inside a parameter that are fixed once the object exists; of nested paths only the topmost."""
    if not param.partly_immutable:
        return
    for name, part in param.inner.items():
        if part.immutable:
            yield (name,)
        else:
            yield from ((name, *path) for path in immutable_parts(part))


def word_unshown(param: Param) -> Any:
    """Return the value that a required part of a hash has if Stripe returns the hash without it, or None.

    The last tier of a price has no bound (docs.stripe.com/api/prices/object), and a feature in an object is on.
    """
    if not param.required:
        return None
    if param.kind is ParamKind.INTEGER and param.enum:
        return param.enum[0]
    return True if param.kind is ParamKind.BOOLEAN and param.name == "enabled" else None


def early_words(value: Any, param: Param) -> Iterator[tuple[str, ...]]:
    """Yield the paths inside a value to keywords that only updates accept, such as `now` as the end of a phase."""
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
    """Return whether `early_words` could find any in a value."""
    parts = [*(param.fields or {}).values(), *([param.item] if param.item is not None else [])]
    return bool(param.update_words) or any(has_early_words(part) for part in parts)


def has_update_only_parts(param: Param) -> bool:
    """Return whether only updates accept something inside a parameter, such as the start of a schedule's phase."""
    below = [*(param.fields or {}).values(), *([param.item] if param.item is not None else [])]
    return any(not part.creatable or has_update_only_parts(part) for part in below)


def without_immutable(value: Any, param: Param) -> Any:
    """Return a value for an update, without the parts that only creation accepts; None if nothing remains.

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
    """What a method returns: the values of `object`, and the fields that all returned objects have.

    `listed` is the SDK's class of the list or search result that they come in.
    """

    names: frozenset[str]
    fields: frozenset[str]
    listed: str | None = None


class Operation(Struct, frozen=True, kw_only=True):
    """One method of a resource. `path` has its `path_params` in braces; `returned` is what it returns, if known."""

    name: str
    method: str
    path: str
    path_params: tuple[str, ...]
    params: Mapping[str, Param]
    description: str = ""
    returned: Returned | None = None


class Resource(Protocol):
    """A kind of object. `name` is the user's name for it (`customer.tax_id`)."""

    def __hash__(self) -> int:
        """Resources are hashable, because data derived from one is cached by it."""
        ...

    @property
    def name(self) -> str:
        """The user's name for it."""
        ...

    @property
    def operations(self) -> Mapping[str, Operation]:
        """Every operation by the name of its method in the SDK."""
        ...

    @property
    def params(self) -> Mapping[str, Param]:
        """Every parameter of creation and updates, after those in the URL."""
        ...

    @property
    def early(self) -> AbstractSet[str]:
        """The creation parameters that may contain keywords which only an update accepts."""
        ...

    @property
    def partly_creatable(self) -> AbstractSet[str]:
        """The creation parameters with parts that only an update accepts."""
        ...

    @property
    def required(self) -> Sequence[str]:
        """The parameters that creation requires."""
        ...

    @property
    def lifecycle(self) -> Lifecycle:
        """The lifecycle of the resource's objects: what the types can't express."""
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
        """Yield the documented rules of Stripe that a call's parameters break.

        Rules about times are checked only if `now` is given, in Unix seconds. `known` has the object's current values.
        `whole` says that the parameters are complete, which is the default for a creation. `skips_limits` leaves out
        the limits of single values, in case they were checked before.
        """
        ...

    def param(self, path: tuple[str, ...]) -> Param | None:
        """Return the parameter at a path, or None. A map has any key, and a list stands for its items."""
        ...


class Catalog(Protocol):
    """All resources by name."""

    @property
    def resources(self) -> Mapping[str, Resource]:
        """Every resource."""
        ...

    def resource(self, name: str) -> Resource | None:
        """Return a resource by its name, its plural, or Stripe's spelling, or None."""
        ...

    def why_not(self, name: str) -> str | None:
        """Return why a resource that exists only in API v2 can't be synced, or None for any other name."""
        ...
