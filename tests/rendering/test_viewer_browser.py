"""The HTML page in a headless Chromium without network: it moves, obeys and never complains."""

from __future__ import annotations

import io
from dataclasses import replace

import mujoco
import numpy as np
import pytest
from PIL import Image

from pes_rl.rendering.html import write_html
from tests.rendering.test_viewer_page import ATTACK
from tests.tools.chromium import Chromium
from tests.tools.viewer_tools import general_episode, photographed, random_episode, recording

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared_browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(shared_browser):
    """The module's browser; fails a test whose page complained or asked for anything outside."""
    yield shared_browser
    errors, asked = list(shared_browser.errors), list(shared_browser.requests)
    shared_browser.errors.clear()
    shared_browser.requests.clear()
    assert not errors
    assert not [address for address in asked if not address.startswith(("file:", "data:"))]


def pixels(png):
    return np.array(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def opened(browser, tmp_path, episode):
    write_html(episode, tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    return browser


def seen_at(browser, fraction, selector="#view"):
    browser.evaluate(f"viewer.seek({fraction} * viewer.duration)")
    return pixels(browser.screenshot(selector))


def changed(one, other):
    """How many pixels clearly differ."""
    return (np.abs(one - other).max(axis=2) > 40).sum()


def text(browser, selector):
    return browser.evaluate(f"document.querySelector({selector!r}).textContent")


@pytest.mark.parametrize("name", ["HalfCheetah", "Ant", "Humanoid"])
def test_the_body_is_seen_to_move(browser, tmp_path, name):
    opened(browser, tmp_path, random_episode(name, 20))
    early, late = seen_at(browser, 0.1), seen_at(browser, 0.9)
    assert changed(early, late) > 500
    assert changed(seen_at(browser, 0.1), early) < 30


def test_a_general_model_is_drawn(browser, tmp_path):
    opened(browser, tmp_path, general_episode())
    red, green, blue = np.moveaxis(seen_at(browser, 0.5), 2, 0)
    assert ((red > 1.5 * green) & (red > 1.5 * blue)).sum() > 100  # the painted wedge
    assert ((blue > 1.5 * red) & (blue > green)).sum() > 100  # the plain box


def test_every_frame_is_drawn_where_it_belongs(browser, tmp_path):
    """Played backwards, and between frames, an episode shows the same poses."""
    episode = general_episode()
    backwards = replace(episode, qpos=episode.qpos[::-1])
    opened(browser, tmp_path, episode)
    times = (4 / 19, 11.5 / 19)
    shown = [seen_at(browser, time) for time in times]
    opened(browser, tmp_path, backwards)
    for time, expected in zip(times, shown, strict=True):
        assert changed(seen_at(browser, 1 - time), expected) < 30
    assert changed(*shown) > 500


def test_a_turned_body_is_turned(browser, tmp_path):
    rod = "<geom type='box' size='.5 .05 .05' rgba='1 0 0 1'/>"
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><worldbody><body><joint axis='0 1 0'/>{rod}</body></worldbody></mujoco>"
    )
    opened(browser, tmp_path, recording(model, np.array([[0], [np.pi / 2]]), [1.0], 0.1))

    def width_and_height(fraction):
        red, green, _ = np.moveaxis(seen_at(browser, fraction), 2, 0)
        rows, columns = np.nonzero(red > green + 80)
        return np.ptp(columns), np.ptp(rows)

    width, height = width_and_height(0)
    assert width > 2 * height
    width, height = width_and_height(1)
    assert height > 2 * width


def test_pictures_are_played(browser, tmp_path):
    images = np.zeros((10, 30, 40, 3), np.uint8)
    images[np.arange(10), :, 4 * np.arange(10)] = 255
    opened(browser, tmp_path, photographed(images))
    stripe = [int(seen_at(browser, frame / 9)[60].sum(axis=1).argmax()) for frame in (1, 5, 9)]
    assert stripe[0] < stripe[1] < stripe[2]
    assert browser.evaluate("document.querySelector('#follow').hidden")


def test_controls_and_keys(browser, tmp_path):
    episode = random_episode("Swimmer", 40)
    opened(browser, tmp_path, episode)

    def key(name, code=None):
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key=name, code=code or name)

    def playing():
        return browser.evaluate("document.querySelector('#play').classList.contains('playing')")

    assert playing()  # on load
    key(" ", "Space")
    assert not playing()
    key("Home")
    key("ArrowRight")
    key("ArrowRight")
    key("ArrowLeft")
    assert browser.evaluate("viewer.time") == pytest.approx(episode.dt)
    assert text(browser, "#frameNow") == "1 / 40"
    key("End")
    assert browser.evaluate("viewer.time") == pytest.approx(40 * episode.dt)
    shown = float(text(browser, "#returnNow"))
    assert shown == pytest.approx(episode.rewards.sum(), abs=2e-3)

    box = browser.evaluate("document.querySelector('#chart').getBoundingClientRect().toJSON()")
    middle = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **middle)
    assert browser.evaluate("viewer.time") == pytest.approx(20 * episode.dt, rel=0.01)
    scrub = float(browser.evaluate("document.querySelector('#scrub').value"))
    assert scrub == pytest.approx(20 * episode.dt, rel=0.01)

    key("]")
    assert browser.evaluate("document.querySelector('#speed').value") == "2"
    pressed = "document.querySelector('#follow').getAttribute('aria-pressed')"
    follows = browser.evaluate(pressed)
    key("f")
    assert {follows, browser.evaluate(pressed)} == {"true", "false"}
    before = pixels(browser.screenshot("#view"))
    key("d")
    assert (np.abs(seen_at(browser, 0.5) - before) > 30).any()  # the camera went round
    key("t")
    assert browser.evaluate("document.documentElement.dataset.theme") == "dark"
    key("i")
    assert "Episode seed1234" in text(browser, "#details")


def test_hostile_text_is_only_shown(browser, tmp_path):
    hostile = recording(
        None,
        np.zeros((2, 0)),
        [1.0],
        0.1,
        title=ATTACK,
        images=np.zeros((2, 4, 4, 3), np.uint8),
        **{ATTACK: ATTACK},
    )
    opened(browser, tmp_path, hostile)
    assert text(browser, "h1") == ATTACK
    assert ATTACK in text(browser, "#rows")
    assert browser.evaluate("document.scripts.length") == 2


def test_only_the_viewer_is_global_and_the_network_is_shut(browser, tmp_path):
    names = "Object.getOwnPropertyNames(window)"
    bare = tmp_path / "bare.html"
    bare.write_text("<script>window.viewer = {ready: true}</script>")
    browser.open(bare)
    before = set(browser.evaluate(names))
    opened(browser, tmp_path, random_episode("Reacher", 5))
    # Elements are named by their id on every page.
    ids = set(browser.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)"))
    assert set(browser.evaluate(names)) - ids == before
    refused = "fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => 'refused')"
    assert browser.evaluate(refused) == "refused"
    assert any("Content Security Policy" in error for error in browser.errors)
    browser.errors.clear()
    browser.requests.clear()


def test_without_webgl_the_page_says_so(tmp_path):
    with Chromium(tmp_path / "profile", webgl=False) as browser:
        opened(browser, tmp_path, random_episode("Reacher", 5))
        assert "no WebGL" in text(browser, "#message")
        seen_at(browser, 0.5, "#panel")
        assert text(browser, "#frameNow") == "2 / 5"
