"""The HTML page, read as text: one file that loads nothing and cannot be injected; its pictures."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pes_rl.errors import UserError
from pes_rl.rendering import html
from tests.tools.viewer_tools import (
    embedded,
    empty,
    general_episode,
    photographed,
    pictures,
    recording,
)

ATTACK = "</script><script>alert(1)</script><!--<svg onload='alert(1)'>\" & \u2028"


@pytest.mark.parametrize("kind", ["model", "pictures"])
def test_nothing_is_loaded_from_anywhere(kind):
    episode = general_episode() if kind == "model" else photographed(pictures())
    page = html.page(episode)
    for pattern in (
        r"<[^>]*\b(?:src|href|srcset|action|poster)\s*=",
        r"url\(\s*[\"']?(?!data:)",
        r"@import",
        r"\bimport\s*(?:\(|[\"'{*])",
        r"\bfrom\s*[\"']\w+:",
        r"sourceMappingURL",
        r"XMLHttpRequest|importScripts|new Worker|EventSource|WebSocket|sendBeacon",
    ):
        assert not (found := re.search(pattern, page)), found
    # The name of the XHTML namespace, by which three.js makes a canvas, is no address to load.
    assert set(re.findall(r"https?://[\w./]+", page)) <= {"http://www.w3.org/1999/xhtml"}


def test_the_policy_allows_exactly_the_pages_script_and_style():
    page = html.page(general_episode())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules.pop("default-src") == "'none'"
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    styles = re.findall(r"<style>(.*?)</style>", page, re.S)
    for rule, texts in (("script-src", scripts), ("style-src", styles)):
        assert len(texts) == 1
        digest = base64.b64encode(hashlib.sha256(texts[0].encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    assert rules == {"img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}


def test_three_and_its_licence_come_only_with_a_model():
    bundle = (Path(html.__file__).parent / "viewer" / "three.bundle.js").read_text()
    page = html.page(general_episode())
    assert bundle in page
    assert "three.js authors" in page
    assert bundle not in html.page(photographed(pictures()))


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(f"{tag} {[name for name, _ in attrs]}")

    def handle_comment(self, data):
        self.seen.append("comment")


def tags(page):
    parser = Tags()
    parser.feed(page)
    return parser.seen


def test_titles_and_details_cannot_inject_anything():
    benign = recording(None, *empty(), images=pictures(), estimator="es-single")
    hostile = recording(
        None, *empty(), title=ATTACK, images=pictures(), **{"estimator": ATTACK, ATTACK: [ATTACK]}
    )
    page = html.page(hostile)
    assert tags(page) == tags(html.page(benign))
    assert "alert(1)</" not in page
    data = embedded(page)
    assert data["title"] == ATTACK
    assert dict(data["details"])["Estimator"] == ATTACK


def test_writing_replaces_the_file_or_leaves_it(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("old")
    html.write_html(photographed(pictures()), path)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(UserError, match=r"cannot write .*: No such file"):
        html.write_html(photographed(pictures()), tmp_path / "none" / "page.html")


# -- pictures --------------------------------------------------------------------------------


def decoded(data, frame):
    return np.array(Image.open(io.BytesIO(base64.b64decode(data["frames"][frame]))))


def test_flat_graphics_are_kept_exactly():
    images = pictures(3)
    images[1, 1:3] = (200, 30, 40)
    data = embedded(html.page(photographed(images)))["photos"]
    assert data["type"] == "image/png"
    assert (data["width"], data["height"], data["stride"]) == (4, 4, 1)
    for frame in range(3):
        np.testing.assert_array_equal(decoded(data, frame), images[frame])


def test_photographs_are_shrunk_and_thinned_to_the_budget(monkeypatch):
    monkeypatch.setattr(html, "_PHOTO_BUDGET", 100_000)
    rng = np.random.default_rng(0)
    coarse = rng.integers(20, 235, (9, 9, 12, 3), dtype=np.uint8)
    grain = rng.integers(-20, 20, (720, 960, 3))
    images = (coarse.repeat(80, axis=1).repeat(80, axis=2) + grain).astype(np.uint8)
    data = embedded(html.page(photographed(images)))["photos"]
    assert data["type"] == "image/jpeg"
    assert (data["width"], data["height"]) == (640, 480)
    assert data["stride"] > 1
    assert len(data["frames"]) == -(-9 // data["stride"])
    assert sum(map(len, data["frames"])) < 2 * 100_000
    assert data["notes"]
    middle = decoded(data, 1)[26::53, 26::53].astype(int)
    assert np.abs(middle - coarse[data["stride"]]).mean() < 12
