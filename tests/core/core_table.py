"""The seven core resources as data: a row of each, what it makes, and what becomes of it.

A value `@sync:key` is the id of another sync's row, `@` that of the row's own object, `@.path` what that shows there,
and `@name` the id of something that was made by hand. `{path}` is the resource's path, `{id}` the object's id.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

OFF = object()
# A request by hand: its method, its path, its parameters.
Call = tuple[str, str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Change:
    """Columns that change, exactly what is sent then, and what Stripe shows afterwards by dotted path."""

    kind: str
    columns: dict[str, str]
    sends: dict[str, Any]
    shows: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Clear:
    """A column that had a value and becomes null. `sends` is None where Stripe can't clear the field `path`."""

    column: str
    path: str
    sends: dict[str, Any] | None = None
    shows: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Theirs:
    """A mapped column that is null from the start, and what somebody sets there by hand."""

    column: str
    params: dict[str, Any]
    shows: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Immutable:
    """A field that Stripe never changes. `reason` is why the row is rejected, None where a new object takes over.

    `replaced` says what the old object shows once a new one has taken over, None where it is gone; OFF where nothing
    can take over, asked or not.
    """

    field: str
    reason: str | None
    columns: dict[str, str]
    shows: dict[str, Any]
    before: dict[str, str] = dataclasses.field(default_factory=dict)
    replaced: Any = OFF


@dataclass(frozen=True, kw_only=True)
class State:
    """How an object comes into a state of its life: columns of its row, calls by hand, days; and what it shows then."""

    name: str
    columns: dict[str, str] = field(default_factory=dict)
    calls: tuple[Call, ...] = ()
    days: float = 0
    shows: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """A row that leaves the model while its object is in a state.

    `sends` is the one call, None where there is none; `note` why there is none. `ends` is what the object shows
    afterwards, None where it is gone. `back` says what its row finds when it comes back: `new` a new object, `revived`
    the old one, in use again, or `same` the old one as it is.
    """

    on_removed: str
    state: State
    sends: str | None
    ends: dict[str, Any] | None
    back: str
    note: str | None = None
    days_until_back: float = 0


@dataclass(frozen=True, kw_only=True)
class Core:
    """One resource: its row as SQL, its mapping, and everything that is expected of it.

    `ways` are those by which an existing object is found. `unseen` are parameters that Stripe does not show of an
    object, so that they are sent to one that is adopted whatever it has.
    """

    resource: str
    path: str
    parents: tuple[str, ...] = ()
    by_hand: tuple[tuple[str, str, dict[str, Any]], ...] = ()
    columns: dict[str, str]
    fields: dict[str, Any]
    creates: dict[str, Any]
    changes: tuple[Change, ...]
    clears: tuple[Clear, ...]
    theirs: Theirs
    immutable: Immutable
    leavings: tuple[Leaving, ...]
    ways: tuple[str, ...]
    unseen: tuple[str, ...] = ()

    @property
    def text(self) -> Change:
        """The change of a plain text."""
        return self.changes[0]


DELETED = State(name="deleted by hand", calls=(("delete", "{path}/@", {}),))
TAX_NOTES = "[{'name': 'Tax', 'value': '1'}]"
FEW_NOTES = [{"name": "Tax", "value": "1"}]
MORE_NOTES = "[{'name': 'Tax', 'value': '2'}, {'name': 'Ref', 'value': '3'}]"
NOTES = [{"name": "Tax", "value": "2"}, {"name": "Ref", "value": "3"}]
TIME = "TIMESTAMP '2040-01-01'"
LATER = "TIMESTAMP '2040-02-01'"
AT, AT_LATER = 2208988800, 2211667200
MARK = {"metadata.tier": "tier", "metadata.ref": "id"}
MARKED = {"tier": "gold", "ref": "k"}
NEW_TIER = Change(
    kind="metadata key",
    columns={"tier": "'silver'"},
    sends={"metadata": {"tier": "silver"}},
    shows={"metadata.tier": "silver", "metadata.ref": "k"},
)
NO_TIER = Clear(
    column="tier",
    path="metadata.tier",
    sends={"metadata": {"tier": ""}},
    shows={"metadata.tier": None, "metadata.ref": "k"},
)

# ── customers, products and prices ───────────────────────────────────────────────────────────────────────────────

