"""Defines the problems that a warehouse can have.

A database's message is only shown if it can't contain row values. Messages about names, permissions and the connection
can't. Messages about data can (`invalid input syntax for type integer: "…"`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.model.errors import Location, Problem, WarehouseError

if TYPE_CHECKING:
    from dbt_stripe_sync.model.nodes import RowSource


def unreachable(place: str, reason: str, hint: str = "check the profile's connection settings") -> WarehouseError:
    """The connection failed. `place` has the kind, host, port and database, never a password."""
    return WarehouseError(
        Problem(code="warehouse-unreachable", summary=f"{place} can't be reached: {reason}", hint=hint)
    )


def not_authorised(place: str, user: str | None, reason: str | None = None) -> WarehouseError:
    """The warehouse rejected the user's credentials."""
    who = f"`{user}`" if user else "the profile's credentials"
    return WarehouseError(
        Problem(
            code="warehouse-auth",
            summary=f"{place} refuses {who}" + (f": {reason}" if reason else ""),
            hint="check the profile's user and credentials; `dbt debug` uses the same",
        )
    )


def not_permitted(place: str, user: str | None, reason: str, hint: str) -> WarehouseError:
    """The user lacks a permission that isn't about a single model."""
    who = f"`{user}`" if user else "the profile's user"
    return WarehouseError(Problem(code="warehouse-denied", summary=f"{place.rstrip(',')}: {who} {reason}", hint=hint))


def connection_lost(source: RowSource, reason: str) -> WarehouseError:
    """The connection was lost while rows were read."""
    return WarehouseError(
        Problem(
            code="warehouse-unreachable",
            summary=f"the connection was lost while model `{source.name}` was read: {reason}",
            where=Location(model=source.name),
            hint="run it again; nothing was sent. If it persists, check the network and the warehouse's time-outs",
        )
    )


def bad_setting(kind: str, setting: str, reason: str, hint: str | None = None) -> WarehouseError:
    """A setting of the profile is invalid or unsupported."""
    return WarehouseError(
        Problem(
            code="warehouse-setting",
            summary=f"the {kind} profile's `{setting}` {reason}",
            hint=hint or f"change or remove `{setting}` in profiles.yml; `dbt debug` tries it too",
        )
    )


def relation_missing(source: RowSource) -> WarehouseError:
    """The model has not been built, or a table that an ephemeral model reads is missing."""
    where = Location(model=source.name)
    if source.relation is None:
        summary = f"ephemeral model `{source.name}` reads a relation that is not in the warehouse"
        return WarehouseError(
            Problem(code="relation-missing", summary=summary, where=where, hint=f"run `dbt build -s +{source.name}`")
        )
    return WarehouseError(
        Problem(
            code="relation-missing",
            summary=f"{source.relation} of model `{source.name}` is not in the warehouse",
            where=where,
            hint=f"run `dbt build -s {source.name}`",
        )
    )


def denied(source: RowSource) -> WarehouseError:
    """The relation exists, but the profile's user may not read it."""
    return WarehouseError(
        Problem(
            code="warehouse-denied",
            summary=f"the profile's user may not read model `{source.name}`",
            where=Location(model=source.name),
            hint="grant it SELECT on the relation and USAGE on its schema",
        )
    )


def read_failed(source: RowSource, reason: str) -> WarehouseError:
    """Any other failure while rows are read. `reason` must not contain row values."""
    return WarehouseError(
        Problem(
            code="read-failed",
            summary=f"reading model `{source.name}` failed: {reason}",
            where=Location(model=source.name),
            hint=f"run `dbt show -s {source.name}` to see whether dbt can read it",
        )
    )


def first_line(message: object) -> str:
    """The first line of a driver's message, without its stack, SQL and hints."""
    lines = [line.strip() for line in str(message).strip().splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else "no reason given"
