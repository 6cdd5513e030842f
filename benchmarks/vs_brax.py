"""Ours against Brax's own ``agents/es``: ``python -m benchmarks.vs_brax --out DIR``.

On Brax's halfcheetah (spring physics), in three parts: env steps per second of both ES in one
process and in turns; a search with equal budgets for Brax's ES, our ES and our ES-Single; and the
wall-clock time to a return of 1000 with what the search found, several seeds each. Brax's ES runs
with what won for ES-Single too, and the better of the two is what ours are compared with. Every run
is a process with one XLA thread, as many at once as there are cores, whatever the method. Compiling
is left out of all times; what it takes is shown for the two ES of the first part.

Writes DIR/vs_brax.json and DIR/vs_brax.md. Finished runs are kept in DIR/runs.jsonl, so that an
interrupted comparison goes on where it stopped; ``--quick`` shows in a minute that all of it runs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.climbers import EPISODE_LENGTH, brax_es, our_trainer
from pes_rl.comparison.statistics import (
    Estimate,
    estimate,
    first_at_least,
    ratio_of_medians,
)
from pes_rl.runtime import one_xla_thread

METHODS = ("brax es", "es", "es-single")
BRAX_TOO = "brax es, es-single's point"
GOAL = 1000.0
SEARCH_SEED = 1000
# What the search may choose from; steps of Adam, noise, population, network, segments.
PAIRS, NETWORKS, SEGMENTS = (4, 8, 16), ((), (32, 32, 32, 32)), (25, 50, 100)
STDS, RATES = (0.02, 0.3), (0.003, 0.1)


class Plan(NamedTuple):
    """How much is done: searched points, env steps of each and of a race, seeds, speed's pairs."""

    points: int
    search_env_steps: int
    race_env_steps: int
    eval_every: int
    seeds: int
    pairs: int
    turns: int


FULL = Plan(12, 400_000, 4_000_000, 64_000, 3, 64, 5)
QUICK = Plan(1, 24_000, 24_000, 8_000, 1, 4, 2)


def points(method: str, count: int) -> list[dict[str, Any]]:
    """Random settings; the i-th of every method share noise, population and network."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        std, rate = (math.exp(rng.uniform(*np.log(ends))) for ends in (STDS, RATES))
        point = {
            "num_pairs": int(rng.choice(PAIRS)),
            "perturb_std": float(f"{std:.2g}"),
            "learning_rate": float(f"{rate:.2g}"),
            "hidden_sizes": list(NETWORKS[rng.integers(len(NETWORKS))]),
        }
        segment = int(rng.choice(SEGMENTS))
        if method == "es-single":
            # One update per segment: smaller steps, as many in a row as fit into an episode.
            rate = point["learning_rate"] * math.sqrt(segment / EPISODE_LENGTH)
            point |= {"segment_length": segment, "learning_rate": float(f"{rate:.2g}")}
        found.append(point)
    return found


class Runs:
    """Runs by what they were asked; each in its own process, those on file not made again."""

    def __init__(self, path: Path):
        self._path, self._programs = path, path.parent.resolve() / "programs"
        lines = path.read_text().splitlines() if path.exists() else []
        self._done = {json.dumps(r["job"]): r["climb"] for r in map(json.loads, lines)}

    def __call__(self, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Climbs of all jobs, one on each core."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(self._one, jobs))

    def _one(self, job: dict[str, Any]) -> dict[str, Any]:
        key = json.dumps(job)
        if key not in self._done:
            command = [sys.executable, "-m", "benchmarks.climbers", key]
            # Compiled programs are kept for all methods alike: compiling is not timed here.
            environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(self._programs)}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                raise SystemExit(f"{key} failed:\n{done.stderr[-2000:]}")
            climb = json.loads(done.stdout.splitlines()[-1])
            self._done[key] = climb
            with self._path.open("a") as file:
                file.write(json.dumps({"job": job, "climb": climb}) + "\n")
            print(f"{key}: best {max(climb['returns']):.0f}", file=sys.stderr, flush=True)
        return self._done[key]


def speeds(plan: Plan) -> dict[str, Any]:
    """Env steps per second of both ES, in turns: an epoch of Brax's, then one of ours."""
    import jax

    jax.config.update("jax_enable_compilation_cache", False)  # to see what compiling takes
    settings = {
        "num_pairs": plan.pairs,
        "perturb_std": 0.05,
        "learning_rate": 0.01,
        "hidden_sizes": list(NETWORKS[1]),
    }
    trainer = our_trainer({**settings, "estimator": "es"}, seed=0)
    start = time.perf_counter()
    trainer.compile()
    compile_seconds = time.perf_counter() - start
    trainer.advance()
    per_update, own = 2 * plan.pairs * EPISODE_LENGTH, []

    def turn(_: float) -> bool:
        start = time.perf_counter()
        trainer.advance()
        own.append(per_update / (time.perf_counter() - start))
        return False

    climb = brax_es(settings, 0, (plan.turns + 1) * per_update, per_update, turn)
    theirs = per_update / np.diff(climb.seconds)  # of the turns after the first
    return {
        "population": 2 * plan.pairs,
        "brax_env_steps_per_second": round(float(np.median(theirs))),
        "our_env_steps_per_second": round(float(np.median(own))),
        "ratio": round(float(np.median(own[1:] / theirs)), 3),
        "brax_compile_seconds": climb.compile_seconds,
        "our_compile_seconds": round(compile_seconds, 1),
    }


