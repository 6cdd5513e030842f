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


UPDATE = "training/test_device_update.py"
FUSED = f"{UPDATE}::test_the_fused_update_agrees_with_the_reference[es-single]"
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
            f"{UPDATE}::test_paired_products_are_those_of_the_members[mlp-sizes1]",
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
        "host: reward shift of the wrong sign",
        "particles/host.py",
        "tally.reward - self._reward_shift * tally.steps",
        "tally.reward + self._reward_shift * tally.steps",
        (HOST,),
    ),
    Mutation(
        "host: members' rows are swapped",
        "particles/host.py",
        "theta.reshape(n, -1)",
        "theta[:, ::-1].reshape(n, -1)",
        (HOST,),
    ),
    Mutation(
        "host: simulations that broke down count",
        "particles/host.py",
        "tally.unstable[rows] |= unstable",
        "tally.unstable[rows] |= False",
        (BROKEN,),
    ),
    Mutation(
        "host: simulations that broke down are observed",
        "particles/host.py",
        "np.repeat(~segment.invalid.any(axis=1), 2)",
        "np.ones(2 * self._num_pairs, bool)",
        (BROKEN,),
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
