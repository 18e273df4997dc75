"""Decides which models may be synced, from the results of dbt's commands: failures must not reach Stripe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from dbt_stripe_sync.dbt.run_results import FAIL, FAILED, SKIPPED, RunResults
from dbt_stripe_sync.dbt.staleness import parse_time
from dbt_stripe_sync.model.errors import Location, Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from dbt_stripe_sync.dbt.manifest import Manifest, TestNode
    from dbt_stripe_sync.dbt.memory import Known, KnownResults
    from dbt_stripe_sync.dbt.places import Place
    from dbt_stripe_sync.model.nodes import ModelNode

SHOWN_NAMES = 3
# docs.getdbt.com/reference/project-configs/on-run-start-on-run-end: dbt 1.x lists hooks among the results.
HOOK = "operation."
# The time between dbt's last write of a model's SQL below `target/run` and the time that it records in the results.
SLACK_SECONDS = 1.0


class Gate(Struct, frozen=True, kw_only=True):
    """What dbt's results say about a project's models.

    `held` gives the reasons for models that must not be synced. `unbuilt` have no known result, and `untested` have
    tests without any known result. `retested` have a test that dbt has run again since its newest known result.
    """

    held: Mapping[str, str] = field(default_factory=dict)
    unbuilt: frozenset[str] = frozenset()
    untested: frozenset[str] = frozenset()
    retested: Mapping[str, str] = field(default_factory=dict)

    def of(self, models: Iterable[str]) -> Gate:
        """The same for only some models."""
        wanted = frozenset(models)
        return Gate(
            held=self.held,
            unbuilt=self.unbuilt & wanted,
            untested=self.untested & wanted,
            retested={unique_id: test for unique_id, test in self.retested.items() if unique_id in wanted},
        )


RESULTS = "run_results.json"


class Evidence(Struct, frozen=True, kw_only=True):
    """What the gate's decision is based on.

    `last` are the current results in `target_path`, `place` is what is synced.
    """

    manifest: Manifest
    known: KnownResults
    last: RunResults
    place: Place
    target_path: Path


def judge(evidence: Evidence, models: Iterable[str], *, require_results: bool) -> Gate:
    """Judge the models that syncs read. With `require_results`, models without a result are held, too."""
    held = held_models(evidence)
    unbuilt: set[str] = set()
    untested: set[str] = set()
    retested: dict[str, str] = {}
    ran_at = _times_of_files(evidence.target_path / "run")
    for unique_id in dict.fromkeys(models):
        node = evidence.manifest.nodes[unique_id]
        tests = _tests_of(evidence.manifest, unique_id)
        again = [name for test, name in tests if _has_run_since(evidence, test, ran_at)]
        unknown = [name for test, name in tests if name in again or _result_of(evidence, test) is None]
        if tests and not (evidence.target_path / RESULTS).is_file():
            # dbt's last results were deleted with its target folder, so an earlier result may not be the newest.
            unknown = [name for _, name in tests]
        if not _is_known_to_be_built(evidence, unique_id):
            unbuilt.add(unique_id)
            if require_results:
                held.setdefault(unique_id, f"no dbt result is known for `{node.label}`, and results are required")
        elif unknown:
            if require_results:
                held.setdefault(unique_id, f"no result of its test `{unknown[0]}` is known, and results are required")
            if again:
                retested[unique_id] = again[0]
            elif len(unknown) == len(tests):
                untested.add(unique_id)
    return Gate(held=held, unbuilt=frozenset(unbuilt), untested=frozenset(untested), retested=retested)


def find_doubts(gate: Gate, manifest: Manifest) -> Iterator[Problem]:
    """Warnings about models without known results."""
    if gate.unbuilt:
        yield Problem(
            code="no-dbt-results",
            summary=f"no dbt result is known for {_named(manifest, gate.unbuilt)}: neither a build nor a test",
            hint="run `dbt build` right before `dbt-stripe-sync`; `require_results: true` holds such models back",
            severity=Severity.WARNING,
        )
    if gate.untested:
        yield Problem(
            code="no-test-results",
            summary=f"no current result is known of any test of {_named(manifest, gate.untested)}",
            hint="run `dbt build` or `dbt test`; `require_results: true` holds such models back",
            severity=Severity.WARNING,
        )
    for unique_id, test in gate.retested.items():
        yield Problem(
            code="no-test-results",
            summary=f"dbt has run the test `{test}` of `{manifest.nodes[unique_id].label}` again, and another command "
            "has overwritten the result",
            hint="run `dbt build` or `dbt test` right before `dbt-stripe-sync`; `require_results: true` holds such "
            "models back",
            severity=Severity.WARNING,
        )


def find_failed_hooks(last: RunResults) -> Iterator[Problem]:
    """A warning for each hook of dbt's last command that failed: dbt builds the models anyway, so none is held."""
    for unique_id, status in last.statuses.items():
        if unique_id.startswith(HOOK) and status in FAILED:
            name = unique_id.removeprefix(HOOK)
            yield Problem(
                code="hook-failed",
                summary=f"the hook `{name}` failed in dbt's last run, which built the models anyway",
                where=Location(file="dbt_project.yml"),
                hint="if syncs depend on it, fix it and run `dbt build` again",
                severity=Severity.WARNING,
            )


def held_models(evidence: Evidence) -> dict[str, str]:
    """Models that must not be synced, with the reason: dbt could not build or test them, or one of their parents."""
    held = dict(_failed_models(evidence))
    for guarded, reason in _failed_tests(evidence):
        held.setdefault(guarded, reason)
    for unique_id, reason in list(held.items()):
        for child in _descendants(evidence.manifest, unique_id):
            held.setdefault(child, f"it comes from `{_name_of(evidence.manifest, unique_id)}`: {reason}")
    for unique_id, reason in _skipped_models(evidence):
        held.setdefault(unique_id, reason)
    return held


