"""The documentation as a site: it builds without a warning and asks the network for nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pes_rl import zoo
from pes_rl.config import ESTIMATOR_NAMES
from pes_rl.envs.registry import OFFICIAL

pytest.importorskip("mkdocs", reason="the extra docs is not installed")

ROOT = Path(__file__).parents[1]
LOADED = re.compile(  # what a browser fetches by itself, from elsewhere
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=[\"']?(?:https?:)?//"
    r"|<object\b[^>]*\bdata=[\"']?(?:https?:)?//"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|icon|preconnect|preload))[^>]*href=[\"']?(?:https?:)?//"
    r"|url\([\"']?(?:https?:)?//|@import\s+[\"'](?:https?:)?//",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "built"
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
    ]  # --quiet hides warnings from --strict
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [*command, str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_every_estimator_task_and_policy_has_its_page(site):
    for name in ESTIMATOR_NAMES:
        assert 'class="formula"' in (site / "estimators" / f"{name}.html").read_text()
    for name in OFFICIAL:
        text = (site / "tasks" / f"{name}.html").read_text()
        assert (f'src="../viewers/{name}.html"' in text) == (name in zoo.names())
        assert ("The zoo has no policy" in text) == (name not in zoo.names())
    assert {path.stem for path in site.glob("viewers/*.html")} == set(zoo.names())


def test_every_row_of_the_readmes_table_is_on_its_pages(site):
    readme = (ROOT / "README.md").read_text().split("| task (solved at) |")[1].split("\n\n")[0]
    for line in readme.splitlines()[2:]:
        task, estimator, _, _, unseen, _ = (cell.strip() for cell in line.strip("|").split("|"))
        for page in (
            f"tasks/{task.split()[0].strip(',')}",
            f"estimators/{estimator.strip(' *')}",
        ):
            assert unseen in (site / f"{page}.html").read_text(), page


def test_nothing_is_loaded_from_elsewhere(site):
    texts = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(texts) > 50
    found = [(path.name, match[0]) for path in texts for match in LOADED.finditer(path.read_text())]
    assert not found


def test_what_loads_from_elsewhere_is_noticed():
    assert LOADED.search('<script defer src="https://unpkg.com/x.js"></script>')
    assert LOADED.search('<link href="//fonts.googleapis.com/css" rel=stylesheet>')
    assert LOADED.search("@font-face { src: url(https://somewhere/a.woff2) }")
    assert not LOADED.search('<a href="https://keepachangelog.com">')


@pytest.mark.slow
def test_a_browser_asks_for_nothing_and_searches(site, tmp_path):
    from tests.tools.chromium import Chromium

    with Chromium(tmp_path, size=(1280, 900)) as browser:
        for page in ("api", "tasks/HalfCheetah", "gallery", "index"):
            browser.call("Page.navigate", url=(site / f"{page}.html").as_uri())
            time.sleep(3)
        browser.evaluate(
            "(() => { const box = document.querySelector('.md-search__input'); box.focus(); "
            "box.value = 'antithetic'; box.dispatchEvent(new Event('input', {bubbles: true})); "
            "box.dispatchEvent(new Event('keyup', {bubbles: true})); })()"
        )
        deadline = time.monotonic() + 20
        while "matching" not in browser.evaluate(
            "document.querySelector('.md-search-result__meta').textContent"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert not browser.errors
        outside = ("file:", "data:", "blob:", "about:")
        assert not [address for address in browser.requests if not address.startswith(outside)]