CUSTOMER = Core(
    resource="customer",
    path="/v1/customers",
    columns={
        "name": "'Ann'",
        "email": "id || '@example.com'",
        "phone": "NULL::text",
        "credit": "10.00",
        "tries": "5",
        "exempt": "'none'",
        "city": "'Bern'",
        "street": "'Aare 1'",
        "tier": "'gold'",
        "languages": "['de', 'fr']",
        "notes": TAX_NOTES,
        "card": "'pm_card_visa'",
        "checked": "NULL::boolean",
        "token": "NULL::text",
    },
    fields={
        "name": "name",
        "email": "email",
        "phone": "phone",
        "balance": {"column": "credit", "as": "minor_units", "currency": "usd"},
        "next_invoice_sequence": "tries",
        "tax_exempt": "exempt",
        "address.city": "city",
        "address.line1": "street",
        "preferred_locales": "languages",
        "invoice_settings.custom_fields": "notes",
        "invoice_settings.default_payment_method": "card",
        "validate": "checked",
        "payment_method": "token",
        **MARK,
    },
    creates={
        "name": "Ann",
        "email": "k@example.com",
        "balance": 1000,
        "next_invoice_sequence": 5,
        "tax_exempt": "none",
        "address": {"city": "Bern", "line1": "Aare 1"},
        "preferred_locales": ["de", "fr"],
        "invoice_settings": {"custom_fields": FEW_NOTES, "default_payment_method": "pm_card_visa"},
        "metadata": MARKED,
    },
    changes=(
        Change(kind="text", columns={"name": "'Ben'"}, sends={"name": "Ben"}, shows={"name": "Ben"}),
        Change(kind="money", columns={"credit": "12.50"}, sends={"balance": 1250}, shows={"balance": 1250}),
        Change(
            kind="number",
            columns={"tries": "9"},
            sends={"next_invoice_sequence": 9},
            shows={"next_invoice_sequence": 9},
        ),
        Change(kind="boolean", columns={"checked": "true"}, sends={"validate": True}, shows={}),
        Change(
            kind="enum",
            columns={"exempt": "'reverse'"},
            sends={"tax_exempt": "reverse"},
            shows={"tax_exempt": "reverse"},
        ),
        Change(
            kind="hash part",
            columns={"city": "'Basel'"},
            sends={"address": {"city": "Basel", "line1": "Aare 1"}},
            shows={"address.city": "Basel", "address.line1": "Aare 1"},
        ),
        NEW_TIER,
        Change(
            kind="list",
            columns={"languages": "['en']"},
            sends={"preferred_locales": ["en"]},
            shows={"preferred_locales": ["en"]},
        ),
        Change(
            kind="list of hashes",
            columns={"notes": MORE_NOTES},
            sends={"invoice_settings": {"custom_fields": NOTES, "default_payment_method": "pm_card_visa"}},
            shows={"invoice_settings.custom_fields": NOTES},
        ),
        Change(
            kind="reference",
            columns={"card": "'pm_card_mastercard'"},
            sends={"invoice_settings": {"custom_fields": FEW_NOTES, "default_payment_method": "pm_card_mastercard"}},
            shows={"invoice_settings.default_payment_method": "pm_card_mastercard"},
        ),
    ),
    clears=(
        Clear(column="name", path="name", sends={"name": ""}, shows={"name": None}),
        Clear(
            column="street",
            path="address.line1",
            sends={"address": {"city": "Bern", "line1": ""}},
            shows={"address.line1": None, "address.city": "Bern"},
        ),
        NO_TIER,
        Clear(
            column="notes",
            path="invoice_settings.custom_fields",
            sends={"invoice_settings": {"custom_fields": "", "default_payment_method": "pm_card_visa"}},
            shows={"invoice_settings.custom_fields": None},
        ),
        Clear(column="credit", path="balance"),
        Clear(column="languages", path="preferred_locales"),
    ),
    theirs=Theirs(column="phone", params={"phone": "117"}, shows={"phone": "117"}),
    immutable=Immutable(
        field="payment_method",
        reason="Stripe accepts it only when the customer is created",
        before={"token": "'pm_card_visa'"},
        columns={"token": "'pm_card_mastercard'"},
        shows={},
    ),
    leavings=(
        Leaving(on_removed="delete", state=State(name="live"), sends="DELETE {path}/{id}", ends=None, back="new"),
        Leaving(on_removed="delete", state=DELETED, sends="DELETE {path}/{id}", ends=None, back="new"),
        Leaving(on_removed="ignore", state=State(name="live"), sends=None, ends={"name": "Ann"}, back="same"),
    ),
    ways=("id", "email", "metadata.ref"),
)

ARCHIVED = State(name="archived by hand", calls=(("post", "{path}/@", {"active": "false"}),), shows={"active": False})
PRICED = State(
    name="with a price", calls=(("post", "/v1/prices", {"product": "@", "currency": "usd", "unit_amount": 500}),)
)

