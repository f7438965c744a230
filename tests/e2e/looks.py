"""What can be measured of how a page looks."""

from __future__ import annotations

from playwright.sync_api import Page

from .lab import NODE_MODULES

_AXE = NODE_MODULES / "axe-core" / "axe.min.js"

# Cumulative layout shift (W3C, Layout Instability): what moved by itself, without any input.
_SHIFT = """() => new Promise((resolve) => {
  let sum = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
  }).observe({type: 'layout-shift', buffered: true});
  requestAnimationFrame(() => setTimeout(() => resolve(sum), 50));
})"""


def violations(page: Page) -> list[list[str]]:
    """Return what axe-core finds, each with the HTML of the first place."""
    page.evaluate(_AXE.read_text())
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [[one["id"], one["nodes"][0]["html"]] for one in found]


def layout_shift(page: Page) -> float:
    """Return the cumulative layout shift since the page was loaded; below 0.1 is good."""
    return float(page.evaluate(_SHIFT))
