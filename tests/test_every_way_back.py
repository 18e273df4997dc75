"""A test causes and resolves every code in docs/problems.md, or this file says why no test can.

The test of a code does what the hint says and ends with a run that succeeds.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml

HERE = Path(__file__).parent
PROBLEMS = HERE.parent / "docs" / "problems.md"
# The tests of a table walk every code that the table has.
TABLES = {
    "test_ways_back.py": ("BAD", "WAYS"),
    "test_ways_back_project.py": ("CASES", "POSTGRES"),
    "test_ways_back_objects.py": ("VALUES",),
    "test_ways_back_state.py": ("AT_STRIPE", "STATES", "PLANS"),
    "cloud/test_ways_back_from_dbt_cloud.py": ("WAYS",),
}
# Mistakes in YAML: test_ways_out.py walks each of them.
YAML_CASES = HERE / "config" / "problem_texts.yml"
_LOG = "warehouse_log/test_warehouse_log.py::"
_DIFF = "warehouse_diff/test_ways_back_of_the_copy.py::"
WALKED = {
    # ── rows and their objects ───────────────────────────────────────────────────────────────────────────────────
    "bad-target-name": "test_ways_back.py::test_another_place_for_the_state_leads_to_a_clean_run",
    "dependency-withheld": "test_ways_back_objects.py::test_a_price_in_another_currency_gets_a_row_of_its_own",
    "dependent-ends-later": "two_objects/test_removals_together.py::"
    "test_a_customer_waits_for_a_subscription_that_ends_with_its_period",
    "dependent-stays": "test_ways_back_objects.py::test_a_customer_with_a_subscription_is_kept_or_removed_with_it",
    "dependents-cannot-follow": "test_ways_back_objects.py::test_a_price_in_another_currency_gets_a_row_of_its_own",
    "drifted": "test_ways_back_objects.py::test_drift_is_resolved_by_following_a_hint",
    "ends-with-it": "test_ways_back_objects.py::test_a_customer_with_a_foreign_subscription_is_kept_or_waits_for_it",
    "foreign-items": "test_ways_back_objects.py::test_foreign_items_are_removed_by_hand_or_by_the_sync",
    "held-by-another-object": "test_ways_back_objects.py::test_a_default_price_that_nobody_synced_is_moved",
    "immutable-changed": "test_ways_back_objects.py::test_an_immutable_change_succeeds_once_reverted_or_replaced",
    "kept-objects-unknown": "test_kept_prices.py::test_a_lost_state_moves_no_subscription_until_it_is_rebuilt",
    "lookup-failed": "test_ways_back_objects.py::test_a_removal_succeeds_once_the_key_may_read_the_object",
    "lookup-moves": "test_references.py::test_a_look_up_by_a_value_that_its_plan_moves_waits_for_the_next_run",
    "max-reads": "test_ways_back_objects.py::test_a_higher_max_reads_lets_a_refresh_succeed",
    "max-removed": "test_ways_back_objects.py::test_confirmed_removals_are_sent",
    "confirmation-required": "test_ways_back_objects.py::test_confirmed_removals_are_sent",
    "not-read-back": "test_ways_back_objects.py::test_objects_are_read_back_once_the_key_may_read_them",
    "object-deleted": "test_ways_back_objects.py::test_a_deleted_object_is_resolved_by_either_on_deleted_setting",
    "reference-ambiguous": "test_ways_back_objects.py::test_an_ambiguous_look_up_is_fixed_with_a_unique_field",
    "reference-not-found": "test_ways_back_objects.py::test_a_missing_row_is_added_to_the_other_model",
    "sync-stopped": "test_stopping.py::test_a_sync_whose_rows_all_fail_alike_stops_and_the_others_continue",
    "time-out-of-window": "test_ways_back_objects.py::test_an_event_that_is_too_old_is_left_out_of_the_model",
    "unsettled": "faults/test_recovery.py::"
    "test_an_event_that_shares_its_time_with_others_stays_unknown_until_a_person_decides",
    "value-taken": "test_ways_back_objects.py::test_a_unique_value_is_resolved_by_choosing_another",
    # ── the project and the warehouse ────────────────────────────────────────────────────────────────────────────
    "defer-without-build": "test_commands.py::test_defer_without_a_build_is_an_error",
    "hook-failed": "test_gate.py::test_a_failed_hook_is_reported_until_it_succeeds",
    "no-test-results": "test_ways_back_project.py::test_tests_that_dbt_has_not_run_are_reported_until_it_has",
    "private-model": "test_ways_back_project.py::test_a_private_model_is_in_the_exposure_once_it_is_public",
    "warehouse-locked": "test_ways_back_project.py::test_a_locked_file_is_read_once_the_other_program_has_ended",
    # ── Stripe's address ─────────────────────────────────────────────────────────────────────────────────────────
    "bad-address": "test_ways_back_state.py::test_a_corrected_address_leads_to_a_successful_run",
    "stripe-certificate": "test_ways_back_state.py::test_a_proxys_certificate_is_trusted_once_it_is_named",
    "bad-proxy": "test_ways_back_state.py::test_removing_an_unusable_proxy_fixes_the_run",
    "foreign-address": "test_ways_back_state.py::test_a_corrected_address_leads_to_a_successful_run",
    "stripe-unreachable": "test_ways_back_state.py::test_a_corrected_address_leads_to_a_successful_run",
    # ── the state ────────────────────────────────────────────────────────────────────────────────────────────────
    "bad-export": "test_ways_back_state.py::test_a_valid_export_is_imported",
    "no-record": "test_ways_back_state.py::test_the_command_in_the_hint_lists_what_exists",
    "no-run": "test_ways_back_state.py::test_the_command_in_the_hint_lists_what_exists",
    "no-state": "test_ways_back_state.py::test_there_is_no_state_before_the_first_run",
    "nothing-owed": "test_ways_back_state.py::test_the_command_in_the_hint_lists_what_exists",
    "short-salt": "test_ways_back_state.py::test_a_salt_that_is_too_short_is_replaced",
    "state-behind": "crash/test_lost_state.py::test_a_backup_that_is_older_than_its_objects_creates_nothing_twice",
    "state-damaged": "test_ways_back_state.py::test_a_damaged_state_is_restored_or_rebuilt",
    "state-disk-full": "faults/test_other_faults.py::test_a_full_disk_ends_the_run_and_loses_nothing",
    "state-locked": "test_ways_back_state.py::test_a_locked_state_is_free_once_the_other_program_ends",
    "state-newer": "faults/test_other_faults.py::test_a_state_of_a_newer_version_is_left_alone",
    "state-not-empty": "test_ways_back.py::test_another_place_for_the_state_leads_to_a_clean_run",
    "state-readonly": "faults/test_other_faults.py::test_a_state_that_cannot_be_created_stops_the_run",
    "state-is-copy": "remote/test_remote_state.py::test_a_copy_is_not_mistaken_for_the_state",
    "state-lease-lost": "remote/test_lease.py::test_a_runner_that_lost_the_lease_stops_before_its_next_call",
    "state-leased": "remote/test_lease.py::test_a_run_waits_for_the_lease_as_long_as_the_option_says",
    "snapshot-not-written": "remote/test_store_faults.py::test_a_missing_final_snapshot_loses_nothing",
    "state-not-moved": "remote/test_remote_state.py::test_a_local_state_must_be_moved_and_is_never_ignored",
    "sync-renamed": "test_renamed_syncs.py::test_moving_the_records_leads_to_a_clean_run",
    "sync-undecided": "faults/test_recovery.py::test_a_sync_with_open_changes_is_not_renamed",
    # ── plans and files ──────────────────────────────────────────────────────────────────────────────────────────
    "ambiguous-run": "test_undo.py::test_an_ambiguous_run_prefix_is_rejected",
    "already-synced": "test_ways_back_authoring.py::test_a_second_sync_is_added_by_hand_with_names_for_both",
    "artifact-not-written": "test_ways_back_state.py::test_report_writes_artifacts_that_did_not_fit",
    "continued": "test_saved_plans.py::test_fail_fast_stops_and_the_same_file_continues_with_the_rest",
    "two-profiles": "dbt/test_dbt_project.py::test_profiles_in_two_places_are_reported",
    "file-unusable": "test_ways_back_authoring.py::test_a_file_that_cannot_be_written_is_written_elsewhere",
    "file-exists": "test_ways_back_authoring.py::test_the_exposures_are_written_to_another_file",
    "flow-yaml": "test_ways_back_authoring.py::test_flow_style_yaml_works_once_written_in_block_style",
    "sandbox-not-started": "test_ways_back_state.py::test_a_sandbox_that_cannot_start_says_what_to_change",
    "folder-in-use": "test_ways_back_state.py::test_the_demo_leaves_other_folders_alone",
    "foreign-model": "test_ways_back_authoring.py::test_a_package_model_is_synced_through_a_model_of_the_project",
    "no-row-key": "test_ways_back_authoring.py::test_a_key_that_cannot_be_determined_is_asked_for",
    "name-taken": "test_import.py::test_the_name_of_another_model_is_rejected",
    "model-not-in-file": "test_ways_back_authoring.py::"
    "test_a_model_that_is_not_in_its_file_is_found_once_dbt_has_read_it",
    "no-matching-column": "test_init.py::test_required_parameters_without_a_column_are_asked_for",
    "not-sent": "test_saved_plans.py::test_fail_fast_stops_and_the_same_file_continues_with_the_rest",
    "plan-format": "test_saved_plans.py::test_a_plan_of_another_format_and_a_missing_plan_are_refused",
    **dict.fromkeys(
        (
            "plan-other-account",
            "plan-other-api-version",
            "plan-other-mode",
            "plan-other-project",
            "plan-other-state",
            "plan-other-target",
            "plan-other-version",
        ),
        "test_saved_plans.py::test_a_plan_is_refused_for_anything_that_it_was_not_made_for",
    ),
    "plan-stale": "test_ways_back.py::test_a_plan_that_is_created_again_leads_to_a_clean_run",
    "log-denied": "warehouse_log/test_log_page.py::test_the_grants_on_the_page_are_enough",
    "log-failed": _LOG + "test_locked_tables_do_not_block_the_run",
    "diff-denied": _DIFF + "test_the_grants_on_the_page_are_enough",
    "diff-failed": _DIFF + "test_locked_tables_do_not_block_the_run",
    "diff-not-supported": _DIFF + "test_unsupported_warehouses_are_rejected_before_anything_is_sent",
    "diff-not-written": _DIFF + "test_the_grants_on_the_page_are_enough",
    "no-log": _LOG + "test_a_project_without_a_log_explains_how_to_get_one",
    "log-not-supported": _LOG + "test_unsupported_warehouses_are_rejected_before_anything_is_sent",
    "log-not-written": _LOG + "test_another_states_log_is_left_alone_until_it_is_taken_over",
    "log-of-another-state": _LOG + "test_another_states_log_is_left_alone_until_it_is_taken_over",
    "log-schema-in-use": _LOG + "test_foreign_tables_are_never_touched",
    "plan-unwritable": "faults/test_other_faults.py::test_a_full_disk_ends_the_run_and_loses_nothing",
}
_PACKAGE = "the way out is to install another package"
_MACHINE = "the way out is on the machine, outside the program"
_STORE = "the way out is in the object store, outside the program"
NOT_WALKED = {
    "cannot-undo": "what Stripe can't reverse stays as it is; the message says why",
    "run-forgotten": "nothing brings back what the state no longer has",
    "alert-not-sent": "a warning after the run is done; the address is the receiver's",
    "unsupported-system": _MACHINE,
    "github-comment": "the permission is given in a workflow on GitHub",
    "dbt-build-failed": "what is wrong is dbt's own to say, and no hint of ours",
    "driver-missing": _PACKAGE,
    "log-newer": _PACKAGE,
    "no-dbt": _PACKAGE,
    "no-reader": _PACKAGE,
    "keys-in-local-time": "only a version that is gone wrote such keys",
    "not-confirmed": "an answer, and not a fault: the next run asks again",
    "out-of-memory": _MACHINE,
    "reference-not-looked-up": "the way out is to run again, as for `lookup-failed`",
    "serve-address": "the server ends before a run; another port is another command line",
    "serve-in-use": "the server ends before a run; another folder is another command line",
    "serve-queue": _MACHINE,
    "serve-settings": "the server ends before a run; the secret is dbt Cloud's",
    **dict.fromkeys(("state-digest", "state-incomplete", "state-store-older"), _STORE),
    **dict.fromkeys(("state-store-conditions", "state-store-credentials", "state-store-missing"), _STORE),
    "state-store-unreachable": _STORE,
    "two-states": "the command line or the setting names one place then",
    "bad-state-url": "the command line or the setting is another one then",
    "object-store-missing": _PACKAGE,
    "state-memory": _MACHINE,
    "state-moved": _MACHINE,
    "state-not-copied": _MACHINE,
    "state-unwritable": _MACHINE,
    "unexpected-error": "a fault of the program, which nobody foresaw",
    "unreadable-listing": "only a dbt that answers in another form brings it about",
    "usage": "the command line is another one then",
    "values-left": "a warning: the next run tries again by itself",
    "circular-values": "lookup keys are transferred and codes end first, so no mapping of today makes one",
    "warehouse-timeout": _MACHINE,
}


def documented():
    return set(re.findall(r"^\| `([a-z]+(?:-[a-z]+)*)` \|", PROBLEMS.read_text(), flags=re.MULTILINE))


def of_tables():
    """The codes that the tables have, read without running them."""
    found = set()
    for name, tables in TABLES.items():
        for node in ast.parse((HERE / name).read_text()).body:
            if not isinstance(node, ast.Assign | ast.AnnAssign):
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id in tables for target in targets):
                assert isinstance(node.value, ast.Dict)
                found |= {ast.literal_eval(key) for key in node.value.keys}
    return found


def of_yaml():
    cases = yaml.safe_load(YAML_CASES.read_text())
    return {case["text"].partition("[")[2].partition("]")[0] for case in cases}


def test_every_code_has_a_test_of_its_fix_or_a_reason():
    walked = WALKED.keys() | of_tables() | of_yaml()

    assert documented() - walked - NOT_WALKED.keys() == set()
    assert (walked | NOT_WALKED.keys()) - documented() == set()
    assert walked & NOT_WALKED.keys() == set()


def test_the_named_tests_exist():
    missing = []
    for code, named in WALKED.items():
        file, _, test = named.partition("::")
        tree = ast.parse((HERE / file).read_text())
        if test not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
            missing.append(f"{code}: {named}")

    assert missing == []