PRODUCT = Core(
    resource="product",
    path="/v1/products",
    by_hand=(("good", "/v1/products", {"name": "Other"}),),
    columns={
        "name": "'Desk'",
        "about": "'Oak'",
        "website": "'https://example.com/' || id",
        "unit": "NULL::text",
        "height": "1.5",
        "ships": "true",
        "kind": "'service'",
        "tier": "'gold'",
        "pictures": "['https://example.com/a.png']",
        "features": "[{'name': 'Oak'}]",
        "code": "'txcd_10000000'",
    },
    fields={
        "name": "name",
        "description": "about",
        "url": "website",
        "unit_label": "unit",
        "package_dimensions": {
            "height": "height",
            "length": {"value": 1},
            "weight": {"value": 1},
            "width": {"value": 1},
        },
        "shippable": "ships",
        "type": "kind",
        "images": "pictures",
        "marketing_features": "features",
        "tax_code": "code",
        **MARK,
    },
    creates={
        "name": "Desk",
        "description": "Oak",
        "url": "https://example.com/k",
        "package_dimensions": {"height": "1.5", "length": 1, "weight": 1, "width": 1},
        "shippable": True,
        "type": "service",
        "images": ["https://example.com/a.png"],
        "marketing_features": [{"name": "Oak"}],
        "tax_code": "txcd_10000000",
        "metadata": MARKED,
    },
    changes=(
        Change(kind="text", columns={"about": "'Elm'"}, sends={"description": "Elm"}, shows={"description": "Elm"}),
        Change(
            kind="number in a hash",
            columns={"height": "2.5"},
            sends={"package_dimensions": {"height": "2.5", "length": 1, "weight": 1, "width": 1}},
            shows={"package_dimensions.height": 2.5, "package_dimensions.width": 1},
        ),
        Change(kind="boolean", columns={"ships": "false"}, sends={"shippable": False}, shows={"shippable": False}),
        NEW_TIER,
        Change(
            kind="list",
            columns={"pictures": "['https://example.com/b.png']"},
            sends={"images": ["https://example.com/b.png"]},
            shows={"images": ["https://example.com/b.png"]},
        ),
        Change(
            kind="list of hashes",
            columns={"features": "[{'name': 'Oak'}, {'name': 'Drawer'}]"},
            sends={"marketing_features": [{"name": "Oak"}, {"name": "Drawer"}]},
            shows={"marketing_features": [{"name": "Oak"}, {"name": "Drawer"}]},
        ),
        Change(
            kind="reference",
            columns={"code": "'txcd_20030000'"},
            sends={"tax_code": "txcd_20030000"},
            shows={"tax_code": "txcd_20030000"},
        ),
    ),
    clears=(
        Clear(column="about", path="description", sends={"description": ""}, shows={"description": None}),
        Clear(column="pictures", path="images", sends={"images": ""}, shows={"images": []}),
        Clear(
            column="features",
            path="marketing_features",
            sends={"marketing_features": ""},
            shows={"marketing_features": []},
        ),
        NO_TIER,
        Clear(column="ships", path="shippable"),
    ),
    theirs=Theirs(column="unit", params={"unit_label": "desk"}, shows={"unit_label": "desk"}),
    immutable=Immutable(
        field="type",
        reason="Stripe accepts it only when the product is created",
        columns={"kind": "'good'"},
        shows={},
    ),
    leavings=(
        Leaving(
            on_removed="archive",
            state=State(name="without a price"),
            sends="POST {path}/{id}",
            ends={"active": False},
            back="revived",
        ),
        Leaving(on_removed="archive", state=PRICED, sends="POST {path}/{id}", ends={"active": False}, back="revived"),
        Leaving(on_removed="archive", state=ARCHIVED, sends="POST {path}/{id}", ends={"active": False}, back="revived"),
        Leaving(
            on_removed="delete",
            state=State(name="without a price"),
            sends="DELETE {path}/{id}",
            ends=None,
            back="new",
        ),
        Leaving(on_removed="delete", state=DELETED, sends="DELETE {path}/{id}", ends=None, back="new"),
        Leaving(on_removed="ignore", state=PRICED, sends=None, ends={"active": True}, back="same"),
    ),
    ways=("id", "metadata.ref", "url"),
)

