"""Training speed on an accelerator: ``python -m benchmarks.gpu --out DIR``, under ten minutes.

Writes ``gpu.json`` and ``gpu.md``: env steps per second and peak memory of HalfCheetah on Brax's
spring physics and on MJX over populations of 1 k to 64 k pairs, then the wall-clock time to a
return of 3430 on MJX, with what the policy scores in Gymnasium. Every engine has a process of its
own, so that peaks of memory are its own and a failure is one line of the table. What does not fit
into the time is left out and said to be. ``--quick`` shows on a CPU that all of it runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ENGINES: dict[str, dict[str, Any]] = {
    "brax spring": {"env": "brax/halfcheetah", "backend": "spring"},
    "mjx jax": {"env": "HalfCheetah", "engine": "mjx", "backend": "jax"},
    "mjx warp": {"env": "HalfCheetah", "engine": "mjx", "backend": "warp"},
}
PAIRS = (1024, 4096, 16_384, 65_536)
THRESHOLD = 3430.0
CLIMBS = (256, 1024)  # pairs
QUICK: dict[str, Any] = {
    "env": "InvertedPendulum",  # compiles fastest
    "engine": "mjx",
    "segment_length": 2,
    "horizon": 10,
    "eval_episodes": 1,
}


def speed(fields: dict[str, Any], num_pairs: int, seconds: float) -> dict[str, Any]:
    """One population, timed for ``seconds`` after its first update."""
    import jax

    from pes_rl.config import build_config
    from pes_rl.device import memory
    from pes_rl.device.trainer import DeviceTrainer

    config = build_config({**fields, "num_pairs": num_pairs, "eval_every": 1})
    trainer = DeviceTrainer(config)
    start = time.perf_counter()
    used = memory.peak(trainer.compile())
    compiled = time.perf_counter()
    trainer.advance()
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
        "predicted_bytes": trainer.prediction.total,
        "program_bytes": used,
        "peak_bytes": stats.get("peak_bytes_in_use"),
    }


def climb(fields: dict[str, Any], num_pairs: int, seconds: float) -> dict[str, Any]:
    """`climb_in`, in a run folder that is then forgotten."""
    with tempfile.TemporaryDirectory() as folder:
        return climb_in(Path(folder) / "run", fields, num_pairs, seconds)


def climb_in(
    folder: Path, fields: dict[str, Any], num_pairs: int, seconds: float
) -> dict[str, Any]:
    """Train until an evaluation reaches the threshold, then score the policy in Gymnasium."""
    from pes_rl.api import train
    from pes_rl.checkpoint import load_latest
    from pes_rl.evaluation import evaluate
    from pes_rl.session import Session

    reached: list[float] = []
    start, plain = time.perf_counter(), Session._evaluate

    def watched(session: Session) -> dict[str, float]:
        found = plain(session)
        if found["eval/episode_return"] >= THRESHOLD and not reached:
            reached.append(time.perf_counter() - start)
        if reached or time.perf_counter() - start > seconds:
            object.__setattr__(session.config, "num_env_steps", session.trainer.env_steps)
        return found

    Session._evaluate = watched
    try:
        run = train(
            **fields,
            num_pairs=num_pairs,
            num_env_steps=10**12,
            eval_every=2_000 * num_pairs,
            checkpoint_every=10**12,
            run_dir=folder,
        )
    finally:
        Session._evaluate = plain
    official = evaluate(run.path, episodes=2 if "horizon" in fields else 20)
    return {
        "num_pairs": num_pairs,
        "seconds_to_threshold": round(reached[0], 1) if reached else None,
        "seconds": round(time.perf_counter() - start, 1),
        "env_steps": load_latest(run.path).meta["env_steps"],
        "best_return": run.best_return,
        "gymnasium_return": official["episode_return_mean"],
        "gymnasium_interval": official["episode_return_interval"],
    }


def child(job: dict[str, Any]) -> None:
    """Work through one engine's populations, a JSON line for each."""
    import jax

    from pes_rl.runtime import one_xla_thread

    one_xla_thread()
    print(json.dumps({"device": jax.devices()[0].device_kind}), flush=True)
    for num_pairs in job["pairs"]:
        if job["climb"]:
            row = climb(job["fields"], num_pairs, job["seconds"])
        else:
            row = speed(job["fields"], num_pairs, job["seconds"])
        print(json.dumps(row), flush=True)


