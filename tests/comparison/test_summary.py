"""From curves to estimates, tables, texts and plots, on curves simple enough to check by hand."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from typing import Any

import numpy as np
import pytest

from pes_rl.comparison.curves import Curve, Score, Speed
from pes_rl.comparison.export import curves_csv, results_csv, summary_json, summary_mapping
from pes_rl.comparison.notes import notes
from pes_rl.comparison.numbers import amount, duration, level, relative, spread
from pes_rl.comparison.plan import make_plan
from pes_rl.comparison.plots import plot_returns
from pes_rl.comparison.report import summary_markdown
from pes_rl.comparison.result import Result
from pes_rl.comparison.statistics import Estimate
from pes_rl.comparison.summary import summarise
from pes_rl.config import ESTIMATOR_NAMES
from pes_rl.styles import STYLES

INF = math.inf
BUDGET = {"Swimmer": 1000, "Hopper": 1000}
LEVELS: dict[str, float | None] = {"Swimmer": 100.0, "Hopper": None}


def ramp(env: str, name: str, seed: int, slope: float, steps_per_update: int, depth: int) -> Curve:
    """A return of ``slope`` more at each of ten evaluations, the last a little past the budget."""
    steps = np.array([*range(0, 1000, 100), 1010])
    returns = slope * np.arange(11.0)
    score = Score(float(returns[-1]) + seed, 1.0, 100, 7)
    return Curve(env, name, seed, steps, steps // steps_per_update, returns, depth, score)


def curves(env: str = "Swimmer") -> list[Curve]:
    """es reaches 100 after 500, 1000+ and never; es-single after 400, 500 and 200."""
    es = [ramp(env, "es", seed, slope, 10, 50) for seed, slope in enumerate((20, 10, 5))]
    single = [ramp(env, "es-single", s, slope, 5, 5) for s, slope in enumerate((25, 20, 50))]
    return es + single


def compared(*groups: list[Curve], speeds: bool = False) -> Result:
    table = [curve for group in groups for curve in group]
    envs = list(dict.fromkeys(c.env for c in table))
    names = list(dict.fromkeys(c.estimator for c in table))
    plan = make_plan(envs, names, 3, 0, 1000)
    measured = {(env, name): Speed(100.0, 10.0) for env in envs for name in names if speeds}
    timings = {
        where: {**speed._asdict(), "env_steps": 5000, "threads": 2, "machine": "A", "of": {}}
        for where, speed in measured.items()
    }
    summary = summarise(table, LEVELS, BUDGET, measured)
    versions = {cell.name: "pes_rl 1, mujoco 3" for cell in plan.cells}
    ids = {env: f"{env}-v5" for env in envs}
    return Result(plan, "out", tuple(table), summary, versions, ids, timings, False, [])


@pytest.fixture(scope="module")
def result() -> Result:
    return compared(curves(), speeds=True)


def measure(result: Result, name: str, clock: str, key: str) -> Any:
    return result.summary.measures["Swimmer", name, clock, key]


def test_time_to_threshold_counts_runs_that_never_get_there(result):
    es, single = (measure(result, n, "env_steps", "to_threshold") for n in ("es", "es-single"))
    assert es.values == (500, 1010, INF)
    assert single.values == (400, 500, 200)
    assert es.median.value == 1010 and es.median.high == INF
    assert single.ratio.value == pytest.approx(400 / 1010)
    assert single.ratio.low == 0  # where two of the three runs of es that were drawn never arrive
    assert single.improvement.value == pytest.approx(8.5 / 9)  # 500 ties with 500
    assert es.ratio is None and es.improvement is None


def test_two_that_never_get_there_cannot_be_compared():
    flat = [c._replace(returns=0 * c.returns) for c in curves()]
    ratio = measure(compared(flat), "es-single", "env_steps", "to_threshold").ratio
    assert math.isnan(ratio.value) and (ratio.low, ratio.high) == (0, INF)
    assert "neither reached it" in summary_markdown(compared(flat))


def test_every_clock_has_its_own_times(result):
    assert measure(result, "es", "updates", "to_threshold").values == (50, 101, INF)
    assert measure(result, "es", "sequential_steps", "to_threshold").values == (2500, 5050, INF)
    assert measure(result, "es-single", "sequential_steps", "to_threshold").median.value == 400
    assert measure(result, "es-single", "seconds", "to_threshold").values == (4, 5, 2)
    ratio = measure(result, "es-single", "sequential_steps", "to_threshold").ratio
    assert ratio.value == pytest.approx(400 / 5050)


def test_final_best_and_area_by_hand(result):
    # Slope 20 per 100 steps up to 900, then over 110: heights 180, 199.09 at 1000-5 on average.
    final = measure(result, "es", "env_steps", "final").values[0]
    assert final == pytest.approx((180 + (180 + 20 * 100 / 110)) / 2)
    assert measure(result, "es", "env_steps", "best").values == (200, 100, 50)
    area = measure(result, "es", "env_steps", "area").values[0]
    assert area == pytest.approx((900 * 90 + 100 * final) / 1000)
    assert measure(result, "es", "", "score").values == (200, 101, 52)


def test_equal_updates_cut_every_run_where_the_shortest_ends(result):
    assert result.summary.budgets["Swimmer", "updates"] == 101
    assert result.summary.budgets["Swimmer", "env_steps"] == 1000
    # es-single makes 20 updates per evaluation, so at 101 updates it has passed its fifth one.
    assert measure(result, "es-single", "updates", "best").values == (125, 100, 250)
    assert measure(result, "es", "updates", "best").values == (200, 100, 50)
    assert measure(result, "es-single", "updates", "area").values[1] == pytest.approx(101 / 2)


def test_without_speeds_nothing_is_said_of_seconds():
    bare = compared(curves())
    assert ("Swimmer", "seconds") not in bare.summary.budgets
    rows = list(csv.DictReader(io.StringIO(results_csv(bare))))
    assert {row["seconds_to_threshold"] for row in rows} == {""}
    assert "No speeds were measured" in summary_markdown(bare)
    assert "equal wall-clock" not in summary_markdown(bare)


def test_returns_are_pooled_on_a_common_scale(result):
    other = [c._replace(env="Hopper", returns=3 + 2 * c.returns) for c in curves()]
    other = [c._replace(score=Score(3 + 2 * c.returns[-1], 0.0, 1, 1)) for c in other]
    levels = {"Swimmer": 100.0, "Hopper": 203.0}
    found = summarise(curves() + other, levels, BUDGET)
    assert found.initial == {"Swimmer": 0.0, "Hopper": 3.0}
    one, both = (s.measures["Swimmer", "es", "env_steps", "area"] for s in (found, found))
    pooled = found.overall["es", "area"]
    assert sorted(pooled.values) == pytest.approx(sorted([v / 100 for v in one.values] * 2))
    assert both.median.value / 100 == pytest.approx(pooled.median.value)
    improvement = found.overall["es-single", "to_threshold"].improvement
    assert improvement is not None
    assert improvement.value == pytest.approx(8.5 / 9)
    plan = make_plan(list(levels), ["es", "es-single"], 3, 0, 1000)
    both_envs = result._replace(plan=plan, summary=found)
    times = summary_mapping(both_envs)["all_environments"]["es-single"]["to_threshold"]
    assert set(times) == {"improvement"}  # env steps of two environments have no common median
    # Pooling tells more than one environment does.
    alone = found.measures["Swimmer", "es-single", "env_steps", "to_threshold"].improvement
    assert alone is not None and improvement.low >= alone.low


def test_results_csv_has_a_row_per_run(result):
    rows = list(csv.DictReader(io.StringIO(results_csv(result))))
    assert [(row["estimator"], row["seed"]) for row in rows[2:4]] == [
        ("es", "2"),
        ("es-single", "0"),
    ]
    never = rows[2]
    assert never["censored"] == "true"
    assert never["env_steps_to_threshold"] == never["seconds_to_threshold"] == ""
    assert rows[1]["env_steps_to_threshold"] == "1010" and rows[1]["censored"] == "false"
    assert float(rows[1]["rescored_return_mean"]) == 101
    assert rows[0]["env_steps"] == "1010" and rows[0]["updates"] == "101"
    assert rows[0]["segment_length"] == "" and rows[3]["num_pairs"] != ""
    points = list(csv.DictReader(io.StringIO(curves_csv(result.curves))))
    assert len(points) == 66
    assert points[1]["env_steps"] == "100" and points[1]["episode_return"] == "20.0"


def test_summary_json_is_strict_and_complete(result):
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads(summary_json(result), parse_constant=refuse)
    assert found == summary_mapping(result)
    clock = found["environments"]["Swimmer"]["estimators"]["es"]["clocks"]["env_steps"]
    assert clock["to_threshold"]["values"] == [500, 1010, "inf"]
    assert clock["to_threshold"]["median"] == {"value": 1010, "low": 500, "high": "inf"}


def test_the_report_shows_censoring_and_bounds(result):
    text = summary_markdown(result)
    assert "| es | 2/3 | 1010 [500, > 1000] |" in text
    assert "| es-single | 3/3 | 400 [200, 500] |" in text
    assert "| Swimmer | es-single | 0.40 [0.00, " in text
    assert "Swimmer (1000 env steps)" in text and "seeds 0 to 2" in text
    assert "pes-rl compare --env Swimmer --estimators es es-single --seeds 3" in text
    assert "At equal updates (101 each)" in text
    assert "in about 75% (median) and 73%" in text
    assert "2 threads" not in text and "(2, A)" in text
    assert "pes_rl 1, mujoco 3." in text


def test_without_the_baseline_nothing_is_compared_to_it():
    text = summary_markdown(compared([c for c in curves() if c.estimator == "es-single"]))
    assert "`es` is not among the estimators" in text
    assert "does better than" not in text and "better than es" not in text


def test_an_environment_without_a_threshold_has_no_times():
    result = compared(curves("Hopper"))
    text = summary_markdown(result)
    assert "no threshold is set" in text
    assert "to threshold" not in text.partition("## How to read this")[0]
    row = next(csv.DictReader(io.StringIO(results_csv(result))))
    assert row["censored"] == row["threshold"] == row["env_steps_to_threshold"] == ""


def test_caveats_are_said():
    plain = compared(curves())
    versions = dict.fromkeys(plain.versions, "pes_rl 2")
    versions["Swimmer__es__seed1"] = "pes_rl 1, then pes_rl 2"
    text = summary_markdown(
        plain._replace(versions=versions, inexact=True, foreign=["Ant__es__seed0"])
    )
    assert "**Versions differ**" in text
    assert "pes_rl 1, then pes_rl 2 (Swimmer__es__seed1)" in text
    assert "cannot be saved" in text and "Ant__es__seed0" in text
    assert "cannot be saved" not in summary_markdown(plain)


def test_options_are_those_that_a_user_would_have_to_give(result):
    def table(envs: list[str], estimator: str) -> list[list[str]]:
        plan = make_plan(envs, [estimator], 1, 0, 1000)
        text = "".join(notes(result._replace(plan=plan))).partition("## Options")[2]
        return [line.strip("| ").split(" | ") for line in text.splitlines() if line[:1] == "|"]

    head, _, swimmer, ant = table(["Swimmer", "Ant"], "es")
    assert (swimmer[2], ant[2]) == ("tuned", "from ARS, untuned here")
    # Presets set what has a default of its own too.
    head, _, ant = table(["Ant"], "pes")
    assert dict(zip(head, ant, strict=True))["horizon"] == "100"
    head, _, reacher = table(["Reacher"], "es-single")
    assert dict(zip(head, reacher, strict=True))["hidden_sizes"] == "(32,)"
    # What follows from others is left out: segments of 50, unless the horizon is shorter.
    head = table(["Hopper"], "es")[0]
    assert not {"engine", "horizon", "staggered", "hidden_sizes", "eval_lanes"} & set(head)


def test_numbers_as_people_read_them():
    assert [amount(x) for x in (950, 60_800, 1_400_000)] == ["950", "60.8 k", "1.4 M"]
    assert [duration(x) for x in (7.5, 720, 11_520)] == ["7.5 s", "12 min", "3.2 h"]
    assert [level(x) for x in (4397.6, 35.62, -3.75)] == ["4398", "35.6", "-3.75"]
    assert spread(Estimate(1.0, 0.5, INF), amount, 20_000) == "1 [0, > 20 k]"
    assert spread(Estimate(INF, INF, INF), amount, 20_000) == "> 20 k"
    never = Estimate(INF, 2.0, INF)
    assert relative(never, INF, 100.0, 300.0, 300.0) == "> 3.00 [2.00, ∞]"
    assert relative(Estimate(INF, INF, INF), INF, 100.0, 300.0, 300.0) == "> 3.00"
    always = Estimate(0.0, 0.0, 0.5)
    assert relative(always, 60.0, INF, 300.0, 300.0) == "< 0.20 [0.00, 0.50]"
    neither = Estimate(math.nan, 0.0, INF)
    late = Estimate(INF, 1.0, INF)  # the baseline has it untrained
    assert relative(late, 60.0, 0.0, 300.0, 300.0) == "∞ [1.00, ∞]"
    assert relative(late, INF, 0.0, 300.0, 300.0) == "∞ [1.00, ∞]"
    assert relative(neither, INF, INF, 300.0, 300.0) == "neither reached it"


@pytest.mark.parametrize("clock", ["env_steps", "updates", "seconds"])
def test_plots_are_complete_and_reproducible(result, clock, tmp_path):
    for name in ("a", "b"):
        plot_returns(result.curves, clock, LEVELS, tmp_path / name, result.summary.speeds)
    for suffix in (".png", ".svg"):
        first, second = (tmp_path / f"{name}{suffix}" for name in "ab")
        assert first.read_bytes() == second.read_bytes()
    svg = (tmp_path / "a.svg").read_text()
    links = set(re.findall(r"\w+://[^\s\"'<>]*", svg))
    assert links <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<dc:date>" not in svg
    # Both estimators are drawn: a line and a band of each one's colour.
    for name in ("es", "es-single"):
        assert len(re.findall(STYLES[name].color.lower(), svg)) >= 4


def test_every_estimator_can_be_told_apart_without_colour():
    assert set(STYLES) >= set(ESTIMATOR_NAMES)
    assert len({style.marker for style in STYLES.values()}) == len(STYLES)
    assert len({str(style.dash) for style in STYLES.values()}) == len(STYLES)


def test_axes_begin_at_zero(result):
    from pes_rl.comparison.plots import _figure

    figure = _figure(result.curves, "env_steps", LEVELS, {})
    [axis] = figure.axes
    assert axis.get_xlim() == (0, 1010)
    assert axis.get_xlabel() == "environment steps" and axis.get_ylabel() == "episode return"
    middle = [line for line in axis.lines if line.get_zorder() > 2 and len(line.get_xdata()) > 1]
    assert len(middle) == 2
    x, y = (np.asarray(v) for v in middle[0].get_data())
    assert (x[0], y[0]) == (0, 0)
    # Three runs: the interquartile mean is their mean, slope (20 + 10 + 5) / 3 per 100 steps.
    assert np.interp(500, x, y) == pytest.approx(5 * 35 / 3, rel=0.01)