PRICE = Core(
    resource="price",
    path="/v1/prices",
    parents=("plans",),
    columns={
        "plan": "'desk'",
        "amount": "10.00",
        "label": "'Monthly'",
        "lookup": "id || '_monthly'",
        "tax": "'unspecified'",
        "used": "true",
        "euros": "9.00",
        "tier": "'gold'",
        "cycle": "'month'",
    },
    fields={
        "product": {"sync": "plans", "key": "plan"},
        "currency": {"value": "usd"},
        "unit_amount": {"column": "amount", "as": "minor_units", "currency": "usd"},
        "recurring.interval": "cycle",
        "nickname": "label",
        "lookup_key": "lookup",
        "tax_behavior": "tax",
        "active": "used",
        "currency_options.eur.unit_amount": {"column": "euros", "as": "minor_units", "currency": "eur"},
        **MARK,
    },
    creates={
        "product": "@plans:desk",
        "currency": "usd",
        "unit_amount": 1000,
        "recurring": {"interval": "month"},
        "nickname": "Monthly",
        "lookup_key": "k_monthly",
        "tax_behavior": "unspecified",
        "active": True,
        "currency_options": {"eur": {"unit_amount": 900}},
        "metadata": MARKED,
    },
    changes=(
        Change(
            kind="text",
            columns={"label": "'Each month'"},
            sends={"nickname": "Each month"},
            shows={"nickname": "Each month"},
        ),
        Change(
            kind="money in a map",
            columns={"euros": "9.50"},
            sends={"currency_options": {"eur": {"unit_amount": 950}}},
            shows={},
        ),
        Change(kind="boolean", columns={"used": "false"}, sends={"active": False}, shows={"active": False}),
        Change(
            kind="enum",
            columns={"tax": "'exclusive'"},
            sends={"tax_behavior": "exclusive"},
            shows={"tax_behavior": "exclusive"},
        ),
        NEW_TIER,
    ),
    clears=(
        Clear(column="label", path="nickname", sends={"nickname": ""}, shows={"nickname": None}),
        Clear(column="lookup", path="lookup_key", sends={"lookup_key": ""}, shows={"lookup_key": None}),
        Clear(column="euros", path="currency_options", sends={"currency_options": ""}),
        NO_TIER,
        Clear(column="tax", path="tax_behavior"),
    ),
    theirs=Theirs(column="label", params={"nickname": "Theirs"}, shows={"nickname": "Theirs"}),
    immutable=Immutable(
        field="unit_amount",
        reason=None,
        columns={"amount": "12.00"},
        shows={"unit_amount": 1200, "lookup_key": "k_monthly", "active": True},
        replaced={"unit_amount": 1000, "lookup_key": None, "active": False},
    ),
    leavings=(
        Leaving(
            on_removed="archive",
            state=State(name="in use"),
            sends="POST {path}/{id}",
            ends={"active": False},
            back="revived",
        ),
        Leaving(on_removed="archive", state=ARCHIVED, sends="POST {path}/{id}", ends={"active": False}, back="revived"),
        Leaving(on_removed="ignore", state=State(name="in use"), sends=None, ends={"active": True}, back="same"),
    ),
    ways=("id", "lookup_key", "metadata.ref"),
)

# ── subscriptions ────────────────────────────────────────────────────────────────────────────────────────────────

CHARGED = {"method": "'charge_automatically'", "days": "NULL::int"}
RUNNING = State(name="active", shows={"status": "active"})
ON_TRIAL = State(name="trialing", columns={"trial": "14"}, shows={"status": "trialing"})
OVERDUE = State(
    name="past due",
    columns=CHARGED,
    calls=(
        (
            "post",
            "/v1/customers/@people:ann",
            {"invoice_settings": {"default_payment_method": "pm_card_chargeCustomerFail"}},
        ),
    ),
    days=40,
    shows={"status": "past_due"},
)
INCOMPLETE = State(
    name="incomplete", columns={**CHARGED, "charging": "'default_incomplete'"}, shows={"status": "incomplete"}
)
CANCELED = State(name="canceled by hand", calls=(("delete", "{path}/@", {}),), shows={"status": "canceled"})
ENDED_NOTE = "the subscription has already ended (its status is `canceled`)"


def _canceled(state: State) -> Leaving:
    return Leaving(
        on_removed="cancel", state=state, sends="DELETE {path}/{id}", ends={"status": "canceled"}, back="new"
    )


def _ending(state: State) -> Leaving:
    return Leaving(
        on_removed="cancel_at_period_end",
        state=state,
        sends="POST {path}/{id}",
        ends={**state.shows, "cancel_at_period_end": True},
        back="revived",
    )


