"""Messages and documents are plain technical English: phrases that the style guide refuses.

What a user reads is checked: every string in the package that is not a docstring, the docstrings
that help texts and the settings page are made of, and the documents.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import CHECKOUT

PACKAGE = CHECKOUT / "curator"
READ_BY_USERS = ("cli", "settings", "api.py", "demo.py")
"""Where docstrings reach a user, too."""

BANNED = {
    r"\bteach(es|ing)?\b|\btaught\b": "labels train a head; an image is trained on",
    r"\bhears?\b|\bheard\b": "models have no ears: is trained on, uses, includes",
    r"\bmet\b": "a head was trained on a label, or not",
    r"\bstands?\b(?![ -](for|out)\b)|\bstood\b(?! out)": "a label is current, a setting is in",
    r"\bdesk\b": "a review session",
    r"judging head": "a head that was not trained on the label",
    r"how far .{1,20} can be (trusted|believed)": "with its 95% interval",
    r"look(s|ed)? wrong": "probably wrong",
    r"What \w+ looks? at": "inputs of",
    r"(, if|as many as are worth it, if) not\b": "default: ...",
    r"if none is found\b": "if you find no errors",
    r"\b(of|at)( a)? confidence( of)? 0\.\d|, at 0\.9\d|at most 0\.\d+ at\b": "rates in percent",
    r"gives? way|gave way|makes? way": "is replaced",
    r"speaks? (about|for)|spoke (about|for)": "covers, is about",
    r"\bsays? no more\b": "no further message",
    r"(?<!\bthere )\b(is|are|was|were|be) no (?!longer\b|more\b|other\b)": "is not a ...",
    r"\bconfidence that \w+ (took|spen[dt]s?)\b|\b(of|half of) the confidence\b": "risk is spent",
    r"\bsurest\b": "most certain",
    r"\blook-?alikes?\b": "similar images",
    r"\brehears": "repetition, trial",
}
"""Pattern → what to write instead."""


def phrases(text: str) -> Iterator[str]:
    """The banned phrases in a text, with what to write instead."""
    for pattern, instead in BANNED.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            around = text[max(0, match.start() - 40) : match.end() + 40]
            yield f"`{match.group()}` in `{around}`; write: {instead}"


def user_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string in a module that a user may read."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = path.relative_to(PACKAGE).as_posix()
    docstrings = set()
    if not inner.startswith(READ_BY_USERS):
        docstrings = {
            node.body[index].value
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            for index in range(len(node.body))
            if isinstance(node.body[index], ast.Expr)
        }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and node not in docstrings and " " in node.value:
            yield node.lineno, " ".join(node.value.split())


def documents() -> list[Path]:
    pages = [CHECKOUT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    return [*pages, *sorted((CHECKOUT / "docs").glob("*.md"))]


def test_messages_are_plain() -> None:
    refused = [
        f"{path.relative_to(CHECKOUT)}:{line}: {phrase}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, text in user_texts(path)
        for phrase in phrases(text)
    ]
    assert not refused, "\n".join(refused)


@pytest.mark.parametrize("page", documents(), ids=lambda page: page.name)
def test_documents_are_plain(page: Path) -> None:
    # Lines of output and code are checked where they come from.
    text = re.sub(r"```.*?```|`[^`\n]*`", "``", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    refused = list(phrases(" ".join(text.split())))
    assert not refused, "\n".join(refused)


@pytest.mark.parametrize(
    "text",
    [
        "The error where heads were not taught",
        "heads never met this label",
        "the label that stands now",
        "Images to look at; as many as are worth it, if not.",
        "at most 0.99% if none is found",
        "are wrong, at 0.95",
        "clean.txt is no manifest",
        "Each audit takes half of the confidence that is left",
    ],
)
def test_the_guard_would_notice(text: str) -> None:
    assert list(phrases(text))
