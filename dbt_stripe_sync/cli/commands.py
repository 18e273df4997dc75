"""Lists every command. A command line without a command means `run`."""

from __future__ import annotations

import shlex
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

# A module is imported when its command is called: `ls` must not wait for `demo`.
MODULES = {
    "run": "sync",
    "plan": "sync",
    "apply": "sync",
    "retry": "sync",
    "undo": "undo",
    "runs": "history",
    "report": "history",
    "parse": "look",
    "ls": "look",
    "show": "look",
    "debug": "look",
    "fields": "look",
    "state": "state",
    "init": "authoring",
    "import": "authoring",
    "docs": "authoring",
    "schema": "authoring",
    "log": "log",
    "cloud": "cloud",
    "serve": "serve",
    "sandbox": "local",
    "demo": "local",
}

# The summary of each command for `--help`, so that it need not import them all.
SUMMARIES = {
    "run": "Plan and apply: make Stripe match the models.",
    "plan": "Show what would change in Stripe, and send nothing.",
    "apply": "Send a plan that `plan --out` saved, unless it is stale.",
    "retry": "Retry only what a run didn't finish.",
    "undo": "Reverse what RUN changed, as far as Stripe allows.",
    "runs": "List the runs, the newest first.",
    "report": "Show what RUN (default: the last) did, and what to do about it.",
    "parse": "Check every sync against Stripe's parameters.",
    "ls": "List the syncs in the order in which they run.",
    "show": "Show rows of SYNC with the exact parameters that they would send.",
    "debug": "Check each part of the setup, and say what to fix.",
    "fields": "List the parameters of RESOURCE, or all resources.",
    "state": "Inspect, move, and rebuild what was last written to Stripe.",
    "init": "Write a first sync for MODEL into its YAML.",
    "import": "Write seeds and syncs from what a Stripe account has.",
    "docs": "Write exposures, which show every sync in dbt's docs.",
    "schema": "Write the JSON Schema of the `stripe_sync` block.",
    "log": "Write runs and Stripe ids to the warehouse.",
    "cloud": "Work with dbt Cloud: start a job and sync what it built.",
    "serve": "Receive dbt Cloud's webhooks and sync each finished run.",
    "sandbox": "Start a local Stripe for rehearsals, which stores its objects.",
    "demo": "Run the sample project end to end with dbt and a local Stripe.",
}
# Commands without positional arguments, whose selectors may be separated by spaces, as in dbt.
WITHOUT_ARGUMENTS = frozenset({"run", "plan", "parse", "ls", "debug", "docs", "runs"})
# At the end of each command's help.
EXAMPLES = {
    "run": ("run --select tag:stripe", "run --build --fail-fast", "run --dry-run --show-values"),
    "plan": ("plan --show-values", "plan --all", "plan --output json", "plan --out stripe.plan"),
    "apply": ("apply stripe.plan",),
    "retry": ("retry", "retry 20260301T120000-abc123"),
    "undo": (
        "undo 20260301T120000-abc123",
        "undo 20260301T120000-abc123 --yes",
        "undo 20260301T120000-abc123 --out undo.plan",
    ),
    "runs": ("runs --limit 5",),
    "report": ("report", "report 20260301T120000-abc123 --output text"),
    "parse": ("parse", "parse --select stripe_customers"),
    "ls": ("ls", "ls --select tag:stripe"),
    "show": ("show stripe_customers --limit 3",),
    "debug": ("debug --target prod",),
    "fields": ("fields", "fields price recurring"),
    "init": ("init dim_customers --resource customer --key user_id",),
    "import": ("import", "import products prices --include-archived", "import --dry-run --output json"),
    "docs": ("docs",),
    "schema": ("schema --out .vscode/stripe_sync.schema.json",),
    "state": ("state list", "state show stripe_customers 42"),
    "state list": ("state list", "state list stripe_customers --limit 10"),
    "state show": ("state show stripe_customers 42", "state show stripe_customers 42 --output json"),
    "state forget": ("state forget stripe_customers 42", "state forget stripe_customers --all"),
    "state settle": ("state settle stripe_prices team_month",),
    "state mv": ("state mv customers stripe_customers",),
    "state export": ("state export /backup/stripe_sync",),
    "state import": ("state import /backup/stripe_sync",),
    "state rebuild": ("state rebuild --target prod",),
    "log": ("log write", "log source"),
    "log write": ("log write --target prod",),
    "log source": ("log source --out models/sources/stripe_sync.yml",),
    "cloud": ("cloud trigger 70403103916031",),
    "cloud trigger": ("cloud trigger 70403103916031 --cause 'Nightly sync'",),
    "serve": ("serve --job 70403103916031 --port 8787",),
    "sandbox": ("sandbox --port 12111",),
    "demo": ("demo",),
}
# The context key that says that no command was named.
BARE = "dbt_stripe_sync.bare"
SELECTORS = frozenset({"--select", "-s", "--exclude"})