SUBSCRIPTION = Core(
    resource="subscription",
    path="/v1/subscriptions",
    parents=("people", "tariffs", "vat"),
    columns={
        "person": "'ann'",
        "tariff": "'basic'",
        "seats": "2",
        "method": "'send_invoice'",
        "days": "30",
        "about": "'Desk'",
        "note": "NULL::text",
        "ends": TIME,
        "saved": "'off'",
        "taxed": "false",
        "pending": "'month'",
        "rate": "'low'",
        "tier": "'gold'",
        "trial": "NULL::int",
        "charging": "NULL::text",
    },
    fields={
        "customer": {"sync": "people", "key": "person"},
        "items": [{"price": {"sync": "tariffs", "key": "tariff"}, "quantity": "seats"}],
        "collection_method": "method",
        "days_until_due": "days",
        "description": "about",
        "cancellation_details.comment": "note",
        "cancel_at": "ends",
        "payment_settings.save_default_payment_method": "saved",
        "automatic_tax.enabled": "taxed",
        "pending_invoice_item_interval.interval": "pending",
        "default_tax_rates": [{"sync": "vat", "key": "rate"}],
        "trial_period_days": "trial",
        "payment_behavior": "charging",
        **MARK,
    },
    creates={
        "customer": "@people:ann",
        "items": [{"price": "@tariffs:basic", "quantity": 2}],
        "collection_method": "send_invoice",
        "days_until_due": 30,
        "description": "Desk",
        "cancel_at": AT,
        "payment_settings": {"save_default_payment_method": "off"},
        "automatic_tax": {"enabled": False},
        "pending_invoice_item_interval": {"interval": "month"},
        "default_tax_rates": ["@vat:low"],
        "metadata": MARKED,
    },
    changes=(
        Change(kind="text", columns={"about": "'Lamp'"}, sends={"description": "Lamp"}, shows={"description": "Lamp"}),
        Change(kind="number", columns={"days": "14"}, sends={"days_until_due": 14}, shows={"days_until_due": 14}),
        Change(
            kind="boolean",
            columns={"taxed": "true"},
            sends={"automatic_tax": {"enabled": True}},
            shows={"automatic_tax.enabled": True},
        ),
        Change(
            kind="enum",
            columns={"pending": "'week'"},
            sends={"pending_invoice_item_interval": {"interval": "week", "interval_count": 1}},
            shows={"pending_invoice_item_interval.interval": "week"},
        ),
        Change(kind="timestamp", columns={"ends": LATER}, sends={"cancel_at": AT_LATER}, shows={"cancel_at": AT_LATER}),
        Change(
            kind="hash part",
            columns={"saved": "'on_subscription'"},
            sends={"payment_settings": {"save_default_payment_method": "on_subscription"}},
            shows={"payment_settings.save_default_payment_method": "on_subscription"},
        ),
        NEW_TIER,
        Change(
            kind="list",
            columns={"rate": "'high'"},
            sends={"default_tax_rates": ["@vat:high"]},
            shows={"default_tax_rates.0.percentage": 8.1},
        ),
        Change(
            kind="list of hashes",
            columns={"seats": "3"},
            sends={"items": [{"id": "@.items.data.0.id", "quantity": 3}]},
            shows={"items.data.0.quantity": 3},
        ),
        Change(
            kind="reference",
            columns={"tariff": "'large'"},
            sends={"items": [{"id": "@.items.data.0.id", "price": "@tariffs:large", "quantity": 2}]},
            shows={"items.data.0.price.unit_amount": 2500},
        ),
    ),
    clears=(
        Clear(column="about", path="description", sends={"description": ""}, shows={"description": None}),
        Clear(column="ends", path="cancel_at", sends={"cancel_at": ""}, shows={"cancel_at": None}),
        Clear(
            column="pending",
            path="pending_invoice_item_interval",
            sends={"pending_invoice_item_interval": ""},
            shows={"pending_invoice_item_interval": None},
        ),
        NO_TIER,
        Clear(column="days", path="days_until_due"),
        Clear(column="saved", path="payment_settings.save_default_payment_method"),
    ),
    theirs=Theirs(column="about", params={"description": "Theirs"}, shows={"description": "Theirs"}),
    immutable=Immutable(
        field="customer",
        reason="a new subscription would start and bill from the beginning",
        columns={"person": "'ben'"},
        shows={"customer": "@people:ben", "status": "active"},
        replaced={"status": "canceled"},
    ),
    leavings=(
        *map(_canceled, (RUNNING, ON_TRIAL, OVERDUE, INCOMPLETE)),
        Leaving(on_removed="cancel", state=CANCELED, sends=None, note=ENDED_NOTE, ends=CANCELED.shows, back="same"),
        *map(_ending, (RUNNING, ON_TRIAL, OVERDUE)),
        Leaving(
            on_removed="cancel_at_period_end",
            state=INCOMPLETE,
            sends="DELETE {path}/{id}",
            ends={"status": "canceled"},
            back="new",
        ),
        Leaving(
            on_removed="cancel_at_period_end",
            state=CANCELED,
            sends=None,
            note=ENDED_NOTE,
            ends=CANCELED.shows,
            back="same",
        ),
        Leaving(
            on_removed="cancel_at_period_end",
            state=State(name="active until its period is over", shows={"status": "active"}),
            sends="POST {path}/{id}",
            ends={"cancel_at_period_end": True},
            days_until_back=40,
            back="new",
        ),
        Leaving(on_removed="ignore", state=RUNNING, sends=None, ends={"status": "active"}, back="same"),
    ),
    ways=("id", "metadata.ref"),
)

# ── invoices, what stands on them, and quotes ────────────────────────────────────────────────────────────────────

ITEM: Call = ("post", "/v1/invoiceitems", {"customer": "@people:ann", "invoice": "@", "amount": 500, "currency": "usd"})
FINALISE: Call = ("post", "{path}/@/finalize", {})
DRAFT = State(name="draft", calls=(ITEM,), shows={"status": "draft"})
OPEN = State(name="open", calls=(ITEM, FINALISE), shows={"status": "open"})
PAID = State(name="paid", calls=(ITEM, FINALISE, ("post", "{path}/@/pay", {})), shows={"status": "paid"})
VOID = State(name="void", calls=(ITEM, FINALISE, ("post", "{path}/@/void", {})), shows={"status": "void"})
UNCOLLECTIBLE = State(
    name="uncollectible",
    calls=(ITEM, FINALISE, ("post", "{path}/@/mark_uncollectible", {})),
    shows={"status": "uncollectible"},
)


