"""summary.md: what was compared, what came out, and how far it can be trusted."""

from __future__ import annotations

import math

from pes_rl.comparison.notes import notes
from pes_rl.comparison.numbers import (
    amount,
    duration,
    level,
    listed,
    relative,
    spread,
    table,
    times,
)
from pes_rl.comparison.result import PLOTS, Result
from pes_rl.comparison.summary import AREA, BASELINE, BEST, FINAL, REACHED, SCORE, Summary

_CLOCKS = {
    "env_steps": "env steps",
    "updates": "updates",
    "sequential_steps": "sequential steps",
    "seconds": "wall-clock",
}


def summary_markdown(result: Result) -> str:
    """The report as Markdown."""
    summary = result.summary
    blocks = [_introduction(result), _ratios(summary), _catching_up(summary), _plots(result)]
    blocks += [_environment(result, env) for env in summary.envs]
    blocks += [_overall(summary), *notes(result)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _introduction(result: Result) -> str:
    plan, seeds = result.plan, list(result.plan.seeds)
    tasks = ", ".join(f"{env} ({amount(plan.budgets[env])} env steps)" for env in plan.envs)
    numbers = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    return f"""\
# {listed(plan.estimators)} compared

{len(plan.cells)} runs: {listed(plan.estimators)} on {tasks}, {numbers}.

```
{plan.command(result.out)}
```"""


def _ratios(summary: Summary) -> str:
    if BASELINE not in summary.estimators:
        return (
            f"`{BASELINE}` is not among the estimators, so there are no ratios to it and no "
            "probabilities of improvement."
        )
    others = [name for name in summary.estimators if name != BASELINE]
    envs = [env for env in summary.envs if summary.thresholds[env] is not None]
    if not others or not envs:
        return ""
    clocks = [clock for clock in _CLOCKS if (envs[0], clock) in summary.budgets]
    rows = [
        [env, name, *(_ratio(summary, env, name, clock) for clock in clocks)]
        for env in envs
        for name in others
    ]
    return f"""\
## Time to the threshold, as a share of `{BASELINE}`

Ratio of the medians over seeds, with its 95 % interval; below 1 is faster than `{BASELINE}`.

{table(["environment", "estimator", *(_CLOCKS[clock] for clock in clocks)], rows)}"""


def _ratio(summary: Summary, env: str, name: str, clock: str) -> str:
    mine = summary.measures[env, name, clock, REACHED]
    other = summary.measures[env, BASELINE, clock, REACHED]
    assert mine.ratio is not None
    ends = summary.totals[env, name, clock], summary.totals[env, BASELINE, clock]
    return relative(mine.ratio, mine.median.value, other.median.value, *ends)


def _catching_up(summary: Summary) -> str:
    rows = []
    for (env, name), found in summary.catching_up.items():
        ends = summary.totals[env, name, "env_steps"], summary.totals[env, BASELINE, "env_steps"]
        mine, other = found.env_steps.value, found.baseline
        env_steps = spread(found.env_steps, amount, summary.budgets[env, "env_steps"])
        share = relative(found.ratio, mine, other, *ends)
        rows.append([env, name, level(found.level), env_steps, share])
    if not rows:
        return ""
    head = ["environment", "estimator", f"median final of {BASELINE}", "env steps to it", "share"]
    return f"""\
## Time to what `{BASELINE}` ends with, as a share of `{BASELINE}`

Env steps to the first evaluation at or above the final return of `{BASELINE}`, medians over seeds,
and their ratio to those of `{BASELINE}` itself, which may have been there long before its end. Its
interval draws that level too, with the runs of `{BASELINE}`, and counts as 1 where it is no higher
than what all untrained policies have.

{table(head, rows)}"""


def _plots(result: Result) -> str:
    clocks = [c for c in _CLOCKS if (result.summary.envs[0], c) in result.summary.budgets]
    return "\n\n".join(
        f"![Return against {_CLOCKS[clock]}](plots/{PLOTS[clock]}.png)" for clock in clocks
    )


def _environment(result: Result, env: str) -> str:
    summary = result.summary
    threshold = summary.thresholds[env]
    solved = "no threshold is set" if threshold is None else f"solved at {threshold:g}"
    parts = [
        f"## {env}\n\n{amount(summary.budgets[env, 'env_steps'])} env steps, {solved}. "
        f"The untrained policy scores {level(summary.initial[env])}.",
        "Median over seeds:\n\n" + _estimates(summary, env, "median"),
        "Interquartile mean over seeds:\n\n" + _estimates(summary, env, "iqm"),
        _improvement(summary, env),
        "Every run, in the order of seeds:\n\n" + _every_run(summary, env),
        *(_other_clock(summary, env, clock) for clock in _CLOCKS if clock != "env_steps"),
    ]
    return "\n\n".join(part for part in parts if part)


def _columns(summary: Summary, env: str) -> dict[str, tuple[str, str]]:
    """Headings, and the clock and name of the measure below each."""
    columns = {
        "env steps to threshold": ("env_steps", REACHED),
        "unseen seeds": ("", SCORE),
        "final": ("env_steps", FINAL),
        "best": ("env_steps", BEST),
        "area": ("env_steps", AREA),
    }
    first = summary.estimators[0]
    return {text: at for text, at in columns.items() if (env, first, *at) in summary.measures}


def _estimates(summary: Summary, env: str, statistic: str) -> str:
    columns = _columns(summary, env)
    rows = []
    for name in summary.estimators:
        row = [name]
        for clock, key in columns.values():
            found = getattr(summary.measures[env, name, clock, key], statistic)
            if key == REACHED:
                row += [
                    _solved(summary, env, name),
                    spread(found, amount, _end(summary, env, name)),
                ]
            else:
                row.append(spread(found, level))
        rows.append(row)
    head = ["estimator"]
    for text, (_, key) in columns.items():
        head += ["solved", text] if key == REACHED else [text]
    return table(head, rows)


def _every_run(summary: Summary, env: str) -> str:
    columns, rows = _columns(summary, env), []
    for name in summary.estimators:
        row = [name]
        for clock, key in columns.values():
            show = amount if key == REACHED else level
            values = summary.measures[env, name, clock, key].values
            row.append(", ".join(show(v) if math.isfinite(v) else "never" for v in values))
        rows.append(row)
    return table(["estimator", *columns], rows)


def _solved(summary: Summary, env: str, name: str) -> str:
    values = summary.measures[env, name, "env_steps", REACHED].values
    return f"{sum(map(math.isfinite, values))}/{len(values)}"


def _end(summary: Summary, env: str, name: str, clock: str = "env_steps") -> float:
    """What a run that never reached the threshold needs more than."""
    counted = clock == "env_steps"
    return summary.budgets[env, clock] if counted else summary.totals[env, name, clock]


def _improvement(summary: Summary, env: str) -> str:
    columns, rows = _columns(summary, env), []
    for name in summary.estimators:
        found = [summary.measures[env, name, *at].improvement for at in columns.values()]
        if all(estimate is not None for estimate in found):
            rows.append([name, *(spread(e, times) for e in found if e is not None)])
    if not rows:
        return ""
    text = table(["estimator", *columns], rows)
    return f"Probability that a run does better than one of `{BASELINE}`:\n\n{text}"


def _other_clock(summary: Summary, env: str, clock: str) -> str:
    if (env, clock) not in summary.budgets:
        return ""
    show = duration if clock == "seconds" else amount
    timed = summary.thresholds[env] is not None
    head = ["estimator", "in a run", *(["to threshold (median)"] if timed else [])]
    head += ["final (IQM)", "area (IQM)"]
    rows = []
    for name in summary.estimators:
        row = [name, show(summary.totals[env, name, clock])]
        if timed:
            reached = summary.measures[env, name, clock, REACHED].median
            row.append(spread(reached, show, _end(summary, env, name, clock)))
        final, area = (summary.measures[env, name, clock, key] for key in (FINAL, AREA))
        row += [spread(final.iqm, level), spread(area.iqm, level)]
        if BASELINE in summary.estimators:
            row.append(spread(final.improvement, times) if final.improvement else "")
        rows.append(row)
    if BASELINE in summary.estimators:
        head.append(f"final better than {BASELINE}")
    budget = show(summary.budgets[env, clock])
    return f"At equal {_CLOCKS[clock]} ({budget} each):\n\n{table(head, rows)}"


def _overall(summary: Summary) -> str:
    if not summary.overall:
        return ""
    columns = {"unseen seeds": SCORE, "area": AREA}
    columns = {t: k for t, k in columns.items() if (summary.estimators[0], k) in summary.overall}
    improved = {"threshold sooner": REACHED, **columns} if BASELINE in summary.estimators else {}
    rows = []
    for name in summary.estimators:
        row = [name, *(spread(summary.overall[name, key].iqm, times) for key in columns.values())]
        for key in improved.values():
            found = summary.overall[name, key].improvement
            row.append("" if found is None else spread(found, times))
        rows.append(row)
    head = ["estimator", *(f"{text} (IQM)" for text in columns)]
    head += [f"{text}, better than {BASELINE}" for text in improved]
    return f"""\
## All environments together

Returns on the scale on which 0 is the untrained policy and 1 the threshold, pooled over the
environments with a threshold; probabilities are means over them. Resampled within each environment.

{table(head, rows)}"""
