"""The site is whole: it builds without a warning, and every link in it leads somewhere."""

from __future__ import annotations

import pathlib
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from ..support import ROOT

pytestmark = pytest.mark.slow


class Links(HTMLParser):
    """What a page links to and loads, and what in it can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {value for value in (given.get("id"), given.get("name")) if value}
        if tag == "a" and given.get("href"):
            self.links.add(given["href"] or "")
        elif tag == "link" and given.get("rel") != "canonical":
            self.loaded.add(given.get("href") or "")
        elif given.get("src"):
            self.loaded.add(given["src"] or "")


def pages(site: pathlib.Path) -> dict[pathlib.Path, Links]:
    return {path: Links(path.read_text()) for path in site.rglob("*.html")}


def broken(site: pathlib.Path) -> list[str]:
    """Links within the site that lead nowhere."""
    known = pages(site)
    wrong = []
    for path, page in known.items():
        for link in sorted(page.links | page.loaded):
            to = urlsplit(link)
            if to.scheme or to.netloc:
                continue
            target = (path.parent / unquote(to.path)).resolve() if to.path else path
            there = target.is_file()
            if there and to.fragment and target in known:
                there = unquote(to.fragment) in known[target].ids
            if not there:
                wrong.append(f"{path.relative_to(site)}: {link}")
    return wrong


def test_no_link_is_broken(site: pathlib.Path) -> None:
    assert broken(site.resolve()) == []


def test_a_broken_link_is_found(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.html").write_text('<a href="b.html#there">b</a> <a href="c.html">c</a>')
    (tmp_path / "b.html").write_text('<p id="here"></p><img src="d.png">')
    assert sorted(broken(tmp_path)) == ["a.html: b.html#there", "a.html: c.html", "b.html: d.png"]


def test_nothing_is_loaded_from_elsewhere(site: pathlib.Path) -> None:
    for path, page in pages(site).items():
        assert [link for link in page.loaded if urlsplit(link).netloc] == [], path
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text()), style


def test_every_page_is_on_the_site(site: pathlib.Path) -> None:
    """Sphinx warns of one that is in no table of contents."""
    sources = {
        path.relative_to(ROOT / "docs").with_suffix("")
        for path in (ROOT / "docs").rglob("*.md")
        if not any(part.startswith(("step", "_")) for part in path.parts)
    }
    assert len(sources) > 20
    assert {str(source) for source in sources if not (site / f"{source}.html").is_file()} == set()


def test_links_beside_docs_lead_to_files() -> None:
    """On a forge; on the site they are text, so Sphinx does not look."""
    for path in [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]:
        text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^):#\s]+)[)#]", text):
            assert (path.parent / target).exists(), f"{path.relative_to(ROOT)}: {target}"
