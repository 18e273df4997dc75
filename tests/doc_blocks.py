"""The blocks of code of the pages in docs/."""

from __future__ import annotations

import re
from dataclasses import dataclass

from business import ROOT

DOCS = ROOT / "docs"


@dataclass(frozen=True)
class Block:
    """One block: its language (empty where none is named) and its text, without the indent of a list."""

    language: str
    text: str


def all_blocks(page: str) -> list[Block]:
    """Every block of a page, in its order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    fences = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE)
    return [
        Block(language, "\n".join(line.removeprefix(indent) for line in found.splitlines()) + "\n")
        for indent, language, found in fences
    ]


def blocks(page: str, language: str = "") -> list[str]:
    """The texts of a page's blocks in one language."""
    return [block.text for block in all_blocks(page) if block.language == language]
