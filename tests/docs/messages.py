"""The messages of the package, read from its source: log lines, errors, and the browser's."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

from ..support import ROOT

PACKAGE = ROOT / "backboneio"
SCRIPTS = ROOT / "js" / "src"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
#: Errors that clients are told of, which need not be raised where they are made.
TOLD = {"SyncError", "BadRequest", "Unauthorized", "Forbidden", "NotFound", "Conflict", "Invalid"}
TOLD |= {"TooLarge", "Timeout", "Unavailable"}


def literal(node: ast.expr) -> str | None:
    """A text as the source has it, … for whatever is put in; None when it has no words."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [literal(side) or "…" for side in (node.left, node.right)]
        text = "".join(parts)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = re.sub(r"%[-.\d]*[a-z]", "…", node.value)
    elif isinstance(node, ast.JoinedStr):
        values = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
        text = "".join(map(str, values))
    else:
        return None
    text = re.sub(r"…+", "…", " ".join(text.split()))
    # A single word is an argument, the name of a field say, from which a text is made.
    return text if " " in text and re.search(r"\w{2}", text) else None


def _texts(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        yield from node.exc.args
    elif isinstance(node, ast.Call):
        name = ast.unparse(node.func).split(".")[-1]
        is_log = name in LEVELS and "logger" in ast.unparse(node.func)
        if is_log or name == "_log" or name in TOLD or name.endswith("Error"):
            yield from node.args[:2]


def in_python(text: str) -> set[str]:
    """The messages of a module."""
    given = (arg for node in ast.walk(ast.parse(text)) for arg in _texts(node))
    choices = (
        side
        for arg in given
        for side in ([arg.body, arg.orelse] if isinstance(arg, ast.IfExp) else [arg])
    )
    return {message for message in map(literal, choices) if message}


def of_the_package() -> set[str]:
    """Every message of the package, but for those of the suites that test parts."""
    paths = [
        path
        for path in PACKAGE.rglob("*.py")
        if not path.name.endswith("_suite.py") and path.relative_to(PACKAGE).parts[0] != "client"
    ]
    return {message for path in paths for message in in_python(path.read_text())}


def in_javascript(text: str) -> set[str]:
    """The longer pieces of text that go into warnings and errors of a script."""
    found = set()
    for match in re.finditer(r"\b(?:warn|failure|new Error)\(", text):
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            if text[end] == "'":
                end = re.compile(r"'(?:[^'\\]|\\.)*'").match(text, end).end() - 1  # type: ignore[union-attr]
            end += 1
        for piece in re.findall(r"'((?:[^'\\]|\\.)*)'", text[match.end() : end]):
            if len(piece) > 16:
                found.add(" ".join(piece.replace("\\'", "'").split()))
    return found


def of_the_scripts(folder: pathlib.Path = SCRIPTS) -> set[str]:
    """Such pieces of all scripts."""
    return {piece for path in folder.glob("*.js") for piece in in_javascript(path.read_text())}
