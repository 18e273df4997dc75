"""Runs one sync in its own process, so that its memory is freed and a crash doesn't end the server."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson

from dbt_stripe_sync.artifacts import PAGE, RESULTS
from dbt_stripe_sync.serve.deliveries import SyncEnd
from dbt_stripe_sync.serve.options import PASSWORD, SECRET

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_stripe_sync.serve.deliveries import Delivery
    from dbt_stripe_sync.serve.options import ServeOptions

LOG = "log.txt"
# The calls in flight are finished and recorded before a sync ends.
STOP_SECONDS = 300.0
STATE_OF_EXIT = {0: "succeeded", 1: "partial", 2: "failed"}
INTERRUPTED = "interrupted"


def folder_of(options: ServeOptions, number: int) -> Path:
    """Where the report, the results and the log of a delivery's sync are kept."""
    return options.folder / "runs" / f"{number:08d}"


async def sync_run(options: ServeOptions, delivery: Delivery, stopping: asyncio.Event) -> SyncEnd:
    """Sync what a run of dbt Cloud built.

    When the server stops, the sync is asked to stop after its calls in flight.
    """
    folder = folder_of(options, delivery.number)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in (options.target_path / RESULTS, options.target_path / PAGE):
        with suppress(OSError):
            left.unlink()  # so that the files found afterwards are this sync's
    command = [sys.executable, "-m", "dbt_stripe_sync", "run", "--dbt-cloud-run", str(delivery.run_id)]
    env = {name: value for name, value in os.environ.items() if name not in {SECRET, PASSWORD}}
    with (folder / LOG).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            *options.arguments,
            "--no-color",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            env=env,
            start_new_session=True,  # Ctrl-C at the server's terminal reaches the sync once, through this process
        )
        was_stopped = await _wait(process, stopping)
    for name in (RESULTS, PAGE):
        with suppress(OSError):
            shutil.copyfile(options.target_path / name, folder / name)
    _forget_old(options)
    return _end(process.returncode, folder, was_stopped=was_stopped)


async def _wait(process: asyncio.subprocess.Process, stopping: asyncio.Event) -> bool:
    """Wait for the process; returns true if the server's end interrupted it."""
    ended = asyncio.ensure_future(process.wait())
    stopped = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        stopped.cancel()
        return False
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(ended, STOP_SECONDS)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return True


def _end(exit_code: int | None, folder: Path, *, was_stopped: bool) -> SyncEnd:
    state = STATE_OF_EXIT.get(exit_code if exit_code is not None else -1, "failed")
    run, totals = None, {}
    with suppress(OSError, orjson.JSONDecodeError, KeyError, TypeError):
        head = orjson.loads((folder / RESULTS).read_bytes())
        run, totals = str(head["metadata"]["run_id"]), {name: int(count) for name, count in head["totals"].items()}
    if was_stopped and state != "succeeded":
        return SyncEnd(state=INTERRUPTED, sync_run=run, totals=totals)
    note = None
    if state == "failed":
        note = _first_error(folder / LOG) or f"the sync ended unexpectedly (exit {exit_code})"
    return SyncEnd(state=state, sync_run=run, totals=totals, note=note)


def _first_error(log: Path) -> str | None:
    """The line that says what stopped a sync: `error[state-locked]: …`."""
    with suppress(OSError):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("error["):
                return line[:500]
    return None


def _forget_old(options: ServeOptions) -> None:
    """Keep only the reports and logs of the latest syncs."""
    folders = sorted((options.folder / "runs").iterdir(), reverse=True)
    for old in folders[options.keep_runs :]:
        shutil.rmtree(old, ignore_errors=True)
