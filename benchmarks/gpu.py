"""Training speed on an accelerator: ``python -m benchmarks.gpu --out DIR``, under ten minutes.

Writes ``gpu.json`` and ``gpu.md``: env steps per second and peak memory of HalfCheetah on Brax's
spring physics and on MJX over populations of 1 k to 64 k pairs, then the wall-clock time to a
return of 3430 on MJX, with what the policy scores in Gymnasium. Every row of the table has a
process of its own, so that peaks of memory are its own and a failure is one line. They compile all
at once, and make their first update then (Warp compiles its kernels in it); they are timed one
after the other. What does not fit into the time is left out and said to be. ``--quick`` shows on a
CPU that all of it runs.

``--part NAME`` is one row of the table of six tasks instead, see `benchmarks.gpu_tasks`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks import gpu_ppo, gpu_tasks

ENGINES: dict[str, dict[str, Any]] = {
    "brax spring": {"env": "brax/halfcheetah", "backend": "spring"},
    "mjx jax": {"env": "HalfCheetah", "engine": "mjx", "backend": "jax"},
    "mjx warp": {"env": "HalfCheetah", "engine": "mjx", "backend": "warp"},
}
PAIRS = (1024, 4096, 16_384, 65_536)
THRESHOLD = 3430.0
# The best of six settings of 256 pairs, tried by hand on the C engine, and twice its rate for 1024.
CLIMBS: tuple[dict[str, Any], ...] = (
    {"estimator": "es-single", "num_pairs": 256, "perturb_std": 0.06, "learning_rate": 1.2e-2},
    {"estimator": "es-single", "num_pairs": 1024, "perturb_std": 0.06, "learning_rate": 2.4e-2},
)
SEEDS = (0, 1, 2)
EVAL_UPDATES = 20  # an evaluation is as many steps one after the other as 20 updates
_DRY = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
QUICK: dict[str, Any] = {
    "env": "InvertedPendulum",  # compiles fastest
    "engine": "mjx",
    "segment_length": 2,
    "horizon": 10,
    "eval_episodes": 1,
}


def speed(fields: dict[str, Any], num_pairs: int, seconds: float) -> dict[str, Any]:
    """One population; after its first update it waits for a line of input, then is timed."""
    import jax

    from pes_rl.config import build_config
    from pes_rl.training import memory
    from pes_rl.training.device import DeviceTrainer

    config = build_config({**fields, "num_pairs": num_pairs, "eval_every": 1})
    trainer = DeviceTrainer(config)
    start = time.perf_counter()
    used = memory.peak(trainer.compile())
    compiled = time.perf_counter()
    trainer.advance()
    ready = time.perf_counter()
    print("{}", flush=True)
    sys.stdin.readline()
    begin, first, updates = time.perf_counter(), trainer.env_steps, 0
    while time.perf_counter() - begin < seconds:
        trainer.advance()
        updates += 1
    elapsed = time.perf_counter() - begin
    stats = jax.devices()[0].memory_stats() or {}
    return {
        "num_pairs": num_pairs,
        "env_steps_per_second": round((trainer.env_steps - first) / elapsed),
        "updates": updates,
        "compile_seconds": round(compiled - start, 1),
        "first_update_seconds": round(ready - compiled, 1),
        "predicted_bytes": trainer.prediction.total,
        "program_bytes": used,
        "peak_bytes": stats.get("peak_bytes_in_use"),
        "device": jax.devices()[0].device_kind,
    }


def climb(fields: dict[str, Any], seconds: float) -> dict[str, Any]:
    """`climb_in`, in a run folder that is then forgotten."""
    with tempfile.TemporaryDirectory() as folder:
        return climb_in(Path(folder) / "run", fields, seconds)


def climb_in(folder: Path, fields: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Train until an evaluation reaches the threshold, then score the policy in Gymnasium."""
    from pes_rl.api import train
    from pes_rl.evaluation import evaluate
    from pes_rl.storage.checkpoint import load_latest

    reached: list[float] = []
    evaluations: list[tuple[int, float, float]] = []  # env steps, seconds, return
    start = time.perf_counter()

    def stop(row: dict[str, Any]) -> bool:
        value, now = row.get("eval/episode_return"), time.perf_counter() - start
        if value is not None:
            evaluations.append((row["env_steps"], round(now, 1), round(value, 1)))
            if value >= THRESHOLD and not reached:
                reached.append(now)
        return bool(reached) or now > seconds

    run = train(
        **fields,
        num_env_steps=10**12,
        eval_every=EVAL_UPDATES * 2 * fields["num_pairs"] * fields.get("segment_length", 50),
        checkpoint_every=10**12,
        run_dir=folder,
        callback=stop,
    )
    official = evaluate(run.path, episodes=2 if "horizon" in fields else 20)
    return {
        "num_pairs": fields["num_pairs"],
        "seed": fields["seed"],
        "seconds_to_threshold": round(reached[0], 1) if reached else None,
        "seconds": round(time.perf_counter() - start, 1),
        "env_steps": load_latest(run.path).meta["env_steps"],
        "best_return": run.best_return,
        "gymnasium_return": official["episode_return_mean"],
        "gymnasium_interval": official["episode_return_interval"],
        "evaluations": evaluations,
    }


