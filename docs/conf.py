"""How Sphinx makes the documentation's site: ``make docs``.

The pages are Markdown that a forge shows as well: links to what stands beside docs/ work there. On
the site they lead to a page where there is one (``BESIDE``), and are plain text otherwise.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

from pygments.lexers.special import TextLexer  # type: ignore[import-untyped]
from sphinx.application import Sphinx

import backboneio

HERE = pathlib.Path(__file__).resolve().parent

project = "Backbone.IO for Python"
author = "Backbone.IO for Python contributors"
copyright = f"{author}, MIT licence"
version = release = backboneio.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "tutorial/step*"]

myst_heading_anchors = 4

autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
add_module_names = False

highlight_language = "none"  # a block without a language is a command

html_theme = "furo"
html_title = f"Backbone.IO for Python {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
html_copy_source = False
html_show_sourcelink = False

#: The site's pages that are files beside docs/; in docs/ they are one link to the file.
BESIDE = {"changes": "CHANGES.md", "contributing": "CONTRIBUTING.md", "reporting": "SECURITY.md"}
_PAGES = {file: page for page, file in BESIDE.items()} | {"README.md": "index"}
#: A step of the tutorial: its page, which the site gives the files of its folder, too.
_STEP = re.compile(r"tutorial/(\d)-")
_LANGUAGES = {".css": "css", ".html": "html+jinja", ".js": "javascript", ".py": "python"}
_LINK = re.compile(r"\[([^\]]+)\]\(([^):#\s]+)(#[^)\s]*)?\)")


def point_links(app: Sphinx, name: str, source: list[str]) -> None:
    """Bring in the files beside docs/, and point links to them and out of docs/."""
    folder = (HERE / name).parent
    if name in BESIDE:
        file = HERE.parent / BESIDE[name]
        app.env.note_dependency(str(file))
        source[0], folder = file.read_text(), file.parent
    up = "../" * name.count("/")

    def pointed(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = (folder / target).resolve()
        if path.parent == HERE / "tutorial" and path.is_dir():
            return f"[{text}](#the-files)" if _STEP.match(name) else text
        if path.is_relative_to(HERE):
            target = path.relative_to(HERE).as_posix()
        else:
            page = _PAGES.get(path.relative_to(HERE.parent).as_posix())
            if page is None:
                return text
            target = f"{page}.md"
        return f"[{text}]({up}{target}{anchor})"

    source[0] = _LINK.sub(pointed, source[0])
    step = _STEP.match(name)
    if step:
        source[0] += files(int(step[1]))


def files(step: int) -> str:
    """The section with a step's files: those that the step before does not have like that."""
    folder, before = (HERE / "tutorial" / f"step{number}" for number in (step, step - 1))
    shown, same = [], []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or "__pycache__" in name or name.startswith("instance"):
            continue
        old = before / name
        if old.is_file() and old.read_text() == path.read_text():
            same.append(f"`{name}`")
            continue
        language = _LANGUAGES.get(path.suffix, "text")
        fence = f"```{{literalinclude}} step{step}/{name}\n:language: {language}\n```"
        shown.append(f"### {name}\n\n{fence}\n")
    as_before = f"\nAs in the step before: {', '.join(same)}.\n" if same else ""
    return "\n## The files\n\n" + "\n".join(shown) + as_before


#: What the theme writes, and what assistive technology needs instead.
MENDED = {
    'role="heading">': 'role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="Pages">',
    '<aside class="toc-drawer': '<aside aria-label="This page" class="toc-drawer',
    "<pre>": '<pre tabindex="0">',  # it scrolls, so a keyboard has to reach it
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
    '<th class="head"><p></p></th>': '<td class="head"></td>',
    '<th class="head"></th>': '<td class="head"></td>',
    '</noscript>\n\n<div id="search': '</noscript>\n<h1>Search</h1>\n<div id="search',
}


def mend(app: Sphinx, error: Exception | None) -> None:
    """Mend the pages that were written; again does no harm."""
    for page in pathlib.Path(app.outdir).rglob("*.html"):
        text = page.read_text()
        for old, new in MENDED.items():
            text = text.replace(old, new)
        page.write_text(text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what is ours."""
    app.connect("source-read", point_links)
    app.connect("build-finished", mend)
    app.add_lexer("haproxy", TextLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
