"""Swimmer's trainings as the PES paper has them, at any size, and what they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from pes_rl.config import Config, build_config
from pes_rl.reproductions.climbs import Climb, first_at_least
from pes_rl.reproductions.experiment import Report
from pes_rl.reproductions.figures import curve, panels
from pes_rl.styles import NOTE, STYLES

PAPER, SINGLE = "Vicol et al. 2021", "Vicol et al. 2023"
SAC = 150.0  # what soft actor-critic reaches on Swimmer, the line of the PES paper's figure
PAIRS, T, K = 10, 1000, 100
# Standard deviation of the noise and the authors' step size: it multiplies the sum over pairs of
# noise times difference of returns, over the number of pairs and the returns' standard deviation.
AUTHORS = {
    "es": (0.3, 0.3),
    "truncated-es": (0.1, 0.1),
    "pes": (0.3, 0.1),
    "es-single": (0.3, 0.1),  # given nowhere: as for PES
}
Climbs = Mapping[str, list[Climb]]


class Size(NamedTuple):
    """Methods, seeds, env steps of every training, env steps between scores."""

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    env_steps: int
    eval_every: int


def config(method: str, seed: int, size: Size) -> Config:
    """The authors' settings in the terms of this package, where a gradient is over 2 sigma."""
    std, step = AUTHORS[method]
    online = {} if method == "es" else {"segment_length": K, "staggered": False}
    return build_config(
        {
            "env": "Swimmer",
            "engine": "mujoco",
            "estimator": method,
            "seed": seed,
            "num_env_steps": size.env_steps,
            "num_pairs": PAIRS,
            "perturb_std": std,
            "horizon": T,
            "shaping": "std",
            "num_top_pairs": None,
            "optimizer": "sgd",
            "momentum": 0.0,
            "learning_rate": 2 * std * step,
            "learning_rate_schedule": "constant",
            "normalize_observations": False,
            "policy": "linear",
            "eval_every": size.eval_every,
            "eval_episodes": 3,
            **online,
        }
    )


def settings(size: Size) -> dict[str, Any]:
    """For ``result.json``."""
    return {
        **size._asdict(),
        "env": "Swimmer-v5 (the papers: v2)",
        "policy": "linear",
        "pairs": PAIRS,
        "horizon": T,
        "segment_length": K,
        "shaping": "std",
        "optimizer": "sgd",
        "settings": {
            name: {"perturb_std": std, "authors_step": step, "learning_rate": 2 * std * step}
            for name, (std, step) in AUTHORS.items()
            if name in size.methods
        },
        "eval_episodes": "3 (the authors: 50)",
    }


def show(climbs: list[Climb]) -> str:
    """Final returns over the seeds."""
    ends = _ends(climbs)
    return f"{np.median(ends):.0f} ({ends.min():.0f} to {ends.max():.0f})"


def steps(climbs: list[Climb]) -> str:
    """Env steps to SAC's return, over the seeds."""
    reached = [first_at_least(one, SAC) for one in climbs]
    middle = float(np.median(reached))
    there = f"{sum(np.isfinite(reached))} of {len(reached)} seeds"
    return f"{there}, median {middle:,.0f} env steps" if np.isfinite(middle) else there


def _ends(climbs: list[Climb]) -> np.ndarray:
    return np.array([one.returns[-1] for one in climbs])


def _further(found: Climbs) -> tuple[str, Any]:
    pes, truncated = found["pes"], found["truncated-es"]
    text = f"final return {show(pes)}; truncated ES {show(truncated)}"
    return text, _ends(pes).min() > _ends(truncated).max()


def _passes(found: Climbs) -> tuple[str, Any]:
    reached = [first_at_least(one, SAC) for one in found["pes"]]
    return steps(found["pes"]), all(np.isfinite(reached))


def _sooner(found: Climbs) -> tuple[str, Any]:
    pes, es = found["pes"], found["es"]
    middle = [np.median([first_at_least(one, SAC) for one in own]) for own in (pes, es)]
    return f"PES {steps(pes)}; full ES {steps(es)}", middle[0] < middle[1]


def _steadier(found: Climbs) -> tuple[str, Any]:
    single, pes = _ends(found["es-single"]), _ends(found["pes"])
    text = (
        f"final return {show(found['es-single'])}; PES {show(found['pes'])}; standard deviations "
        f"{single.std():.0f} and {pes.std():.0f}"
    )
    return text, np.median(single) >= np.median(pes) and single.std() < pes.std()


class Statement(NamedTuple):
    """A claim of a paper, the methods it is about, and what their trainings say of it."""

    claim: str
    source: str
    methods: tuple[str, ...]
    measure: Callable[[Climbs], tuple[str, Any]]


STATEMENTS = (
    Statement(
        f"PES swims further than truncated ES with the same K = {K}, whatever the seeds",
        PAPER,
        ("pes", "truncated-es"),
        _further,
    ),
    Statement(f"PES passes SAC's {SAC:.0f} on every seed", PAPER, ("pes",), _passes),
    Statement(
        f"PES is at SAC's {SAC:.0f} on fewer env steps than full ES", PAPER, ("pes", "es"), _sooner
    ),
    Statement(
        "ES-Single ends at least as high as PES, with less spread over the seeds",
        SINGLE,
        ("es-single", "pes"),
        _steadier,
    ),
)


def judge(found: Climbs, report: Report, under_way: Mapping[str, str] | None = None) -> None:
    """The claims about methods that were trained, or that say how far they are."""
    known = under_way or {}
    for one in STATEMENTS:
        missing = [name for name in one.methods if name not in found]
        if not missing:
            report.claim(one.claim, one.source, *one.measure(found))
        elif all(name in known for name in missing):
            report.claim(one.claim, one.source, "; ".join(known[name] for name in missing), None)


def figure(found: Climbs):
    """Returns against env steps, as far as all seeds of a method are."""
    fig, (axis,) = panels(1, size=(5.6, 4.0))
    for name, own in found.items():
        grid = np.linspace(0, min(one.env_steps[-1] for one in own), 101)
        values = [np.interp(grid, one.env_steps, one.returns) for one in own]
        curve(axis, grid, values, STYLES[name])
        axis.lines[-1].set(marker=STYLES[name].marker, markersize=5, markevery=0.15)
    axis.axhline(SAC, color="0.5", lw=0.8)
    axis.annotate("SAC", (0, SAC), **NOTE, ha="left", va="bottom")
    axis.set(xlabel="env steps", ylabel="return")
    axis.ticklabel_format(axis="x", style="sci", scilimits=(5, 5))
    axis.legend()
    return fig
