"""The `alerts:` setting: which addresses are notified when a run fails or needs attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.config.suggest import did_you_mean, listed
from dbt_stripe_sync.model.alert import REASONS, AlertForm

if TYPE_CHECKING:
    from dbt_stripe_sync.config.problems import Problems
    from dbt_stripe_sync.model.errors import Location

KEYS = ("url_env", "form", "when", "link")
FORMS = tuple(form.value for form in AlertForm)


class Alert(Struct, frozen=True, kw_only=True):
    """One address to notify.

    `url_env` names the variable that contains it, since such an address is a secret. `when` has the reasons to notify
    it; `link` is a page of the user's to link to.
    """

    url_env: str
    form: AlertForm = AlertForm.JSON
    when: frozenset[str] = frozenset(REASONS)
    link: str | None = None


def parse_alerts(raw: Any, where: Location, problems: Problems) -> tuple[Alert, ...]:
    """The valid alerts; mistakes are added to `problems`."""
    entries = raw if isinstance(raw, list) else [raw]
    found = []
    for index, entry in enumerate(entries):
        at = where.at_field(str(index)) if isinstance(raw, list) else where
        alert = _parse_alert(entry, at, problems)
        if alert is not None:
            found.append(alert)
    return tuple(found)


def _parse_alert(entry: Any, where: Location, problems: Problems) -> Alert | None:
    if not isinstance(entry, dict):
        problems.add(
            "bad-setting", where, "an alert is not a YAML mapping", f"an alert has the settings {listed(KEYS)}"
        )
        return None
    before = len(problems.found)
    for name in entry:
        if name not in KEYS:
            hint = f"{did_you_mean(str(name), KEYS)}an alert has the settings {listed(KEYS)}"
            if name in {"url", "webhook"}:
                hint = "name the variable that holds the address with `url_env`: the address is a secret"
            problems.add("unknown-setting", where.at_field(str(name)), f"an alert has no setting `{name}`", hint)
    url_env = entry.get("url_env")
    if not isinstance(url_env, str) or not url_env or "://" in url_env:
        hint = "write the name of the variable that holds the address: `url_env: SLACK_WEBHOOK_URL`"
        problems.add("bad-setting", where.at_field("url_env"), "an alert does not name its variable", hint)
    form = entry.get("form", AlertForm.JSON.value)
    if form not in FORMS:
        problems.add("bad-setting", where.at_field("form"), "the form of an alert is unknown", f"use {listed(FORMS)}")
    when = entry.get("when", list(REASONS))
    when = [when] if isinstance(when, str) else when
    if not isinstance(when, list) or not when or not set(map(str, when)) <= set(REASONS):
        hint = f"use {listed(REASONS)}"
        problems.add("bad-setting", where.at_field("when"), "an alert names an unknown reason", hint)
    link = entry.get("link")
    if link is not None and not str(link).startswith(("https://", "http://")):
        hint = "write an address that begins with https://"
        problems.add("bad-setting", where.at_field("link"), "the link of an alert is not an address", hint)
    if len(problems.found) > before:
        return None
    return Alert(url_env=str(url_env), form=AlertForm(form), when=frozenset(map(str, when)), link=link)
