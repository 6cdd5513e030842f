"""Break the estimators on purpose and see the tests notice: ``python -m tests.tools.mutations``.

Each mutation replaces one piece of source in a temporary copy of the package and runs the tests
that should fail. Exits with 1 if one goes unnoticed, or if the tests fail without any mutation.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CORE, SHAPING = "estimators/core.py", "estimators/shaping.py"
REFERENCE = "estimators/test_estimators.py::test_agrees_with_reference"
EARLY = "estimators/test_unbiased.py::test_gradient_with_early_termination"
QUADRATIC = "estimators/test_unbiased.py::test_linear_quadratic_gradient"
BY_HAND = "estimators/test_contract.py::test_one_update_by_hand"


DEVICE = "training/test_device_update.py"
ENGINE = "envs/test_mujoco_engine.py"
UPDATE, CREDIT = "training/update.py", "training/credit.py"
MEANS = ("training/test_credit.py::test_the_mean_is_the_gradient_whatever_the_baseline_says",)
FUSED = f"{DEVICE}::test_the_fused_update_agrees_with_the_reference[es-single]"
PLACED = "training/test_placement.py::test_gradients_do_not_depend_on_placement_in_float64"
HOST = "training/test_host_update.py::test_updates_agree_with_the_reference[es-single-float64]"
BROKEN = "training/test_host_update.py::test_broken_simulations_agree_with_the_reference[pes]"


class Mutation(NamedTuple):
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


RESTART_TESTS = (
    f"{EARLY}[es-single-1-None]",
    f"{EARLY}[pes-2-None]",
    f"{REFERENCE}[lock-step-pes]",
)
SCALE_TESTS = (f"{QUADRATIC}[es-8-None]", f"{QUADRATIC}[pes-2-None]", f"{BY_HAND}[es]")
MUTATIONS = [
    Mutation(
        "both members restart when one ends",
        CORE,
        "segment.ended.all(axis=1)",
        "segment.ended.any(axis=1)",
        RESTART_TESTS,
    ),
    Mutation(
        "only the plus member's flag restarts the pair",
        CORE,
        "segment.ended.all(axis=1)",
        "segment.ended[:, 0]",
        RESTART_TESTS,
    ),
    Mutation(
        "minus member runs with theta + sigma eps",
        CORE,
        "[theta + step, theta - step]",
        "[theta + step, theta + step]",
        SCALE_TESTS[:2],
    ),
    Mutation(
        "minus member's loss added instead of subtracted",
        SHAPING,
        "loss[:, 0] - loss[:, 1]",
        "loss[:, 0] + loss[:, 1]",
        SCALE_TESTS,
    ),
    Mutation(
        "missing 1/2",
        CORE,
        "2 * perturb_std * count",
        "perturb_std * count",
        SCALE_TESTS,
    ),
    Mutation(
        "accumulator not reset at restart",
        CORE,
        "jnp.where(restart[:, None], 0, accumulator)",
        "accumulator",
        (f"{REFERENCE}[lock-step-pes]", f"{REFERENCE}[staggered-gpes]"),
    ),
    Mutation(
        "es-single draws new noise every segment",
        "estimators/es_single.py",
        "period=None",
        "period=segment_length",
        (f"{QUADRATIC}[es-single-2-None]", f"{REFERENCE}[lock-step-es-single]"),
    ),
    Mutation(
        "std includes dead members",
        SHAPING,
        "_variance(loss, live)\n        if",
        "_variance(loss, jnp.ones_like(live))\n        if",
        (
            "estimators/test_shaping.py::test_std_is_that_of_live_members",
            "estimators/test_estimators.py::test_agrees_with_reference_when_shaped[std-pes]",
        ),
    ),
    Mutation(
        "divisor is the number of live pairs",
        CORE,
        "2 * perturb_std * count",
        "2 * perturb_std * jnp.maximum(live.any(axis=1).sum(), 1)",
        # Seen by hand only: at a segment's start every pair that is not invalid has a live member.
        (f"{BY_HAND}[pes]",),
    ),
    Mutation(
        "divisor is half the number of live members",
        CORE,
        "2 * perturb_std * count",
        "perturb_std * jnp.maximum(live.sum(), 1)",
        (f"{BY_HAND}[pes]", f"{REFERENCE}[lock-step-es-single]"),
    ),
    Mutation(
        "device: ended members are observed",
        "particles/device.py",
        "jnp.where(live[..., None], seen - norm.shift, 0)",
        "seen - norm.shift",
        (FUSED,),
    ),
    Mutation(
        "device: members live on beyond the step limit",
        "particles/device.py",
        "live = ~state.ended & allowed[:, None]",
        "live = ~state.ended",
        (FUSED,),
    ),
    Mutation(
        "device: both members run with theta + sigma eps",
        "particles/paired.py",
        "[[1], [-1]]",
        "[[1], [1]]",
        (
            f"{DEVICE}::test_paired_products_are_those_of_the_members[mlp-sizes1]",
            FUSED,
        ),
    ),
    Mutation(
        "device: only the pairs of one device are summed",
        "training/placement.py",
        "gather(sums).sum(axis=0)",
        "sums.sum(axis=0)",
        (PLACED,),
    ),
    Mutation(
        "device: start states by position on the device",
        "particles/device.py",
        "state.episodes, state.pair)",
        "state.episodes)",
        (PLACED,),
    ),
    Mutation(
        "update: reward shift of the wrong sign",
        "training/credit.py",
        "segment.loss + lost",
        "segment.loss - lost",
        (HOST, FUSED),
    ),
    Mutation(
        "host: members' rows are swapped",
        "particles/host.py",
        "theta.reshape(2 * n, -1)",
        "theta[:, ::-1].reshape(2 * n, -1)",
        (HOST,),
    ),
    Mutation(
        "host: simulations that broke down count",
        "particles/crew.py",
        "(gains.unstable & ~dead).any(axis=0)",
        "False",
        (BROKEN,),
    ),
    Mutation(
        "host: what a particle does after its end is observed",
        "particles/crew.py",
        "deviations[dead] = 0.0",
        "pass",
        (f"{ENGINE}::test_rewards_worked_out_later_have_the_same_bits[Hopper-False]",),
    ),
    Mutation(
        "host: a simulation that breaks down is not looked for step by step",
        "envs/mujoco_engine.py",
        "self._again(np.flatnonzero(broken), gains)",
        "unstable[:, broken] = True",
        (f"{ENGINE}::test_rewards_worked_out_later_have_the_same_bits[HalfCheetah-True]",),
    ),
    Mutation(
        "update: simulations that broke down are observed",
        UPDATE,
        "valid = ~rollout.segment.invalid.any(axis=1)",
        "valid = jnp.ones(len(rollout.segment.invalid), bool)",
        (BROKEN, f"{DEVICE}::test_a_broken_simulation_marks_its_pair_and_spares_the_rest"),
    ),
    Mutation(
        "update: the mean return has the shifted reward",
        UPDATE,
        "_totals(plan, rollout, placement)",
        "_totals(plan, shifted, placement)",
        (HOST, FUSED),
    ),
    Mutation(
        "update: the schedule begins with the steps of this update",
        UPDATE,
        "rate = learning_rate(config, state.env_steps)",
        "rate = learning_rate(config, state.env_steps.plus(jnp.uint32(1000)))",
        (
            f"{DEVICE}::test_schedules_follow_env_steps_inside_the_program",
            "runs/test_run.py::test_the_schedule_is_absolute_in_env_steps",
        ),
    ),
    Mutation(
        "update: momentum and decay move theta where shaping refused",
        "training/descent.py",
        "jnp.where(refused, old, new)",
        "new",
        ("runs/test_loop.py::test_refused_updates_move_nothing",),
    ),
    Mutation(
        "credit: what was expected is added",
        CREDIT,
        "* after - before",
        "* after + before",
        MEANS,
    ),
    Mutation(
        "credit: the baseline has learned of the draws that it judges",
        CREDIT,
        "baseline.value(state.baseline, inputs",
        "baseline.value(baseline.learn(state.baseline, lesson), inputs",
        MEANS,
    ),
    Mutation(
        "credit: something is expected of the dead",
        CREDIT,
        "jnp.where(segment.ended, 0, value[..., 1])",
        "value[..., 1]",
        MEANS,
    ),
    Mutation(
        "credit: a device looks at particles beyond their cut",
        "particles/device.py",
        "jnp.where(live[..., None], then, way.deviation[:, :, -1])",
        "then",
        ("training/test_host_update.py::test_host_and_device_charge_alike[pes-fields1]",),
    ),
    Mutation(
        "decay: noise in force fades too",
        CORE,
        "decay * (kept - held) + held",
        "decay * kept",
        ("training/test_host_update.py::test_charged_losses_agree_with_the_reference",),
    ),
    Mutation(
        "run: the first checkpoint counts as training",
        "runs/loop.py",
        "    output.start()\n",
        "",
        ("runs/test_loop.py::test_the_first_row_s_speed_leaves_out_the_first_checkpoint",),
    ),
]


def run_tests(folder: Path, tests: list[str]) -> tuple[list[str], str]:
    """Names of the failing tests, and pytest's last line."""
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "--tb=no", "-p", "no:cacheprovider"]
    command += [f"tests/{test}" for test in tests]
    # With -m the working directory comes first on the path, before the installed package.
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    if done.returncode not in (0, 1):  # 1: some tests failed
        raise RuntimeError(f"pytest could not run:\n{done.stdout}{done.stderr}")
    failed = re.findall(r"^FAILED tests/(\S+)", done.stdout, re.MULTILINE)
    return failed, done.stdout.strip().splitlines()[-1]


