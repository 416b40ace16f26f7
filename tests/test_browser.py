"""The site, and a player in JupyterLab, as a browser shows them: faults that no reading of the HTML finds."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from playwright.sync_api import Browser, Page, expect, sync_playwright

from egrc import paths

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SITE = paths.BUILD / "site"
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-gpu", "--disable-sync"]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: on Debian or Ubuntu, `apt install chromium`")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET, chromium_sandbox=False)


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The address at which all of build/site can be read."""
    if not (SITE / "index.html").exists():
        pytest.skip("no site in build/site: `make site` builds it")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def opened(browser: Browser, address: str, size: dict[str, int]) -> tuple[Page, list[str]]:
    """A page of that size, and the faults that it will have met: errors, and requests to anywhere but `address`."""
    page, faults = browser.new_page(viewport=size), list[str]()
    page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((address, "data:")) else faults.append(asked.url))
    return page, faults


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_every_page_loads_whole_asks_nobody_else_and_fits(browser: Browser, served: str, size: dict[str, int]) -> None:
    pages = sorted(str(file.relative_to(SITE)) for file in SITE.rglob("*.html"))
    books = {book.stem for book in paths.NOTEBOOKS.glob("*.ipynb")}
    assert books <= {Path(page).stem for page in pages}
    page, faults = opened(browser, served, size)
    for name in pages:
        page.goto(f"{served}/{name}")
        look = "[[...document.images].filter(i => !i.naturalWidth).length, document.documentElement.scrollWidth]"
        missing, width = page.evaluate(look)
        assert (name, missing, width, faults) == (name, 0, size["width"], [])
        assert not re.search(r"\|\s*[:\-–—]+\s*\|", page.inner_text("body")), f"{name} shows a table's source"


def test_a_solution_unfolds_and_the_search_finds(browser: Browser, served: str) -> None:
    page, faults = opened(browser, served, PHONE)
    page.goto(f"{served}/notebooks/00_the_idea.html")
    hidden = page.locator("details .highlight").first
    expect(hidden).to_be_hidden()
    page.locator("details summary").first.click()
    expect(hidden).to_be_visible()
    page.goto(f"{served}/search.html?q=hysteresis")
    expect(page.locator(".search a").first).to_have_attribute("href", re.compile("glossary|03_from_scratch"))
    assert faults == []


@pytest.mark.e2e
def test_a_slider_of_a_player_moves_its_picture_in_jupyterlab(browser: Browser, tmp_path: Path) -> None:
    code = [
        "from egrc.figures import players",
        "def draw(ax, height): ax.bar([0], [height])",
        "players.player(draw, {'height': 1}, height=(1, 9, 1))",
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("\n".join(code))], metadata=kernel), tmp_path / "p.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--ServerApp.port={port}", "--IdentityProvider.token=", "--no-browser", "--allow-root"]
    command = [sys.executable, "-m", "jupyterlab", *options, str(tmp_path)]
    with (tmp_path / "lab.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as lab:
        try:
            page = browser.new_page(viewport=DESK)
            for _ in range(120):  # until the server answers
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", port)) == 0:
                        break
                page.wait_for_timeout(500)
            page.goto(f"http://127.0.0.1:{port}/lab/tree/p.ipynb?reset")
            page.get_by_text(re.compile("Python 3.*Idle")).wait_for(timeout=120_000)  # the kernel is there
            page.locator(".jp-Notebook .jp-InputArea-editor").first.click()
            page.keyboard.press("Shift+Enter")
            picture = page.locator(".widget-vbox img")
            expect(picture).to_be_visible(timeout=120_000)
            before = picture.get_attribute("src")
            page.locator(".widget-vbox .noUi-handle").press("ArrowRight")
            expect(page.locator(".widget-vbox .widget-readout")).to_have_text("2")
            expect(picture).not_to_have_attribute("src", before or "", timeout=60_000)
        finally:
            lab.terminate()
