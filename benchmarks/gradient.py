"""How well estimators see the gradient: ``python -m benchmarks.gradient --env HalfCheetah``.

The frozen-theta bench. A run of the default estimator is stopped at three stages. At each the
gradient of the mean episode return (smoothed over perturbations) is estimated from many
whole-episode pairs, in two halves whose cosine says how good that reference is. Then every
estimator gets batches of equal env steps at that theta, with the observation normaliser held still,
and is asked for its gradient:

  cosine      of one batch with the reference, mean and 95 % interval over batches; at a fixed
              relative step length, progress per env step goes like its square
  asymptote   cosine of the mean of all batches: below 1 by bias and by what noise is left
  split       cosine of the reference's halves

Cosines are divided by the root of the reference's reliability, which its own noise takes from all
alike. Each estimator runs an episode's worth of updates (and a baseline ``--warmup`` env steps)
before it is asked. Writes DIR/ENV.json, and of all results there DIR/table.md and DIR/signal.png.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmarks.curves import Options
from pes_rl.styles import FIGURE, STYLES

# Env steps of the stages, and of one batch.
STAGES = {
    "Swimmer": (0, 20_000, 100_000),
    "HalfCheetah": (0, 200_000, 1_500_000),
    "Hopper": (0, 100_000, 1_000_000),
    "Walker2d": (0, 200_000, 2_000_000),
    "Ant": (0, 200_000, 1_000_000),
}
SEGMENT = 50
PLAIN: Options = {"estimator": "pes", "discount": 1.0, "trace_decay": 1.0, "baseline": "none"}
VALUE = PLAIN | {"baseline": "quadratic"}
ESTIMATORS: dict[str, Options] = {
    "es": {"estimator": "es"},
    "es-single": {"estimator": "es-single"},
    "truncated-es": {"estimator": "truncated-es"},
    "pes": PLAIN,
    "pes, decay .6": PLAIN | {"trace_decay": 0.6},
    "value": VALUE,
    "value, .998": VALUE | {"discount": 0.998, "trace_decay": 0.95},
    "value, .99": VALUE | {"discount": 0.99, "trace_decay": 0.9},
    "value, .99, mlp": VALUE | {"baseline": "mlp", "discount": 0.99, "trace_decay": 0.9},
    "value, .99, decay 0": VALUE | {"discount": 0.99, "trace_decay": 0.0},
}


class Frozen(NamedTuple):
    """A policy in training that is held still: theta [P] and the normalisation in force."""

    theta: np.ndarray
    norm: Any
    env_steps: int
    score: float | None


def stages(env: str, at: tuple[int, ...], seed: int) -> Iterator[Frozen]:
    """A run of the default estimator at some env steps; at 0 its normaliser has seen one update."""
    from pes_rl.config import build_config
    from pes_rl.training.host import HostTrainer

    trainer = HostTrainer(build_config({"env": env, "seed": seed, "num_threads": 1}))
    first = trainer.theta
    for wanted in at:
        while trainer.env_steps < max(wanted, 1):
            trainer.advance()
        theta = trainer.theta if wanted else first
        norm = trainer.normalizer.affine()
        if not trainer.config.normalize_observations:
            norm = norm.identity(len(norm.shift))
        score = round(float(trainer.evaluate().returns.mean()), 1) if wanted else None
        yield Frozen(theta, norm, wanted, score)


def gradients(
    frozen: Frozen, options: Options, batch: int, batches: int, warmup: int
) -> np.ndarray:
    """Mean gradients [batches, P] of an estimator, each from ``batch`` env steps or just more."""
    import jax

    from pes_rl.config import build_config
    from pes_rl.envs.make import make_simulator
    from pes_rl.estimators import ALL_HERE, members
    from pes_rl.particles.host import HostPopulation
    from pes_rl.policies import make_policy
    from pes_rl.training.credit import configured_spacing, make_credit
    from pes_rl.training.programs import host_math, num_inputs
    from pes_rl.training.update import configured_estimator

    config = build_config({"shaping": "none", "num_top_pairs": None, **options})
    simulator = make_simulator(config.environment, config.engine, config.num_particles, 1)
    size = num_inputs(config, simulator.observation_size)
    policy = make_policy(config.policy, size, simulator.action.size, (), config.activation)
    population = HostPopulation(
        simulator,
        policy,
        config.num_pairs,
        config.seed,
        spacing=configured_spacing(config),
    )
    estimator, credit = configured_estimator(config), make_credit(config, size, ALL_HERE)

    @jax.jit
    def ask(state: Any) -> Any:
        plan, state = estimator.perturb(state)
        return plan, members(frozen.theta, plan.noise, config.perturb_std), state

    @jax.jit
    def tell(state: Any, expected: Any, plan: Any, rollout: Any) -> Any:
        segment, expected = credit.charge(expected, plan, rollout, frozen.norm)
        gradient, state, _ = estimator.gradient(state, segment)
        return gradient, state, expected

    with host_math():
        key = jax.random.key(config.seed)
        state, expected = estimator.init(key, frozen.theta), credit.init(key, frozen.theta)

        def several(env_steps: int, updates: int) -> np.ndarray:
            """The sum of the gradients of at least so many env steps and updates."""
            nonlocal state, expected
            total, steps, made = np.zeros(frozen.theta.size), 0, 0
            while steps < env_steps or made < updates:
                plan, theta, state = ask(state)
                arrays = map(np.asarray, (theta, plan.restart, plan.step_limit))
                rollout = population.unroll(*arrays, frozen.norm)
                gradient, state, expected = tell(state, expected, plan, rollout)
                total += np.asarray(gradient)
                steps, made = steps + int(rollout.segment.steps.sum()), made + 1
            return total

        if config.segment_length:
            several(warmup, -(-config.horizon // config.segment_length))
        return np.array([several(batch, 1) for _ in range(batches)])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def judged(found: np.ndarray, reference: np.ndarray, reliability: float) -> dict[str, float]:
    """An estimator's gradients [batches, P] against the reference [P]."""
    root = np.sqrt(reliability)
    each = np.array([cosine(one, reference) for one in found]) / root
    half = stats.t.ppf(0.975, len(each) - 1) * stats.sem(each)
    return {
        "cosine": round(float(each.mean()), 4),
        "interval": round(float(half), 4),
        "asymptote": round(float(cosine(found.mean(axis=0), reference) / root), 4),
    }


