"""What a parameter is: its name, what it takes, and which operations take it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class ParamKind(Enum):
    """What a parameter takes. `NUMBER` is a decimal, sent as text; `MAP` has names that the user chooses."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ENUM = "enum"
    HASH = "hash"
    LIST = "list"
    MAP = "map"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One parameter.

    `enum` lists the words that it takes; on an `INTEGER` they stand beside numbers (`trial_end: now`). `required` is
    what creation asks for, `clearable` says that an update takes `''`, `immutable` that creation alone takes it.
    `in_path` marks a parameter that stands in the URL. `item` is a list's, `fields` a hash's, `values` a map's.
    """

    name: str
    kind: ParamKind
    required: bool = False
    creatable: bool = True
    updatable: bool = True
    clearable: bool = False
    in_path: bool = False
    enum: tuple[str, ...] = ()
    item: Param | None = None
    fields: Mapping[str, Param] | None = None
    values: Param | None = None
    description: str = ""

    @property
    def immutable(self) -> bool:
        """Whether the parameter is fixed once the object exists."""
        return self.creatable and not self.updatable
