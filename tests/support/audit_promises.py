"""Finds the promises in a document: pieces of text with a word of promise in them, and their marks."""

from __future__ import annotations

import re
from collections.abc import Iterator

PROMISE = re.compile(
    r"\b(cannot|can not|never|nothing|nobody|no one|none|gone|undetected|sealed|encrypt\w*|deleted|unreadable"
    r"|no (?:name|account|address|time|trace|finer|reset|server))\b",
    re.IGNORECASE,
)
MARK = re.compile(r"<!-- claim: ([a-z.-]+(?:, [a-z.-]+)*) -->")
NO_CLAIM = re.compile(r"<!-- no claim: \S[^>]* -->")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#.*$", re.MULTILINE)


def pieces(document: str) -> Iterator[str]:
    """List items, table cells and paragraphs, without code blocks and headings."""
    text = HEADING.sub("", FENCE.sub("", document))
    for block in re.split(r"\n\s*\n", text):
        if block.lstrip().startswith("|"):
            yield from _cells(block.strip().splitlines())
        else:
            yield from (item for item in re.split(r"\n(?=- |\d+\. )", block) if item.strip())


def _cells(rows: list[str]) -> Iterator[str]:
    """Cells below the head of a table; what stands in a column `cannot` begins with that word."""
    table = [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in rows]
    for row in table[2:]:
        for head, cell in zip(table[0], row, strict=False):
            if cell:
                yield f"cannot {cell}" if head == "cannot" else cell


def unmarked(document: str) -> list[str]:
    """Pieces that promise something and carry no mark."""
    return [
        " ".join(COMMENT.sub("", piece).split())
        for piece in pieces(document)
        if PROMISE.search(COMMENT.sub("", piece)) and not MARK.search(piece) and not NO_CLAIM.search(piece)
    ]


def marked(document: str) -> set[str]:
    """Ids of all claims that a document names."""
    return {name for found in MARK.findall(document) for name in found.split(", ")}