def _with_repeated(given: Sequence[str]) -> list[str]:
    """Turn `--select a b` into `--select a --select b`."""
    repeated: list[str] = []
    option = None
    for index, word in enumerate(given):
        if word.startswith("-"):
            option = word if word in SELECTORS else None
        elif option is not None and given[index - 1] != option:
            repeated.append(option)
        repeated.append(word)
    return repeated


def _examples(name: str) -> str:
    lines = "\n".join(f"  dbt-stripe-sync {example}" for example in EXAMPLES[name])
    return f"\b\nExamples:\n{lines}"


class Commands(click.Group):
    """Finds commands lazily, and takes arguments without a command as those of `run`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order in which users need them."""
        del ctx
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        del ctx
        module = MODULES.get(cmd_name)
        if module is None:
            return None
        # `import` is a keyword in Python.
        found = vars(import_module(f"dbt_stripe_sync.cli.{module}"))
        command = found.get(cmd_name, found.get(f"{cmd_name}_"))
        if not isinstance(command, click.Command):
            return None
        command.epilog = _examples(cmd_name)
        if isinstance(command, click.Group):
            for name, part in command.commands.items():
                part.epilog = _examples(f"{cmd_name} {name}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List every command with its summary, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in self.list_commands(ctx)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the command that was probably meant."""
        if args and args[0] not in MODULES and not args[0].startswith("-"):
            close = get_close_matches(args[0], MODULES, n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def _with_command_first(self, ctx: click.Context, given: Sequence[str]) -> list[str]:
        """The words of `--no-color plan` as they were meant, or nothing if they are only options of `run`.

        `--select orders plan` is refused as well: it must not run what was meant as a plan.
        """
        run = self.get_command(ctx, "run")
        try:
            _, words, _ = run.make_parser(ctx).parse_args([*given]) if run is not None else ({}, [], [])
        except click.UsageError:
            return []
        if not words or words[0] not in MODULES:
            return []
        options = [*given]
        for word in words:
            options.remove(word)
        return [*words, *options]

    def parse_args(self, ctx: click.Context, args: Sequence[str]) -> list[str]:
        """Insert `run` at the start if no command is named."""
        given = list(args)
        # While a shell completes the first word, it may still become the name of a command.
        is_completing = ctx.resilient_parsing and not given
        is_bare = not given or (given[0].startswith("-") and given[0] not in {"--help", "-h", "--version"})
        if is_bare and not is_completing:
            if not ctx.resilient_parsing and (meant := self._with_command_first(ctx, given)):
                ctx.fail(f"Options come after the command: dbt-stripe-sync {shlex.join(meant)}")
            given.insert(0, "run")
            ctx.meta[BARE] = True
        repeats = bool(given) and given[0] in WITHOUT_ARGUMENTS
        return super().parse_args(ctx, _with_repeated(given) if repeats else given)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dbt-stripe-sync", prog_name="dbt-stripe-sync")
def commands() -> None:
    """Keep Stripe in sync with your warehouse.

    Run it after `dbt build`: it reads the models with `stripe_sync` in their meta and makes Stripe match their rows.
    Without a command, it runs `run`.
    """
