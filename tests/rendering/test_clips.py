"""Which episode is filmed, how long a clip of it is, and that edges in it are smooth."""

from __future__ import annotations

import imageio_ffmpeg
import numpy as np
import pytest

import pes_rl
from pes_rl import cli
from pes_rl.errors import UserError
from pes_rl.rendering.output import render
from pes_rl.rendering.picking import picked_seed
from pes_rl.rendering.recording import record
from pes_rl.rendering.smoothing import smooth
from pes_rl.storage.policy import load_policy
from tests.tools.rendering_tools import save, save_dots


def test_the_best_median_and_worst_are_those_of_evaluate(tmp_path, capsys):
    folder = save(tmp_path, "Hopper-v5", horizon=50)
    rows = pes_rl.evaluate(folder, 6, seed=3)["per_episode"]
    ranked = sorted(rows, key=lambda row: row["return"])
    policy = load_policy(folder)
    for pick, row in (("worst", ranked[0]), ("median", ranked[2]), ("best", ranked[5])):
        seed = picked_seed(policy, pick, 6, 3)
        assert seed == row["seed"]
        assert record(policy, seed).details["episode_return"] == row["return"]
    flags = ["--out", str(tmp_path / "x.html"), "--pick", "best", "--episodes", "6"]
    assert cli.main(["render", str(folder), *flags, "--episode-seed", "3"]) == 0
    assert f"episode seed {ranked[5]['seed']}, return" in capsys.readouterr().out


def test_where_all_episodes_broke_down_there_is_none_to_pick(tmp_path):
    policy = load_policy(save(tmp_path, "Hopper-v5"))
    policy.theta[:] = np.nan
    with pytest.raises(UserError, match="all 2 episodes broke down"):
        picked_seed(policy, "best", 2, 0)


@pytest.mark.parametrize(("seconds", "frames"), [(0.55, 6), (0.01, 2), (9, 13)])
def test_a_clip_may_be_shorter_than_the_episode(tmp_path, dots, seconds, frames):
    out = tmp_path / "x.mp4"  # 12 steps of a tenth of a second
    details = render(save_dots(tmp_path / "policy"), out, seconds=seconds)
    assert details["episode_length"] == 12
    assert imageio_ffmpeg.count_frames_and_secs(str(out))[0] == frames


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--out x.mp4 --pick bset", "unknown pick 'bset'; did you mean 'best'?"),
        ("--out x.mp4 --episodes 3", "add --pick best, median or worst"),
        ("--out x.mp4 --seconds 0", "--seconds must be a positive number"),
        ("--out x.mp4 --seconds long", "--seconds must be a finite number"),
        ("--out x.png --seconds 2", "--seconds means nothing for .png files"),
        ("--live --pick best", "--pick means nothing with --live"),
    ],
)
def test_choices_that_make_no_sense_are_refused(tmp_path, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(tmp_path)
    folder = save(tmp_path / "policy", "Hopper-v5")
    assert cli.main(["render", str(folder), *flags.split()]) == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("slope", [0.05, 0.3, 1.0, 4.0])
def test_edges_come_nearer_to_what_many_samples_a_pixel_make_of_them(slope):
    size, samples = 60, 8
    y, x = (np.mgrid[: size * samples, : size * samples] + 0.5) / samples
    inside = (y - size / 2 < slope * (x - size / 2))[..., None]
    fine = np.where(inside, [180.0, 120.0, 60.0], [220.0, 225.0, 230.0])
    exact = fine.reshape(size, samples, size, samples, 3).mean((1, 3))
    rough = np.ascontiguousarray(fine[samples // 2 :: samples, samples // 2 :: samples], np.uint8)
    smoothed = rough.copy()
    smooth(smoothed)
    off = [np.square(picture.astype(float) - exact).sum() for picture in (rough, smoothed)]
    assert off[1] < 0.9 * off[0]
    far = np.abs(exact - rough).max(-1) == 0
    assert np.abs(smoothed[far].astype(int) - rough[far]).max() < 60
    flat = np.full((9, 9, 3), 200, np.uint8)
    flat[:, :4] -= 20  # a line between tiles, which is drawn smooth
    before = flat.copy()
    smooth(flat)
    assert np.array_equal(flat, before)
