"""The real command on a terminal of 80 columns, with a person who answers its questions."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PAINT = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_QUESTION = re.compile(r"(: |\[y/N\]: )$")


def in_a_terminal(business, arguments, answers=(), *, width=80, seconds=120, is_painted=False):
    """What the terminal shows, with its colors if it `is_painted`, and the exit code; answers its questions."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    root = str(business.root)
    options = ["--project-dir", root, "--profiles-dir", root, "--stripe-url", business.stripe.url]
    command = [sys.executable, "-m", "dbt_stripe_sync", *arguments, *options]
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown, left = "", list(answers)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        readable, _, _ = select.select([ours], [], [], 0.2)
        if readable:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part.decode(errors="replace")
        elif left and _QUESTION.search(_PAINT.sub("", shown)):
            os.write(ours, f"{left.pop(0)}\n".encode())
    os.close(ours)
    code = process.wait(timeout=seconds)
    return (shown if is_painted else _PAINT.sub("", shown)).replace("\r\n", "\n"), code