def mutate(folder: Path, mutation: Mutation) -> None:
    path = folder / "pes_rl" / mutation.file
    source = path.read_text()
    if source.count(mutation.old) != 1:
        raise RuntimeError(f"{mutation.name}: {mutation.old!r} is not once in {mutation.file}")
    path.write_text(source.replace(mutation.old, mutation.new))


def main() -> int:
    """Run everything; the exit code says whether every mutation was noticed."""
    unnoticed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "tests", folder / "tests")
        shutil.copy(ROOT / "pyproject.toml", folder)
        for mutation in [None, *MUTATIONS]:
            shutil.rmtree(folder / "pes_rl", ignore_errors=True)
            shutil.copytree(ROOT / "pes_rl", folder / "pes_rl")
            if mutation is None:
                failed, summary = run_tests(folder, sorted({t for m in MUTATIONS for t in m.tests}))
                unnoticed += bool(failed)
                print(f"no mutation: {summary}", flush=True)
                continue
            mutate(folder, mutation)
            failed, _ = run_tests(folder, list(mutation.tests))
            unnoticed += not failed
            verdict = ", ".join(failed) if failed else "NOT NOTICED"
            print(
                f"{mutation.name}: {len(failed)} of {len(mutation.tests)} fail: {verdict}",
                flush=True,
            )
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