def _not_deleted(state: State) -> Leaving:
    note = f"a finalized invoice can't be deleted; `void` voids an open one (its status is `{state.name}`)"
    return Leaving(on_removed="delete", state=state, sends=None, note=note, ends=state.shows, back="same")


def _voided(state: State) -> Leaving:
    return Leaving(on_removed="void", state=state, sends="POST {path}/{id}/void", ends={"status": "void"}, back="new")


def _settled(state: State) -> Leaving:
    note = f"the invoice is settled (its status is `{state.name}`)"
    return Leaving(on_removed="void", state=state, sends=None, note=note, ends=state.shows, back="same")


INVOICE = Core(
    resource="invoice",
    path="/v1/invoices",
    parents=("people", "vat"),
    columns={
        "person": "'ann'",
        "memo": "'Desk'",
        "foot": "NULL::text",
        "days": "30",
        "advances": "false",
        "shown": "'exclude_tax'",
        "effective": TIME,
        "size": "'a4'",
        "notes": TAX_NOTES,
        "rate": "'low'",
        "number": "'N-' || id",
        "tier": "'gold'",
    },
    fields={
        "customer": {"sync": "people", "key": "person"},
        "collection_method": {"value": "send_invoice"},
        "days_until_due": "days",
        "auto_advance": "advances",
        "description": "memo",
        "footer": "foot",
        "rendering.amount_tax_display": "shown",
        "rendering.pdf.page_size": "size",
        "effective_at": "effective",
        "custom_fields": "notes",
        "default_tax_rates": [{"sync": "vat", "key": "rate"}],
        "number": "number",
        **MARK,
    },
    creates={
        "customer": "@people:ann",
        "collection_method": "send_invoice",
        "days_until_due": 30,
        "auto_advance": False,
        "description": "Desk",
        "rendering": {"amount_tax_display": "exclude_tax", "pdf": {"page_size": "a4"}},
        "effective_at": AT,
        "custom_fields": FEW_NOTES,
        "default_tax_rates": ["@vat:low"],
        "number": "N-k",
        "metadata": MARKED,
    },
    changes=(
        Change(kind="text", columns={"memo": "'Lamp'"}, sends={"description": "Lamp"}, shows={"description": "Lamp"}),
        Change(kind="number", columns={"days": "14"}, sends={"days_until_due": 14}, shows={}),
        Change(
            kind="boolean", columns={"advances": "true"}, sends={"auto_advance": True}, shows={"auto_advance": True}
        ),
        Change(
            kind="enum in a hash",
            columns={"shown": "'include_inclusive_tax'"},
            sends={"rendering": {"amount_tax_display": "include_inclusive_tax", "pdf": {"page_size": "a4"}}},
            shows={"rendering.amount_tax_display": "include_inclusive_tax", "rendering.pdf.page_size": "a4"},
        ),
        Change(
            kind="timestamp",
            columns={"effective": LATER},
            sends={"effective_at": AT_LATER},
            shows={"effective_at": AT_LATER},
        ),
        Change(
            kind="hash part",
            columns={"size": "'letter'"},
            sends={"rendering": {"amount_tax_display": "exclude_tax", "pdf": {"page_size": "letter"}}},
            shows={"rendering.amount_tax_display": "exclude_tax", "rendering.pdf.page_size": "letter"},
        ),
        NEW_TIER,
        Change(
            kind="list of hashes",
            columns={"notes": MORE_NOTES},
            sends={"custom_fields": NOTES},
            shows={"custom_fields": NOTES},
        ),
        Change(
            kind="reference in a list",
            columns={"rate": "'high'"},
            sends={"default_tax_rates": ["@vat:high"]},
            shows={"default_tax_rates.0.percentage": 8.1},
        ),
    ),
    clears=(
        Clear(column="memo", path="description", sends={"description": ""}, shows={"description": None}),
        Clear(column="effective", path="effective_at", sends={"effective_at": ""}, shows={"effective_at": None}),
        Clear(column="notes", path="custom_fields", sends={"custom_fields": ""}, shows={"custom_fields": None}),
        NO_TIER,
        Clear(column="days", path="days_until_due"),
        Clear(column="advances", path="auto_advance"),
    ),
    theirs=Theirs(column="foot", params={"footer": "Theirs"}, shows={"footer": "Theirs"}),
    immutable=Immutable(
        field="customer",
        reason="an invoice can't be replaced; void it and create a new one",
        before={"number": "NULL::text"},
        columns={"person": "'ben'", "number": "NULL::text"},
        shows={"customer": "@people:ben", "status": "draft"},
        replaced=None,
    ),
    leavings=(
        Leaving(on_removed="delete", state=DRAFT, sends="DELETE {path}/{id}", ends=None, back="new"),
        Leaving(on_removed="delete", state=DELETED, sends="DELETE {path}/{id}", ends=None, back="new"),
        *map(_not_deleted, (OPEN, PAID, VOID, UNCOLLECTIBLE)),
        Leaving(on_removed="void", state=DRAFT, sends="DELETE {path}/{id}", ends=None, back="new"),
        Leaving(on_removed="void", state=DELETED, sends="DELETE {path}/{id}", ends=None, back="new"),
        *map(_voided, (OPEN, UNCOLLECTIBLE)),
        *map(_settled, (PAID, VOID)),
        Leaving(on_removed="ignore", state=OPEN, sends=None, ends={"status": "open"}, back="same"),
    ),
    ways=("id", "metadata.ref", "number"),
    unseen=("days_until_due",),
)