def _failed_models(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for unique_id, node, known in _known_models(evidence):
        if known.status in FAILED:
            yield unique_id, f"`{node.label}` failed in {_when(known, evidence)}"
        elif known.by.lacks_rows and known.status != SKIPPED and node.materialized != "ephemeral":
            option = known.by.lacks_rows
            yield (
                unique_id,
                f"`{node.label}` was built with `{option}`, without all its rows, in {_when(known, evidence)}",
            )


def _failed_tests(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for unique_id in evidence.known.entries:
        if unique_id not in evidence.manifest.graph or unique_id in evidence.manifest.nodes:
            continue
        known, test = _result_of(evidence, unique_id), evidence.manifest.tests.get(unique_id)
        if known is not None and test is not None and _stops(test, known.status):
            reason = f"the test `{test.name}` failed in {_when(known, evidence)}"
            yield from ((guarded, reason) for guarded in test.guards)


def _stops(test: TestNode, status: str) -> bool:
    """Whether a test's result holds back the models that it guards.

    docs.getdbt.com/reference/global-configs/warnings: with `--warn-error` a test of severity `warn` fails, too.
    """
    return status == FAIL or (test.is_error and status in FAILED)


def _skipped_models(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for unique_id, node, known in _known_models(evidence):
        # dbt 2 reports every ephemeral model as skipped, since it builds none. If its parents failed, they hold it
        # back.
        if known.status == SKIPPED and node.materialized != "ephemeral":
            yield unique_id, f"`{node.label}` was skipped in {_when(known, evidence)}"


def _known_models(evidence: Evidence) -> Iterator[tuple[str, ModelNode, Known]]:
    for unique_id in evidence.known.entries:
        node, known = evidence.manifest.nodes.get(unique_id), _result_of(evidence, unique_id)
        if node is not None and known is not None:
            yield unique_id, node, known


def _result_of(evidence: Evidence, unique_id: str) -> Known | None:
    node = evidence.manifest.nodes.get(unique_id)
    relation = node.relation if node is not None and node.relation else None
    return evidence.known.of(unique_id, relation, evidence.place)


def _when(known: Known, evidence: Evidence) -> str:
    if known.by.invocation_id == evidence.last.invocation_id:
        return "dbt's last run"
    command = f"`dbt {known.by.command}`" if known.by.command else "dbt's run"
    return f"{command} at {known.by.generated_at[:16].replace('T', ' ')} UTC, and has no newer result"


def _is_known_to_be_built(evidence: Evidence, unique_id: str) -> bool:
    """Whether dbt's newest build of a model is one whose result is known."""
    node = evidence.manifest.nodes.get(unique_id)
    if node is None:
        return True  # a source, or a child of one
    if node.materialized == "ephemeral":
        return all(_is_known_to_be_built(evidence, parent) for parent in node.depends_on)
    known = _result_of(evidence, unique_id)
    return known is not None and not _was_built_after(evidence, node, known)


def _was_built_after(evidence: Evidence, node: ModelNode, known: Known) -> bool:
    """Whether dbt has run the model's SQL later than its newest result says, so that the outcome isn't known."""
    run = evidence.target_path / "run" / node.package / node.path
    return run.is_file() and _is_later(evidence, run.stat().st_mtime, known)


def _has_run_since(evidence: Evidence, test: str, ran_at: Mapping[tuple[str, str], float]) -> bool:
    """The same for a test."""
    node = evidence.manifest.graph[test]
    known, ran = _result_of(evidence, test), ran_at.get((node.package_name, node.file_name))
    return known is not None and ran is not None and _is_later(evidence, ran, known)


def _times_of_files(folder: Path) -> Mapping[tuple[str, str], float]:
    """When each file of each package was written. dbt 1.x and dbt 2 keep the SQL of tests in different places."""
    return {(file.relative_to(folder).parts[0], file.name): file.stat().st_mtime for file in folder.rglob("*.sql")}


def _is_later(evidence: Evidence, ran: float, known: Known) -> bool:
    at = parse_time(known.by.generated_at)
    if at is None:
        return False
    results = evidence.target_path / RESULTS
    if known.by.invocation_id == evidence.last.invocation_id and results.is_file():
        # A copied target folder has new times, which are all the same.
        at = max(at, results.stat().st_mtime)
    return ran > at + SLACK_SECONDS


def _tests_of(manifest: Manifest, unique_id: str) -> Sequence[tuple[str, str]]:
    """The tests that can hold a model, with their names."""
    ids = (child for child in manifest.children.get(unique_id, ()) if child in manifest.tests)
    return [
        (child, test.name) for child in ids if (test := manifest.tests[child]).is_error and unique_id in test.guards
    ]


def _named(manifest: Manifest, unique_ids: Iterable[str]) -> str:
    names = sorted(manifest.nodes[unique_id].label for unique_id in unique_ids)
    more = f" and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(f"`{name}`" for name in names[:SHOWN_NAMES]) + more


def _name_of(manifest: Manifest, unique_id: str) -> str:
    node = manifest.nodes.get(unique_id)
    return node.label if node else unique_id


def _descendants(manifest: Manifest, unique_id: str) -> Iterator[str]:
    """The models that come from a node."""
    seen = {unique_id}
    ahead = [unique_id]
    while ahead:
        for child in manifest.children.get(ahead.pop(), ()):
            if child not in seen and child in manifest.nodes:
                seen.add(child)
                ahead.append(child)
                yield child
