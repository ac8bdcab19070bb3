"""Reads the project's Markdown pages: code blocks, links, headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^(\s*)```(\S*)([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced code block; `line` is that of its first line of code."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    code: str

    @property
    def id(self) -> str:
        return f"{name(self.page)}:{self.line}"


def name(page: Path) -> str:
    """A page's path from the repository's root."""
    return page.relative_to(ROOT).as_posix()


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(*languages: str) -> list[Block]:
    """Every block in one of *languages*, on every page."""
    found = []
    for page in PAGES:
        whole = text(page)
        for match in _FENCE.finditer(whole):
            if match[2] in languages:
                line = whole.count("\n", 0, match.start(4)) + 1
                found.append(Block(page, line, match[2], tuple(match[3].split()), match[4]))
    return found


def prose(page: Path) -> str:
    """The page without its code blocks and inline code."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text(page)))


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page can say, as GitHub makes it."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", _FENCE.sub("", text(page)), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        found.add(re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-"))
    return found


def commands(block: Block) -> Iterator[list[str]]:
    """The words of every `orch` command in a shell block, without what belongs to the shell.

    In a ``console`` block commands follow a ``$`` and the rest is output.
    """
    for line in block.code.replace("\\\n", " ").splitlines():
        line = line.strip()
        if block.language == "console":
            if not line.startswith("$ "):
                continue
            line = line[2:]
        if not re.search(r"(^|[;&|'(\s]|bin/)orch\s", line):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word[0] in "();<>|&":
                if words and words[0].endswith("orch"):
                    yield words[1:]
                # What follows a redirection is a file; what follows the rest is a command.
                words = ["(file)"] if word[0] in "<>" else []
            elif words or word.endswith("orch"):
                words.append(word)
