"""Look at pages in a real, headless Chromium."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page

PHONE = 390
DESKTOP = 1280


@contextmanager
def opened(
    browser: Browser, url: str, *, width: int = DESKTOP, dark: bool = False
) -> Iterator[Page]:
    """Open a page; at the end fail if anything on it has failed or was forbidden."""
    troubles: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": 850},
        color_scheme="dark" if dark else "light",
        has_touch=width == PHONE,
    )
    try:
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.on(
            "console",
            # An answer such as 400 is what some tests want; the browser notes it as an error.
            lambda said: (
                troubles.append(said.text)
                if said.type in ("error", "warning") and "Failed to load resource" not in said.text
                else None
            ),
        )
        page.goto(url)
        yield page
    finally:
        context.close()
    assert troubles == []


def barriers(page: Page) -> list[str]:
    """Return axe-core's serious and critical findings: WCAG's contrast, names, keyboard, ..."""
    return [
        f"{found['id']}: {node['html'][:150]}"
        for found in Axe().run(page).response["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


def look(page: Page, file: Path) -> Image.Image:
    """Take a screenshot of all of a page that fits its width, and that is not blank."""
    width = page.evaluate("innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "scrolls sideways"
    page.screenshot(path=file, full_page=True)
    with Image.open(file) as picture:
        small = picture.convert("L").resize((64, 64))
    assert len(set(small.tobytes())) > 10, f"{file} is blank"
    return small


def brightness(picture: Image.Image) -> float:
    """Return the median brightness of a grey picture, 0..255."""
    values = sorted(picture.tobytes())
    return values[len(values) // 2]