def search(method: str, plan: Plan, runs: Runs) -> list[tuple[float, dict[str, Any]]]:
    """All points, best first: by the last two evaluations, since some begin well and get stuck."""
    budget = plan.search_env_steps
    jobs = [job(method, point, SEARCH_SEED, budget, plan) for point in points(method, plan.points)]
    climbs = runs(jobs)
    scores = [float(np.mean(climb["returns"][-2:])) for climb in climbs]
    ranked = sorted(
        zip(scores, (one["settings"] for one in jobs), strict=True), key=lambda x: -x[0]
    )
    return [(round(score, 1), settings) for score, settings in ranked]


def job(
    method: str, settings: dict[str, Any], seed: int, budget: int, plan: Plan
) -> dict[str, Any]:
    """What a process of `benchmarks.climbers` is asked."""
    return {
        "method": method,
        "settings": settings,
        "seed": seed,
        "num_env_steps": budget,
        "eval_every": plan.eval_every,
    }


def race(method: str, settings: dict[str, Any], plan: Plan, runs: Runs) -> list[dict[str, Any]]:
    """The reported seeds, each until the goal or the end of the budget."""
    jobs = [
        {**job(method, settings, seed, plan.race_env_steps, plan), "goal": GOAL}
        for seed in range(plan.seeds)
    ]
    return runs(jobs)


def reached(climbs: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """When each run got to the goal (infinity: never), when it ended, and the best it did."""
    found: dict[str, list[float]] = {
        key: [first_at_least(np.array(c[key]), np.array(c["returns"]), GOAL) for c in climbs]
        for key in ("seconds", "env_steps")
    }
    ends = [c["seconds"][-1] for c in climbs]
    return found | {"end_seconds": ends, "best": [max(c["returns"]) for c in climbs]}


def ratios(races: dict[str, Any]) -> dict[str, Estimate]:
    """Median times of ours over Brax's better one, with bootstrap intervals.

    A run of Brax's that never got there counts with the time after which it was stopped, so the
    ratios are then upper bounds.
    """
    brax = {
        name: np.minimum(races[name]["seconds"], races[name]["end_seconds"])
        for name in ("brax es", BRAX_TOO)
    }
    best = min(brax, key=lambda name: np.median(brax[name]))
    return {
        f"{name} / {best}": estimate(
            ratio_of_medians, np.array(races[name]["seconds"])[:, None], brax[best][:, None]
        )
        for name in METHODS[1:]
    }


def table(result: dict[str, Any]) -> str:
    """Markdown of everything."""
    speed = result["speed"]
    lines = [
        "# Against Brax's own ES",
        "",
        "`python -m benchmarks.vs_brax --out DIR`: Brax's halfcheetah, spring physics, episodes of "
        f"{EPISODE_LENGTH} env steps, one XLA thread on {result['device']}; "
        + ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        "",
        f"Population {speed['population']}, in turns in one process: Brax's ES "
        f"{speed['brax_env_steps_per_second']} env steps/s, ours "
        f"{speed['our_env_steps_per_second']}, ratio {speed['ratio']}. Compiling: Brax "
        f"{speed['brax_compile_seconds']} s, ours {speed['our_compile_seconds']} s.",
        "",
        f"Time to an evaluation of {GOAL:.0f} ({result['plan']['seeds']} seeds; updating only, "
        "neither compiling nor evaluating), with the best of "
        f"{result['plan']['points']} random settings each, and with the setting that won for "
        f"es-single, for at most {result['plan']['race_env_steps']:,} env steps:",
        "",
        "| method | settings | seconds, by seed | env steps, by seed | best evaluation |",
        "|---|---|---|---|---|",
    ]
    for name, one in result["races"].items():
        options = ", ".join(f"{key} {value}" for key, value in one["settings"].items())
        cells = (
            ", ".join("never" if math.isinf(x) else f"{x:,.0f}" for x in one[key])
            for key in ("seconds", "env_steps")
        )
        heights = ", ".join(f"{value:.0f}" for value in one["best"])
        lines.append(f"| {name} | {options} | {' | '.join(cells)} | {heights} |")
    lines.append("")
    for name, (value, low, high) in result["ratios"].items():
        baseline = result["races"][name.split(" / ")[1]]["seconds"]
        bound = "at most " if math.inf in baseline else ""
        lines.append(f"Ratio of median times, {name}: {bound}{value:.2f} [{low:.2f}, {high:.2f}].")
    if any(math.inf in one["seconds"] for one in result["races"].values()):
        lines.append("A run of Brax's that never got there counts with the time it was given.")
    return "\n".join(lines) + "\n"


def compare(out: Path, plan: Plan) -> dict[str, Any]:
    """All three parts."""
    import jax

    from pes_rl.storage.run_folder import versions

    runs, races = Runs(out / "runs.jsonl"), {}
    result: dict[str, Any] = {
        "plan": plan._asdict(),
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores",
        "versions": {name: versions()[name] for name in ("jax", "brax")},
        "speed": speeds(plan),
    }
    print(json.dumps(result["speed"]), file=sys.stderr, flush=True)
    result["searched"] = {method: search(method, plan, runs) for method in METHODS}
    best = {method: ranked[0][1] for method, ranked in result["searched"].items()}
    won = points("es-single", plan.points).index(best["es-single"])
    entries = {name: (name, best[name]) for name in METHODS}
    entries[BRAX_TOO] = ("brax es", points("brax es", plan.points)[won])
    for name, (method, settings) in entries.items():
        races[name] = {"settings": settings, **reached(race(method, settings, plan, runs))}
    return result | {"races": races, "ratios": ratios(races)}


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.vs_brax")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    one_xla_thread()
    result = compare(options.out, QUICK if options.quick else FULL)
    text = json.dumps(result, indent=1).replace("Infinity", "null").replace("NaN", "null")
    (options.out / "vs_brax.json").write_text(text + "\n")
    (options.out / "vs_brax.md").write_text(table(result))
    print(table(result))


if __name__ == "__main__":
    main()
