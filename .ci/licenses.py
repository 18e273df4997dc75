"""The licence of everything that comes with dbt-stripe-sync, held against those that may: exit 1 names what may not.

Walks the installed distributions from our own requirements on, with the extras that are given: `.ci/licenses.py dev`.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

# Permissive licences, and weak copyleft that leaves a program which only uses a library its own licence.
ALLOWED = (
    r"apache",
    r"artistic",
    r"\bmit\b",
    r"\bbsd\b",
    r"\bbsd-[023]-clause\b",
    r"\b0bsd\b",
    r"\bisc\b",
    r"\bpsf\b|python software foundation|\bpython-2\.0\b|\bcnri",
    r"\bmpl\b|mozilla public license",
    r"unlicense",
    r"\bzlib\b",
    r"\bhpnd\b",
    r"public domain",
    r"postgresql",
    r"\blgpl\b|lesser general public",
)
FORBIDDEN = re.compile(
    r"\bagpl|affero|(?<!lesser )(?<!library or lesser )general public license|(?<!l)\bgpl", re.IGNORECASE
)
# What names its licence in a file alone, looked at by hand.
BY_HAND = {"thrift": "Apache-2.0", "sqlparse": "BSD-3-Clause"}


def licences_of(found: Distribution) -> list[str]:
    """What a distribution says of its licence, the most exact first."""
    head = found.metadata
    texts = [head.get("License-Expression") or ""]
    texts += [
        text.rpartition("::")[2].strip() for text in head.get_all("Classifier", []) if text.startswith("License ::")
    ]
    # Some put the whole text there: its first line names it.
    texts.append((head.get("License") or "").strip().partition("\n")[0][:100])
    known = BY_HAND.get((head.get("Name") or "").lower())
    return [text for text in [*texts, known or ""] if text and text != "OSI Approved"]


def is_allowed(texts: list[str]) -> bool:
    """Whether one of the licences that are offered may be used."""
    return any(
        not FORBIDDEN.search(choice) and any(re.search(allowed, choice, re.IGNORECASE) for allowed in ALLOWED)
        for text in texts
        for choice in re.split(r"\s+OR\s+", text)
    )


def walk(name: str, extras: tuple[str, ...]) -> dict[str, list[str]]:
    """Every installed distribution that one needs, with its licences."""
    seen: dict[tuple[str, str], None] = {}
    found: dict[str, list[str]] = {}
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        wanted = waiting.pop()
        if wanted in seen:
            continue
        seen[wanted] = None
        try:
            package = distribution(wanted[0])
        except PackageNotFoundError:
            continue
        found[wanted[0]] = licences_of(package)
        for line in package.requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": wanted[1]}):
                key = re.sub(r"[-_.]+", "-", need.name).lower()
                waiting += [(key, ""), *((key, extra) for extra in need.extras)]
    return found


def main() -> int:
    """Print what may not be used, or that all may."""
    found = walk("dbt-stripe-sync", tuple(sys.argv[1:]))
    wrong = {name: texts for name, texts in sorted(found.items()) if not is_allowed(texts)}
    for name, texts in wrong.items():
        print(f"{name}: {'; '.join(texts) or 'names no licence'}")
    print(f"{len(found)} distributions, {len(wrong)} with a licence that is not on the list")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