def run(job: dict[str, Any], deadline: float) -> tuple[list[dict[str, Any]], str | None]:
    """A child's lines until it is done, or the time is over; and why it stopped early."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--job", json.dumps(job)]
    left = deadline - time.perf_counter()
    if left <= 0:
        return [], "no time left"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=left, check=False)
        text, problem = done.stdout, (done.stderr.strip() or "failed").splitlines()[-1]
        problem = problem if done.returncode else None
    except subprocess.TimeoutExpired as late:
        raw = late.stdout or b""
        text = raw.decode() if isinstance(raw, bytes) else raw
        problem = "no time left"
    complete = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [json.loads(line) for line in complete if line.startswith("{")], problem


def report(result: dict[str, Any]) -> str:
    """The tables as Markdown."""
    versions = ", ".join(f"{name} {v}" for name, v in result["versions"].items() if v)
    lines = [
        f"# Training speed on {result['device']}",
        "",
        f"Made by `python -m benchmarks.gpu`; {versions}.",
        "",
        "| physics | pairs | env steps/s | compile s | predicted MB | program MB | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, engine in result["speed"].items():
        for row in engine["rows"]:
            sizes = (row[f"{kind}_bytes"] for kind in ("predicted", "program", "peak"))
            cells = ["" if size is None else f"{size / 1e6:.0f}" for size in sizes]
            head = f"{row['num_pairs']:,} | {row['env_steps_per_second']:,}"
            lines.append(f"| {name} | {head} | {row['compile_seconds']} | {' | '.join(cells)} |")
        if engine["problem"]:
            lines.append(f"| {name} | stopped: {engine['problem']} | | | | | |")
    lines += [
        "",
        f"Wall-clock to a return of {THRESHOLD:.0f} on HalfCheetah (mjx), compilation included:",
        "",
        "| pairs | seconds | env steps | best return | in Gymnasium |",
        "|---|---|---|---|---|",
    ]
    for row in result["climb"]["rows"]:
        reached = row["seconds_to_threshold"] or f"not in {row['seconds']}"
        score = f"{row['best_return']:.0f} | {row['gymnasium_return']:.0f}"
        lines.append(f"| {row['num_pairs']:,} | {reached} | {row['env_steps']:,} | {score} |")
    if result["climb"]["problem"]:
        lines.append(f"| stopped: {result['climb']['problem']} | | | | |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("benchmarks.gpu")
    parser.add_argument("--out", type=Path, help="folder to write to")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all of it")
    parser.add_argument("--quick", action="store_true", help="toy sizes, for a CPU")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.job:
        child(json.loads(options.job))
        return
    if options.out is None:
        parser.error("--out is needed")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gpu.json").write_text(json.dumps(measure(options), indent=1) + "\n")
    text = report(json.loads((options.out / "gpu.json").read_text()))
    (options.out / "gpu.md").write_text(text)
    print(text, end="")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures; half of the time is for the tables."""
    from pes_rl.run_folder import versions

    quick, start = options.quick, time.perf_counter()
    engines = {"toy": QUICK} if quick else ENGINES
    result: dict[str, Any] = {"versions": versions(), "device": "nothing", "speed": {}}
    for i, (name, fields) in enumerate(engines.items(), start=1):
        deadline = start + 60 * options.minutes * 0.55 * i / len(engines)
        job = {
            "fields": fields,
            "pairs": (2,) if quick else PAIRS,
            "seconds": 0.2 if quick else 3,
            "climb": False,
        }
        rows, problem = run(job, deadline)
        result["device"] = next((r["device"] for r in rows if "device" in r), result["device"])
        result["speed"][name] = {"rows": [r for r in rows if "num_pairs" in r], "problem": problem}
    seconds = 1 if quick else 60 * options.minutes * 0.35 / len(CLIMBS)
    job = {
        "fields": QUICK if quick else ENGINES["mjx jax"],
        "pairs": (2,) if quick else CLIMBS,
        "seconds": seconds,
        "climb": True,
    }
    rows, problem = run(job, start + 60 * options.minutes)
    result["climb"] = {"rows": [r for r in rows if "num_pairs" in r], "problem": problem}
    return result


if __name__ == "__main__":
    main()
