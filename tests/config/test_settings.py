"""Settings of the whole project, in `vars.stripe_sync`."""

import json

import pytest
from business import run_cli
from yaml_project import text_of

from dbt_stripe_sync.config.settings import Settings, parse_settings


def test_without_settings_the_defaults_apply():
    assert parse_settings(None) == (Settings(), ())
    assert Settings().api_key_env == "STRIPE_API_KEY"


def test_every_setting_is_read():
    settings, problems = parse_settings(
        {
            "api_key_env": "SHOP_STRIPE_KEY",
            "live_targets": "prod",
            "account": "acct_1",
            "state_path": "state/stripe.duckdb",
            "api_base": "http://localhost:12111",
            "allowed_api_bases": ["https://proxy.internal"],
            "account_per_second": 50,
            "endpoint_per_second": 12.5,
            "share_free": 0.4,
            "concurrency": 8,
            "max_reads": 500,
            "store_values": False,
        }
    )

    assert problems == ()
    assert settings == Settings(
        api_key_env="SHOP_STRIPE_KEY",
        live_targets=("prod",),
        account="acct_1",
        state_path="state/stripe.duckdb",
        api_base="http://localhost:12111",
        allowed_api_bases=("https://proxy.internal",),
        account_per_second=50.0,
        endpoint_per_second=12.5,
        share_free=0.4,
        concurrency=8,
        max_reads=500,
        store_values=False,
    )


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (
            {"live_target": "prod"},
            (
                "error[unknown-setting]: unknown setting `live_target`\n"
                "  at dbt_project.yml: vars.stripe_sync.live_target\n\n"
                "hint: did you mean `live_targets`? "
                "choose from `api_key_env`, `account`, `state`, `state_path`, `api_base`, `live_targets`, "
                "`allowed_api_bases`, "
                "`account_per_second`, `endpoint_per_second`, `share_free`, `concurrency`, "
                "`max_reads` … (13 more)"
            ),
        ),
        (
            {"share_free": 1.5},
            (
                "error[bad-setting]: `share_free` is out of range\n"
                "  at dbt_project.yml: vars.stripe_sync.share_free\n\n"
                "hint: a share is between 0 and 1"
            ),
        ),
        (
            {"state_path": 5},
            (
                "error[bad-setting]: `state_path` is not text\n"
                "  at dbt_project.yml: vars.stripe_sync.state_path\n\n"
                "hint: write a name"
            ),
        ),
        (
            {"account": "prod"},
            (
                "error[bad-setting]: `account` is not an account id\n"
                "  at dbt_project.yml: vars.stripe_sync.account\n\n"
                "hint: write the id that begins with `acct_`"
            ),
        ),
        (
            "prod",
            (
                "error[not-a-mapping]: `stripe_sync` is not a YAML mapping\n"
                "  at dbt_project.yml: vars.stripe_sync\n\n"
                "hint: it takes `api_key_env`, `account`, `state`, `state_path`, `api_base`, `live_targets`, "
                "`allowed_api_bases`, "
                "`account_per_second`, `endpoint_per_second`, `share_free`, `concurrency`, "
                "`max_reads` … (13 more)"
            ),
        ),
        (
            {"store_values": "no"},
            (
                "error[bad-setting]: `store_values` is neither true nor false\n"
                "  at dbt_project.yml: vars.stripe_sync.store_values\n\n"
                "hint: write `true` or `false`"
            ),
        ),
        (
            {"api_key_env": "sk_live_51abcdefgh"},
            (
                "error[secret-in-meta]: the project's YAML contains a Stripe secret\n"
                "  at dbt_project.yml: vars.stripe_sync.api_key_env\n\n"
                "hint: roll it at https://dashboard.stripe.com/apikeys now; name the variable of the new one here"
            ),
        ),
    ],
)
def test_a_wrong_setting_is_explained_in_full(raw, text):
    _, problems = parse_settings(raw)

    assert [text_of(problem) for problem in problems] == [text]


@pytest.mark.parametrize(
    "raw", [{"state_path": "sk_live_51abcdefgh"}, {"sk_test_51abcdefgh": 1}, {"live_targets": ["rk_live_51abcdefgh"]}]
)
def test_a_secret_in_any_setting_is_found_and_not_shown(raw):
    _, problems = parse_settings(raw)

    assert "secret-in-meta" in {problem.code for problem in problems}
    assert not any("abcdefgh" in text_of(problem) for problem in problems)


def in_vars_yml(business, **settings):
    """The settings in vars.yml, which dbt 1.12 and dbt 2 read."""
    project = {"name": "shop", "version": "1.0", "profile": "shop"}
    (business.root / "dbt_project.yml").write_text(json.dumps(project))
    (business.root / "vars.yml").write_text(json.dumps({"vars": {"stripe_sync": settings}}))


@pytest.mark.parametrize(
    ("settings", "key", "command", "said"),
    [
        (
            {"log": "warehouse"},
            "sk_test_123456789",
            ("parse",),
            (
                "error[log-not-supported]: the log can't be written to a DuckDB database that is not a local file "
                "at vars.yml: vars.stripe_sync.log"
            ),
        ),
        (
            {"diff": "warehouse"},
            "sk_test_123456789",
            ("parse",),
            (
                "error[diff-not-supported]: rows can't be compared in a DuckDB database that is not a local file "
                "at vars.yml: vars.stripe_sync.diff"
            ),
        ),
        (
            {},
            "sk_test_123456789",
            ("log", "write"),
            "error[no-log]: this project keeps no log in the warehouse at vars.yml: vars.stripe_sync hint:",
        ),
        (
            {},
            "sk_live_123456789",
            ("run",),
            "or add `live_targets: [dev]` to vars.stripe_sync in vars.yml, if it should move real money",
        ),
        (
            {},
            "sk_org_test_12345678",
            ("run",),
            "at vars.yml: vars.stripe_sync.account hint: add `account: acct_…` to vars.stripe_sync in vars.yml",
        ),
        (
            {"api_base": "https://stripe.example.com"},
            "sk_test_123456789",
            ("run",),
            "add it to `allowed_api_bases` in vars.stripe_sync of vars.yml",
        ),
    ],
    ids=["log", "diff", "no-log", "live", "organization", "address"],
)
def test_a_problem_with_a_setting_in_vars_yml_names_that_file(customers, monkeypatch, settings, key, command, said):
    in_vars_yml(customers, **settings or {"concurrency": 4})
    if settings.keys() & {"log", "diff"}:
        customers.write_profile({"type": "duckdb", "path": ":memory:"})
    monkeypatch.setenv("STRIPE_API_KEY", key)

    ran = run_cli(*command, "--project-dir", str(customers.root), "--profiles-dir", str(customers.root))

    assert ran.exit_code == 2
    assert said in ran.text, ran.text
    assert "dbt_project.yml" not in ran.text
