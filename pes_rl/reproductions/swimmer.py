"""Swimmer as the PES paper has it: a linear policy, and the estimators' curves over seeds."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pes_rl.config import Config, build_config
from pes_rl.reproductions.climbs import Climb, climb, first_at_least
from pes_rl.reproductions.experiment import Experiment, Report
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


class Size(NamedTuple):
    """Methods, seeds, env steps of every training, env steps between scores."""

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    env_steps: int
    eval_every: int


PAPERS = Size(tuple(AUTHORS), (3, 5, 7, 11, 13, 23), 500_000, 10_000)
REDUCED = Size(tuple(AUTHORS), (3, 5, 7), 200_000, 10_000)
QUICK = Size(("pes", "truncated-es"), (3,), 60_000, 20_000)


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


def show(climbs: list[Climb]) -> str:
    """Final returns over the seeds."""
    ends = np.array([one.returns[-1] for one in climbs])
    return f"{np.median(ends):.0f} ({ends.min():.0f} to {ends.max():.0f})"


def steps(climbs: list[Climb]) -> str:
    """Env steps to SAC's return, over the seeds."""
    reached = [first_at_least(one, SAC) for one in climbs]
    middle = float(np.median(reached))
    there = f"{sum(np.isfinite(reached))} of {len(reached)} seeds"
    return f"{there}, median {middle:,.0f} env steps" if np.isfinite(middle) else there


def judge(found: dict[str, list[Climb]], report: Report) -> None:
    """The claims, as far as the methods are there."""
    ends = {name: np.array([one.returns[-1] for one in own]) for name, own in found.items()}
    report.claim(
        f"PES swims further than truncated ES with the same K = {K}, whatever the seeds",
        PAPER,
        f"final return {show(found['pes'])}; truncated ES {show(found['truncated-es'])}",
        ends["pes"].min() > ends["truncated-es"].max(),
    )
    report.claim(
        f"PES passes SAC's {SAC:.0f} on every seed",
        PAPER,
        steps(found["pes"]),
        all(np.isfinite(first_at_least(one, SAC)) for one in found["pes"]),
    )
    if "es" in found:
        reached = {n: np.median([first_at_least(c, SAC) for c in found[n]]) for n in ("pes", "es")}
        report.claim(
            f"PES is at SAC's {SAC:.0f} on fewer env steps than full ES",
            PAPER,
            f"PES {steps(found['pes'])}; full ES {steps(found['es'])}",
            reached["pes"] < reached["es"],
        )
    if "es-single" in found:
        single, pes = ends["es-single"], ends["pes"]
        report.claim(
            "ES-Single ends at least as high as PES, with less spread over the seeds",
            SINGLE,
            f"final return {show(found['es-single'])}; PES {show(found['pes'])}; standard "
            f"deviations {single.std():.0f} and {pes.std():.0f}",
            np.median(single) >= np.median(pes) and single.std() < pes.std(),
        )


def figure(found: dict[str, list[Climb]], size: Size):
    """Returns against env steps."""
    fig, (axis,) = panels(1, size=(5.6, 4.0))
    grid = np.linspace(0, size.env_steps, 101)
    for name, own in found.items():
        values = [np.interp(grid, one.env_steps, one.returns) for one in own]
        curve(axis, grid, values, STYLES[name])
        axis.lines[-1].set(marker=STYLES[name].marker, markersize=5, markevery=0.15)
    axis.axhline(SAC, color="0.5", lw=0.8)
    axis.annotate("SAC", (0, SAC), **NOTE, ha="left", va="bottom")
    axis.set(xlabel="env steps", ylabel="return")
    axis.ticklabel_format(axis="x", style="sci", scilimits=(5, 5))
    axis.legend()
    return fig


def train_all(size: Size, folder: Path, report: Report) -> dict[str, list[Climb]]:
    """Every method on every seed, in folders of their own; says what is found, and the time."""
    found: dict[str, list[Climb]] = {}
    total = len(size.methods) * len(size.seeds) * size.env_steps
    began: list[float] = []

    def scored(label: str, env_steps: int, before: bool) -> None:
        if before:
            report.note(f"{label} goes on from {env_steps:,} env steps")
        began.append(time.monotonic())
        if len(began) == 2:  # the second one comes after the first steps
            minutes = (began[1] - began[0]) / size.eval_every * total / 60
            report.note(f"{total:,} env steps of training in all, about {minutes:.0f} min")

    for name in size.methods:
        found[name] = []
        for seed in size.seeds:
            label = f"{name}-{seed}"
            one = climb(config(name, seed, size), folder / label, partial(scored, label))
            found[name].append(one)
        report.note(f"{name}: {show(found[name])}; {SAC:.0f} reached by {steps(found[name])}")
    return found


def run(quick: bool, report: Report) -> None:
    """Fewer seeds and steps than the paper."""
    compute(QUICK if quick else REDUCED, report)


def run_papers(report: Report) -> None:
    """The paper's size."""
    compute(PAPERS, report)


def compute(size: Size, report: Report) -> None:
    """Train, draw, judge; trainings that were cut off go on."""
    settings = {
        name: {"perturb_std": std, "authors_step": step, "learning_rate": 2 * std * step}
        for name, (std, step) in AUTHORS.items()
        if name in size.methods
    }
    report.setting(
        **size._asdict(),
        env="Swimmer-v5 (the papers: v2)",
        policy="linear",
        pairs=PAIRS,
        horizon=T,
        segment_length=K,
        shaping="std",
        optimizer="sgd",
        settings=settings,
        eval_episodes="3 (the authors: 50)",
    )
    folder = report.out / "trainings"
    found = train_all(size, folder, report)
    report.result(
        climbs={
            name: {seed: one._asdict() for seed, one in zip(size.seeds, own, strict=True)}
            for name, own in found.items()
        }
    )
    judge(found, report)
    report.figure("swimmer", figure(found, size))
    shutil.rmtree(folder)


EXPERIMENT = Experiment(
    name="swimmer",
    description="a linear policy swims: PES, truncated and full ES, ES-Single",
    source="Vicol, Metz and Sohl-Dickstein 2021, reinforcement learning",
    minutes=10,
    run=run,
    run_papers=run_papers,
)