def child(job: dict[str, Any]) -> None:
    """One row, printed as a line of JSON."""
    from pes_rl.runtime import one_xla_thread

    one_xla_thread()
    does = {"speed": speed, "climb": climb, "ours": gpu_tasks.ours, "ppo": gpu_ppo.ppo}
    print(json.dumps(does[job.pop("do")](**job)), flush=True)


class Child:
    """A process that makes one row, or says why it did not."""

    def __init__(self, job: dict[str, Any], deadline: float):
        environment = {
            **os.environ,
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # there are several of them
            "JAX_ENABLE_COMPILATION_CACHE": "false",  # to see what compiling takes
            **(_DRY if job.get("dry") else {}),
        }
        handle, name = tempfile.mkstemp()
        self._errors = Path(name)
        with os.fdopen(handle, "w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu", "--job", json.dumps(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
            )
        self._late = threading.Timer(max(deadline - time.perf_counter(), 0), self._process.kill)
        self._late.start()
        self.problem: str | None = None

    def line(self) -> dict[str, Any] | None:
        """The next line of JSON; None, and a ``problem``, when there is no more."""
        assert self._process.stdout is not None
        for text in self._process.stdout:
            if text.startswith("{") and text.endswith("\n"):
                return json.loads(text)
        late = self._late.finished.is_set()
        problem = (self._errors.read_text().strip() or "failed").splitlines()[-1]
        self.problem = "no time left" if late else problem
        return None

    def go(self) -> dict[str, Any] | None:
        """Let it be timed; its row."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return self.line()

    def end(self) -> None:
        """Wait for it, or at the deadline end it."""
        self._process.wait()
        self._late.cancel()
        self._errors.unlink()


def part(name: str, out: Path, seed: int, seconds: float, dry: bool) -> None:
    """One part in a process of its own, which keeps its row on disk; here only why it failed."""
    task, method = name.removesuffix("-ppo"), "ppo" if name.endswith("-ppo") else "ours"
    deadline = time.perf_counter() + seconds
    train = max(seconds - gpu_tasks.RESERVE, seconds / 2)
    job = {"do": method, "out": str(out), "task": task, "seed": seed, "seconds": train, "dry": dry}
    process = Child(job, deadline)
    found = process.line()
    process.end()
    if found is None:
        path = gpu_tasks.row_path(out, name, seed, dry)
        row = json.loads(path.read_text()) if path.exists() else None
        row = row or {"part": name, "seed": seed, "dry_run": dry, "evaluations": []}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**row, "problem": process.problem}) + "\n")


def report(result: dict[str, Any]) -> str:
    """The tables as Markdown."""
    versions = ", ".join(f"{name} {v}" for name, v in result["versions"].items() if v)
    lines = [
        f"# Training speed on {result['device']}",
        "",
        f"Made by `python -m benchmarks.gpu`; {versions}.",
        "",
        "| physics | pairs | env steps/s | compile s | first update s | predicted MB | program MB "
        "| peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in result["speed"].items():
        for row in rows:
            head = f"| {name} | {row['num_pairs']:,} |"
            if "problem" in row:
                lines.append(f"{head} {row['problem']} | | | | | |")
                continue
            sizes = (row[f"{kind}_bytes"] for kind in ("predicted", "program", "peak"))
            cells = ["" if size is None else f"{size / 1e6:.0f}" for size in sizes]
            times = f"{row['compile_seconds']} | {row['first_update_seconds']}"
            steps = f"{row['env_steps_per_second']:,}"
            lines.append(f"{head} {steps} | {times} | {' | '.join(cells)} |")
    if not result["climb"]:
        return "\n".join(lines) + "\n"
    lines += [
        "",
        f"Wall-clock to a return of {THRESHOLD:.0f} on HalfCheetah ({result['climber']}), "
        "compilation included:",
        "",
        "| pairs | seed | seconds | env steps | return | in Gymnasium |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["climb"]:
        head = f"| {row['num_pairs']:,} | {row['seed']} |"
        if "problem" in row:
            lines.append(f"{head} {row['problem']} | | | |")
            continue
        reached = row["seconds_to_threshold"] or f"not in {row['seconds']}"
        score = f"{row['best_return']:.0f} | {row['gymnasium_return']:.0f}"
        lines.append(f"{head} {reached} | {row['env_steps']:,} | {score} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("benchmarks.gpu")
    parser.add_argument("--out", type=Path, help="folder to write to")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all of it")
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--climb", choices=[*ENGINES, "none"], default="mjx warp")
    parser.add_argument("--quick", action="store_true", help="toy sizes, for a CPU")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=gpu_tasks.PARTS, help="one task to its threshold")
    parser.add_argument("--seed", type=int, default=0, help="of the part")
    parser.add_argument("--seconds", type=float, help="for the part (220; of a dry run 900)")
    parser.add_argument("--dry-run", action="store_true", help="tiny parts (or one), on a CPU")
    options = parser.parse_args(argv)
    if options.job:
        child(json.loads(options.job))
        return
    if options.out is None:
        parser.error("--out is needed")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.part or options.dry_run:
        seconds = options.seconds or (900 if options.dry_run else 220)
        for name in (options.part,) if options.part else gpu_tasks.PARTS:
            part(name, options.out, options.seed, seconds, options.dry_run)
        text = gpu_tasks.table(options.out)
        (options.out / "tasks.md").write_text(text)
        print(text, end="")
        return
    (options.out / "gpu.json").write_text(json.dumps(measure(options), indent=1) + "\n")
    text = report(json.loads((options.out / "gpu.json").read_text()))
    (options.out / "gpu.md").write_text(text)
    print(text, end="")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    from pes_rl.storage.run_folder import versions

    quick, start = options.quick, time.perf_counter()
    climbs = [{**settings, "seed": seed} for settings in CLIMBS for seed in SEEDS]
    climbs = [{"num_pairs": 2, "seed": 0}] if quick else climbs
    climbs = climbs if options.climb != "none" else []
    engines = {name: ENGINES[name] for name in options.engines}
    engines = {"toy": QUICK} if quick else engines
    pairs = (2,) if quick else PAIRS
    seconds = 0.2 if quick else 3
    deadline = start + 60 * options.minutes * (0.7 if climbs else 1)
    rows: dict[str, list[Any]] = {name: [] for name in engines}
    jobs = [
        (name, {"do": "speed", "fields": fields, "num_pairs": count, "seconds": seconds})
        for name, fields in engines.items()
        for count in pairs
    ]
    children = [(name, job, Child(job, deadline)) for name, job in jobs]
    for _, _, process in children:
        process.line()  # has compiled
    for name, job, process in children:
        found = process.go() if process.problem is None else None
        rows[name].append(found or {"num_pairs": job["num_pairs"], "problem": process.problem})
        process.end()
    good = [row for found in rows.values() for row in found if "device" in row]
    result: dict[str, Any] = {"versions": versions(), "speed": rows, "climb": []}
    result["climber"] = options.climb
    result["device"] = good[0]["device"] if good else "nothing"
    for settings in climbs:
        fields = QUICK if quick else ENGINES[options.climb]
        job = {
            "do": "climb",
            "fields": {**fields, **settings},
            "seconds": 1 if quick else 120,
        }
        process = Child(job, start + 60 * options.minutes)
        found = process.line()
        process.end()
        result["climb"].append(found or {**settings, "problem": process.problem})
    return result


if __name__ == "__main__":
    main()