BILLED: Call = ("post", "/v1/invoices/@bills:b1/finalize", {})
ON_DRAFT = {"bill": "'b1'"}


def _stays(name: str, *calls: tuple[str, str, dict[str, Any]]) -> Leaving:
    return Leaving(
        on_removed="delete",
        state=State(name=f"on an invoice that is {name}", columns=ON_DRAFT, calls=(BILLED, *calls)),
        sends=None,
        note=f"the item is on a finalized invoice (its status is `{name}`)",
        ends={"amount": 1000},
        back="same",
    )


INVOICE_ITEM = Core(
    resource="invoice_item",
    path="/v1/invoiceitems",
    parents=("people", "vat", "bills"),
    columns={
        "person": "'ann'",
        "bill": "NULL::text",
        "amount": "10.00",
        "currency": "'usd'",
        "about": "'Desk'",
        "off": "true",
        "start": TIME,
        "stop": LATER,
        "rate": "'low'",
        "tier": "'gold'",
    },
    fields={
        "customer": {"sync": "people", "key": "person"},
        "invoice": {"sync": "bills", "key": "bill"},
        "amount": {"column": "amount", "as": "minor_units", "currency": "usd"},
        "currency": "currency",
        "description": "about",
        "discountable": "off",
        "period.start": "start",
        "period.end": "stop",
        "tax_rates": [{"sync": "vat", "key": "rate"}],
        **MARK,
    },
    creates={
        "customer": "@people:ann",
        "amount": 1000,
        "currency": "usd",
        "description": "Desk",
        "discountable": True,
        "period": {"start": AT, "end": AT_LATER},
        "tax_rates": ["@vat:low"],
        "metadata": MARKED,
    },
    changes=(
        Change(kind="text", columns={"about": "'Lamp'"}, sends={"description": "Lamp"}, shows={"description": "Lamp"}),
        Change(kind="money", columns={"amount": "12.50"}, sends={"amount": 1250}, shows={"amount": 1250}),
        Change(kind="boolean", columns={"off": "false"}, sends={"discountable": False}, shows={"discountable": False}),
        Change(
            kind="timestamp in a hash",
            columns={"stop": "TIMESTAMP '2040-02-02'"},
            sends={"period": {"start": AT, "end": AT_LATER + 86400}},
            shows={"period.start": AT, "period.end": AT_LATER + 86400},
        ),
        NEW_TIER,
        Change(
            kind="reference in a list",
            columns={"rate": "'high'"},
            sends={"tax_rates": ["@vat:high"]},
            shows={"tax_rates.0.percentage": 8.1},
        ),
    ),
    clears=(
        Clear(column="about", path="description", sends={"description": ""}, shows={"description": None}),
        NO_TIER,
        Clear(column="off", path="discountable"),
        Clear(column="amount", path="amount"),
    ),
    theirs=Theirs(column="about", params={"description": "Theirs"}, shows={"description": "Theirs"}),
    immutable=Immutable(
        field="customer",
        reason=None,
        columns={"person": "'ben'"},
        shows={"customer": "@people:ben"},
        replaced=None,
    ),
    leavings=(
        Leaving(on_removed="delete", state=State(name="pending"), sends="DELETE {path}/{id}", ends=None, back="new"),
        Leaving(
            on_removed="delete",
            state=State(name="on a draft", columns=ON_DRAFT),
            sends="DELETE {path}/{id}",
            ends=None,
            back="new",
        ),
        Leaving(on_removed="delete", state=DELETED, sends="DELETE {path}/{id}", ends=None, back="new"),
        _stays("open"),
        _stays("paid", ("post", "/v1/invoices/@bills:b1/pay", {})),
        _stays("void", ("post", "/v1/invoices/@bills:b1/void", {})),
        _stays("uncollectible", ("post", "/v1/invoices/@bills:b1/mark_uncollectible", {})),
        Leaving(on_removed="ignore", state=State(name="pending"), sends=None, ends={"amount": 1000}, back="same"),
    ),
    ways=("id", "metadata.ref"),
)

