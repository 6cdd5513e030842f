"""The parts of summary.md around the tables: speeds, options, definitions and caveats."""

from __future__ import annotations

import math

from pes_rl.comparison.numbers import amount, listed, table
from pes_rl.comparison.result import Result, shown_options
from pes_rl.comparison.statistics import COVERAGE
from pes_rl.config import usual_value
from pes_rl.config.sources import preset_source

_ALWAYS = ("num_pairs", "perturb_std", "learning_rate", "segment_length")


def notes(result: Result) -> list[str]:
    """Sections of Markdown."""
    return [_speeds(result), _options(result), _reading(result)]


def _speeds(result: Result) -> str:
    if not result.timings:
        return "No speeds were measured, so nothing is said about wall-clock time."
    where = sorted({f"{t['threads']}, {t['machine']}" for t in result.timings.values()})
    rows = [
        [env, name, f"{t['env_steps_per_second']:,.0f}", f"{t['updates_per_second']:.3g}"]
        for (env, name), t in result.timings.items()
    ]
    return f"""\
## Speed

Each measured once, alone, on all cores ({"; ".join(where)}), over at least
{amount(min(t["env_steps"] for t in result.timings.values()))} env steps from the untrained policy,
after compilation, without evaluations and checkpoints. Wall-clock times here are env steps divided
by this speed; their intervals leave its own variation out.

{table(["environment", "estimator", "env steps/s", "updates/s"], rows)}"""


def _options(result: Result) -> str:
    configs = [cell.config for cell in result.plan.first_cells]
    options = [shown_options(config) for config in configs]
    shown: list[str] = [*_ALWAYS]
    for name in options[0]:
        differ = len({str(values[name]) for values in options}) > 1
        chosen = any(getattr(config, name) != usual_value(config, name) for config in configs)
        if name not in shown and (differ or chosen):
            shown.append(name)
    rows = [
        [
            config.env,
            config.estimator,
            preset_source(config),
            *("-" if values[key] is None else f"{values[key]}" for key in shown),
        ]
        for config, values in zip(configs, options, strict=True)
    ]
    given = result.plan.options
    source = "the presets" + (f", but for {listed(list(given))}" if given else "")
    return f"""\
## Options

From {source}; `configs/ENV.yaml` says how each preset was chosen. What is not listed is at
its default.

{table(["environment", "estimator", "preset", *shown], rows)}"""


def _reading(result: Result) -> str:
    from pes_rl.comparison.store import SCORE_SEED

    plan = result.plan
    count = len(plan.seeds)
    ids = listed(list(dict.fromkeys(result.gymnasium_ids.values())))
    every = sorted({cell.config.eval_every for cell in plan.cells})
    points = [
        "**Return** is that of an evaluation: the mean over fresh episodes of the unperturbed "
        f"policy, every {listed([amount(n) for n in every])} env steps, or after each update where "
        "that takes more. **To threshold**: the first evaluation at or above the threshold; times "
        "are no finer than evaluations, and more of them are more chances. A run that never gets "
        "there counts as infinite, and `> x` says that what is estimated lies beyond what the runs "
        "have.",
        "**Final**: mean of the curve over its last 10 %. **Best**: highest evaluation, which "
        "favours noisy curves. **Area**: mean of the curve from the untrained policy, at 0, to the "
        "end, with straight lines between evaluations.",
        f"**Unseen seeds**: the policy of the best evaluation, played again in {ids}, "
        f"{plan.episodes} episodes reset with seeds from {SCORE_SEED} on, which no training or "
        "selection has seen.",
        "**Sequential steps**: updates times the segment length (`es`: the horizon), the env steps "
        "that must follow one another however many cores there are. Early terminations can only "
        "shorten them.",
        "At equal updates, sequential steps or wall-clock every run is cut where the shortest of "
        "its environment ends; times to the threshold are of the whole runs.",
        _intervals(count),
        *_versions(result),
    ]
    if broken := sum(curve.broken for curve in result.curves):
        points.append(
            f"**{broken} evaluations** had an episode whose simulation broke down. Each counts as "
            "the lowest return that its run had otherwise."
        )
    if result.inexact:
        points.append(
            "Some of these environments cannot be saved: a run of theirs that was interrupted has "
            "continued with new episodes, and is not what it would have been otherwise."
        )
    if result.foreign:
        points.append(f"Other runs in this folder, not compared here: {listed(result.foreign)}.")
    return "## How to read this\n\n" + "\n".join(f"- {point}" for point in points)


def _intervals(count: int) -> str:
    known = max((n for n in COVERAGE if n <= count), default=None)
    text = (
        "**Intervals** in brackets are 95 % percentile intervals of a bootstrap over the seeds, "
        "stratified by environment (as in rliable, Agarwal et al. 2021): how far the estimate "
        "would move with other seeds of the same runs, not with other options or tasks. "
        f"The interquartile mean leaves out {count // 4} of {count} seeds at each end. "
    )
    if known is None:
        return text + f"With {count} of them the intervals mean next to nothing."
    middle, mean = COVERAGE[known]
    return text + (
        f"From few seeds they are too narrow: with {known} seeds they held the true value in about "
        f"{middle:.0%} (median) and {mean:.0%} (interquartile mean) of simulated cases. "
        "A probability of improvement of 0 or 1 means that the runs do not overlap at all; two "
        f"equal estimators do that once in {math.comb(2 * count, count):,} comparisons each way."
    )


def _versions(result: Result) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name, line in result.versions.items():
        groups.setdefault(line, []).append(name)
    if len(groups) == 1:
        return [f"**Versions**: {next(iter(groups))}."]
    return [
        "**Versions differ** between runs, whose options are the same: "
        + "; ".join(f"{line} ({listed(names)})" for line, names in groups.items())
        + "."
    ]
