"""A browser for the tests, and looking at its pages: what is drawn, what has changed, what went wrong."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.export.browser import CHROMIUM

if TYPE_CHECKING:
    from tests.studio.conftest import Running

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
WAIT = 30_000
# answers that a test asks for on purpose, and what Chromium says about tests that read canvases
MAY_FAIL = re.compile(r"the server responded with a status of|willReadFrequently")

# what can be used or seen and has no name for assistive tools
UNNAMED = """() => [...document.querySelectorAll("button, input, select, a, canvas[role]")]
  .filter((e) => e.checkVisibility() && !e.textContent.trim() && !e.ariaLabel && !e.title)
  .filter((e) => ![...(e.labels || [])].some((label) => label.textContent.trim()))
  .map((e) => e.outerHTML)"""

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    missing = "" if CHROMIUM else "Chromium is not installed"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "playwright is not installed"
    if missing and os.environ.get("STYLEGAN_TEST_BROWSER") == "1":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any, running: Running, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Open]:
    """visit("explore?s=3") opens a page of its own; at the end, nothing may have gone wrong in any of them."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def go(address: str = "", base: str = running.url, **options: Any) -> Any:
        settings = {"viewport": {"width": 1280, "height": 860}, "locale": "en-GB", **options}
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: wrong.append(f"{error}"))
        page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
        page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith((base, "blob:", "data:")) else None)
        page.goto(base + ("/#/" + address if address else "/"))
        return page

    yield go
    folder = Path(os.environ.get("STYLEGAN_TEST_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    for i, context in enumerate(contexts):
        for page in context.pages:
            page.screenshot(path=folder / f"{request.node.name}-{i}.png")
            assert page.title() in ("StyleGAN studio", "StyleGAN 스튜디오")  # no name has become a script
        context.close()
    unexpected = [text for text in wrong if not MAY_FAIL.search(text)]
    assert not unexpected, unexpected


def drawn(page: Any, selector: str, count: int = 1) -> None:
    """Waits until so many canvases show a full picture."""
    page.wait_for_function(
        "([s, n]) => document.querySelectorAll(s + '[data-drawn=full]:not([data-stale])').length >= n",
        arg=[selector, count],
    )


def pixels(page: Any, selector: str) -> np.ndarray:
    """uint8 [H, W, 3] of a canvas."""
    found = page.evaluate(
        "(s) => { const c = document.querySelector(s); return [c.width, c.height, "
        "Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)]; }",
        selector,
    )
    return np.array(found[2], np.uint8).reshape(found[1], found[0], 4)[..., :3]


def settled(page: Any, selector: str) -> np.ndarray:
    """The pixels, once they have been the same for a while."""
    before = pixels(page, selector)
    while True:
        page.wait_for_timeout(250)
        now = pixels(page, selector)
        if before.shape == now.shape and np.array_equal(before, now):
            return now
        before = now


def differs(page: Any, selector: str, before: np.ndarray) -> np.ndarray:
    """The pixels, once they are others than before and at rest."""
    end = time.monotonic() + WAIT / 1000
    while np.array_equal(before, pixels(page, selector)):
        assert time.monotonic() < end
        page.wait_for_timeout(50)
    return settled(page, selector)


def becomes(page: Any, selector: str, expected: np.ndarray) -> None:
    """Waits until these are the pixels."""
    end = time.monotonic() + WAIT / 1000
    while not np.array_equal(expected, settled(page, selector)):
        assert time.monotonic() < end


def png(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def model_id(running: Running, name: str = "small.safetensors") -> str:
    return str(next(model["id"] for model in running.json("/api/models") if model["name"] == name))


def set_slider(page: Any, name: str, value: float) -> None:
    """As dragging does: value and input event."""
    slider = page.get_by_role("slider", name=name, exact=True).first
    slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", str(value))
