"""Makes Ctrl-C, SIGTERM and a closed terminal stop a run after its calls in flight, and a second Ctrl-C immediately."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from dbt_stripe_sync.event_loop import run_to_end

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from dbt_stripe_sync.engine.apply.lanes import Stop

T = TypeVar("T")


def run_until_done(work: Coroutine[Any, Any, T], stop: Stop) -> T:
    """The result of a coroutine that stops after `stop` is called. Raises `KeyboardInterrupt` at a second Ctrl-C."""

    async def watched() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()

        def interrupted() -> None:
            if stop and task is not None:
                task.cancel()
            stop("interrupted")

        def hung_up() -> None:
            # A closing terminal sends the signal twice, from the shell and from the system, which isn't a second
            # Ctrl-C.
            stop("the terminal was closed")

        with _handling(loop, interrupted, hung_up):
            return await work

    try:
        return run_to_end(watched())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt a question: no calls are in flight while it waits for the answer."""
    try:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
    except ValueError:  # not in the main thread, which alone receives signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _handling(
    loop: asyncio.AbstractEventLoop, interrupted: Callable[[], None], hung_up: Callable[[], None]
) -> Iterator[None]:
    handlers = {signal.SIGINT: interrupted, signal.SIGTERM: interrupted}
    # Under `nohup`, the run must continue.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handlers[signal.SIGHUP] = hung_up
    try:
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
    except (NotImplementedError, ValueError, RuntimeError):
        # Not in the main thread, or a system without signals: the caller has its own way to stop the run.
        yield
        return
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