OFFERED = State(name="open", calls=(FINALISE,), shows={"status": "open"})
ACCEPTED = State(name="accepted", calls=(FINALISE, ("post", "{path}/@/accept", {})), shows={"status": "accepted"})
WITHDRAWN = State(name="canceled", calls=(("post", "{path}/@/cancel", {}),), shows={"status": "canceled"})


def _withdrawn(state: State) -> Leaving:
    return Leaving(
        on_removed="cancel", state=state, sends="POST {path}/{id}/cancel", ends={"status": "canceled"}, back="new"
    )


def _decided(state: State) -> Leaving:
    note = f"the quote is already accepted or canceled (its status is `{state.name}`)"
    return Leaving(on_removed="cancel", state=state, sends=None, note=note, ends=state.shows, back="same")


QUOTE = Core(
    resource="quote",
    path="/v1/quotes",
    parents=("people", "tariffs", "vat"),
    by_hand=(("one", "/v1/quotes", {}), ("two", "/v1/quotes", {})),
    columns={
        "person": "'ann'",
        "tariff": "'basic'",
        "seats": "2",
        "method": "'send_invoice'",
        "days": "30",
        "head": "'Desk'",
        "foot": "NULL::text",
        "until": TIME,
        "taxed": "false",
        "rate": "'low'",
        "tier": "'gold'",
        "billing": "NULL::text",
    },
    fields={
        "customer": {"sync": "people", "key": "person"},
        "line_items": [{"price": {"sync": "tariffs", "key": "tariff"}, "quantity": "seats"}],
        "collection_method": "method",
        "invoice_settings.days_until_due": "days",
        "header": "head",
        "footer": "foot",
        "expires_at": "until",
        "automatic_tax.enabled": "taxed",
        "default_tax_rates": [{"sync": "vat", "key": "rate"}],
        "subscription_data.billing_mode.type": "billing",
        **MARK,
    },
    creates={
        "customer": "@people:ann",
        "line_items": [{"price": "@tariffs:basic", "quantity": 2}],
        "collection_method": "send_invoice",
        "invoice_settings": {"days_until_due": 30},
        "header": "Desk",
        "expires_at": AT,
        "automatic_tax": {"enabled": False},
        "default_tax_rates": ["@vat:low"],
        "metadata": MARKED,
    },
    changes=(
        Change(kind="text", columns={"head": "'Lamp'"}, sends={"header": "Lamp"}, shows={"header": "Lamp"}),
        Change(
            kind="number in a hash",
            columns={"days": "14"},
            sends={"invoice_settings": {"days_until_due": 14, "issuer": {"type": "self"}}},
            shows={"invoice_settings.days_until_due": 14},
        ),
        Change(
            kind="boolean in a hash",
            columns={"taxed": "true"},
            sends={"automatic_tax": {"enabled": True}},
            shows={"automatic_tax.enabled": True},
        ),
        Change(
            kind="enum",
            columns={"method": "'charge_automatically'"},
            sends={"collection_method": "charge_automatically"},
            shows={"collection_method": "charge_automatically"},
        ),
        Change(
            kind="timestamp", columns={"until": LATER}, sends={"expires_at": AT_LATER}, shows={"expires_at": AT_LATER}
        ),
        NEW_TIER,
        Change(
            kind="list",
            columns={"rate": "'high'"},
            sends={"default_tax_rates": ["@vat:high"]},
            shows={"default_tax_rates.0": "@vat:high"},
        ),
        Change(
            kind="list of hashes",
            columns={"seats": "3"},
            sends={"line_items": [{"price": "@tariffs:basic", "quantity": 3}]},
            shows={"amount_total": 3000},
        ),
    ),
    clears=(
        Clear(column="head", path="header", sends={"header": ""}, shows={"header": None}),
        NO_TIER,
        Clear(column="until", path="expires_at"),
        Clear(column="days", path="invoice_settings.days_until_due"),
    ),
    theirs=Theirs(column="foot", params={"footer": "Theirs"}, shows={"footer": "Theirs"}),
    immutable=Immutable(
        field="subscription_data.billing_mode",
        reason="a quote can't be replaced; cancel it and create a new one",
        before={"billing": "'classic'"},
        columns={"billing": "'flexible'"},
        shows={"subscription_data.billing_mode.type": "flexible", "status": "draft"},
        replaced={"status": "canceled"},
    ),
    leavings=(
        *map(_withdrawn, (State(name="draft", shows={"status": "draft"}), OFFERED)),
        *map(_decided, (ACCEPTED, WITHDRAWN)),
        Leaving(on_removed="ignore", state=OFFERED, sends=None, ends={"status": "open"}, back="same"),
    ),
    ways=("id", "metadata.ref"),
)

TABLE = (CUSTOMER, PRODUCT, PRICE, SUBSCRIPTION, INVOICE, INVOICE_ITEM, QUOTE)
