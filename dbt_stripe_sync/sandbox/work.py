"""The reads and writes of one request, which take effect together or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox.errors import no_such
from dbt_stripe_sync.sandbox.ids import new_id
from dbt_stripe_sync.sandbox.store import Body, Record, Store, copy_json, value_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.sandbox.family import Family


class Work:
    """The changes of one request so far. Bodies from `get` and `find` are read-only; `edit` returns one to change."""

    def __init__(
        self,
        store: Store,
        *,
        now: float,
        search_delay: float,
        families: Mapping[str, Family],
        requires_payment_methods: bool = False,
    ) -> None:
        self.store = store
        self.families = families
        self.moment = now
        self.now = int(now)
        self.livemode = store.livemode
        self.requires_payment_methods = requires_payment_methods
        self._search_delay = search_delay
        self._pending: dict[tuple[str, str], Record] = {}
        self._removed: dict[tuple[str, str], None] = {}

    def add(self, kind: str, body: Body, *, hidden: Body | None = None) -> Body:
        """Add a new object."""
        record = Record(kind, body["id"], self.store.next_serial(), body, hidden if hidden is not None else {})
        self._pending[kind, record.id] = record
        self._removed.pop((kind, record.id), None)
        return body

    def new_id(self, prefix: str) -> str:
        """Return an id for a new object."""
        return new_id(prefix)

    def has(self, kind: str, id: str) -> bool:  # noqa: A002 - Stripe's own word
        """Whether a live object of this kind has the id."""
        record = self._record(kind, id)
        return record is not None and not record.gone

    def get(self, kind: str, id: str, *, param: str = "id", status: int = 404) -> Body:  # noqa: A002
        """Return a live object. Raises `ApiError` (`resource_missing`) that names `param`."""
        record = self._record(kind, id)
        if record is None or record.gone:
            raise no_such(kind, id, param, status)
        return record.body

    def shown(self, kind: str, id: str) -> Body | None:  # noqa: A002 - Stripe's own word
        """Return an object as a retrieval shows it, even a deleted one, or None."""
        record = self._record(kind, id)
        return None if record is None else record.body

    def edit(self, kind: str, id: str, *, param: str = "id", status: int = 404) -> Body:  # noqa: A002
        """Return a copy of a live object, whose changes are kept if the request succeeds. Raises like `get`."""
        return self._own(kind, id, param, status).body

    def hidden(self, kind: str, id: str) -> Body:  # noqa: A002 - Stripe's own word
        """Return what an object stores but the API doesn't show, to read and change."""
        return self._own(kind, id, "id", 404).hidden

    def read_hidden(self, kind: str, id: str) -> Body:  # noqa: A002 - Stripe's own word
        """Return the same as `hidden`, but read-only."""
        record = self._record(kind, id)
        return {} if record is None else record.hidden

    def remove(self, kind: str, id: str, *, tombstone: Body | None = None) -> None:  # noqa: A002
        """Delete an object. With a `tombstone`, later retrievals return that."""
        if tombstone is None:
            self._pending.pop((kind, id), None)
            self._removed[kind, id] = None
            return
        record = self._own(kind, id, "id", 404)
        record.body, record.gone, record.hidden = tombstone, True, {}

    def find(self, kind: str, where: Mapping[str, Any] | None = None) -> list[Body]:
        """Return the live objects that have the values of `where` at its dotted paths, newest first."""
        found = {
            r.id: r
            for r in self.store.table(kind).newest_first(where)
            if (kind, r.id) not in self._removed and (kind, r.id) not in self._pending
        }
        for (pending_kind, id_), record in self._pending.items():
            if pending_kind == kind and not record.gone:
                matches = all(value_at(record.body, path) == value for path, value in (where or {}).items())
                if matches:
                    found[id_] = record
        return [r.body for r in sorted(found.values(), key=lambda r: r.serial, reverse=True)]

    def commit(self) -> tuple[list[Record], list[tuple[str, str]]]:
        """Apply all changes to the store. Returns what was written and what was removed, for the data file."""
        due = self.moment + self._search_delay
        for record in self._pending.values():
            table = self.store.table(record.kind)
            before = table.records.get(record.id)
            record.visible_at = due
            if before is not None and self._search_delay:
                seen = ((before.visible_at, before.body), *before.earlier)
                record.earlier = _still_needed(seen, self.moment)
            table.put(record)
        for kind, id_ in self._removed:
            self.store.table(kind).remove(id_)
        return list(self._pending.values()), list(self._removed)

    def _record(self, kind: str, id_: str) -> Record | None:
        key = (kind, id_)
        if key in self._removed:
            return None
        return self._pending.get(key) or self.store.table(kind).records.get(id_)

    def _own(self, kind: str, id_: str, param: str, status: int) -> Record:
        key = (kind, id_)
        record = self._record(kind, id_)
        if record is None or record.gone:
            raise no_such(kind, id_, param, status)
        if key not in self._pending:
            record = Record(kind, id_, record.serial, copy_json(record.body), copy_json(record.hidden))
            self._pending[key] = record
        return record


def _still_needed(seen: tuple[tuple[float, Body], ...], now: float) -> tuple[tuple[float, Body], ...]:
    """Return the versions that aren't due yet, and the newest one that is."""
    kept: list[tuple[float, Body]] = []
    for due, body in seen:
        kept.append((due, body))
        if due <= now:
            break
    return tuple(kept)