def whole_episode(env: str) -> int:
    """The task's time limit, env steps."""
    from pes_rl.config import build_config

    return build_config({"env": env}).episode_length


def bench(env: str, names: list[str], args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A result for every stage."""
    for frozen in stages(env, STAGES[env], args.seed):
        options = {"env": env, "seed": args.seed + 1, "num_threads": 1, "num_pairs": args.num_pairs}
        options |= {"perturb_std": args.perturb_std, "reward_shift": 0.0}
        options |= {"horizon": whole_episode(env)}
        whole = options | ESTIMATORS["es"]
        split = gradients(frozen, whole, args.reference // 8, 8, 0)
        halves = split[::2].mean(axis=0), split[1::2].mean(axis=0)
        agreed = max(cosine(*halves), 1e-3)
        reference, reliability = split.mean(axis=0), 2 * agreed / (1 + agreed)
        stage = {"env_steps": frozen.env_steps, "return": frozen.score, "split": round(agreed, 4)}
        found: dict[str, Any] = {}
        for name in names:
            own = options | ESTIMATORS[name] | {"seed": args.seed + 2}
            if name == "es":  # whole episodes, no more of them than fit a batch
                own["num_pairs"] = max(1, args.batch // (2 * whole_episode(env)))
            else:
                own["segment_length"] = SEGMENT
            made = gradients(frozen, own, args.batch, args.batches, args.warmup)
            found[name] = judged(made, reference, reliability)
            print(env, stage, name, found[name], flush=True)
        yield stage | {"estimators": found}


def draw(folder: Path) -> None:
    """DIR/table.md and DIR/signal.png of all results in DIR."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(FIGURE)
    results = {e: json.loads(p.read_text()) for e in STAGES if (p := folder / f"{e}.json").exists()}
    figure = Figure(figsize=(9, 2.2 * len(results)), layout="constrained")
    axes = figure.subplots(len(results), 3, squeeze=False, sharey=True, sharex=True)
    for row, (env, result) in zip(axes, results.items(), strict=True):
        for axis, stage in zip(row, result["stages"], strict=True):
            found = stage["estimators"]
            places = np.arange(len(found))[::-1]
            axis.barh(
                places,
                [one["cosine"] for one in found.values()],
                xerr=[one["interval"] for one in found.values()],
                color=STYLES["es-single"].color,
                alpha=0.7,
            )
            axis.plot([one["asymptote"] for one in found.values()], places, "k|", markersize=9)
            axis.set_yticks(places, list(found), fontsize=7)
            axis.set_title(f"{env}, {stage_name(stage)}", fontsize=8)
            axis.axvline(0, color="k", linewidth=0.5)
            axis.set_xlim(-0.4, 1.05)
    figure.supxlabel("cosine of one batch with the reference; | asymptote")
    figure.savefig(folder / "signal.png")
    (folder / "table.md").write_text("\n\n".join(table(e, r) for e, r in results.items()) + "\n")


def stage_name(stage: dict[str, Any]) -> str:
    """``"start"``, or the env steps and the return."""
    if stage["env_steps"] == 0:
        return "start"
    return f"{stage['env_steps'] / 1e3:.0f} k env steps, return {stage['return']:.0f}"


def table(env: str, result: dict[str, Any]) -> str:
    """Markdown of one task: a cosine ± its interval (asymptote) for each stage."""
    stages = result["stages"]
    head = " | ".join(f"{stage_name(s)} (split {s['split']:.2f})" for s in stages)
    lines = [f"## {env}", "", f"`{result['command']}`", "", f"| | {head} |", "|---" * 4 + "|"]
    for name in stages[0]["estimators"]:
        cells = [s["estimators"][name] for s in stages]
        text = (f"{c['cosine']:.2f} ± {c['interval']:.2f} ({c['asymptote']:.2f})" for c in cells)
        lines.append(f"| {name} | {' | '.join(text)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.gradient")
    parser.add_argument("--env", choices=STAGES, help="none: only draw")
    parser.add_argument("--estimators", nargs="+", choices=ESTIMATORS, default=list(ESTIMATORS))
    parser.add_argument("--num-pairs", type=int, default=16)
    parser.add_argument("--perturb-std", type=float, default=0.03)
    parser.add_argument("--batch", type=int, default=50_000, help="env steps")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--reference", type=int, default=2_000_000, help="env steps")
    parser.add_argument("--warmup", type=int, default=50_000, help="env steps")
    parser.add_argument("--seed", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path("docs/signal"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.env:
        flags = f"--batch {args.batch} --batches {args.batches} --reference {args.reference}"
        flags += f" --num-pairs {args.num_pairs} --perturb-std {args.perturb_std}"
        if args.estimators != list(ESTIMATORS):
            flags = f"--estimators {shlex.join(args.estimators)} {flags}"
        command = f"python -m benchmarks.gradient --env {args.env} {flags} --seed {args.seed}"
        found = list(bench(args.env, args.estimators, args))
        text = json.dumps({"command": command, "stages": found}, indent=1)
        (args.out / f"{args.env}.json").write_text(text + "\n")
    draw(args.out)


if __name__ == "__main__":
    main()
