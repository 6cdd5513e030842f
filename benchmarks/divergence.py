"""How fast runs of one seed drift apart: ``python -m benchmarks.divergence --out docs``.

One update is the same on any number of devices but for the order of summation, about 1e-7 of the
gradient; a simulation amplifies that. Trains brax/hopper on 1, 2, 4 and 8 devices and in chunks,
from the same seed, and draws the distance of the thetas over the updates: DIR/divergence.png. The
devices are threads of a CPU, so that it runs anywhere.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

from pes_rl.styles import FIGURE

DEVICES = 8
FIELDS: dict[str, Any] = {
    "env": "brax/hopper",
    "num_pairs": 16,
    "perturb_std": 0.1,
    "segment_length": 20,
    "horizon": 200,
    "learning_rate": 0.02,
    "reward_shift": 1.0,
    "eval_every": 1,
}
PLACES = {"2 devices": (2, None), "4 devices": (4, None), "8 devices": (8, None)} | {
    "1 device, chunks of 4 pairs": (1, 4)
}


def thetas(devices: int, chunk: int | None, updates: int) -> np.ndarray:
    """theta [updates, P] of a free run."""
    import jax

    from pes_rl.config import build_config
    from pes_rl.training.device import DeviceTrainer
    from pes_rl.training.placement import make_mesh

    config = build_config(FIELDS | {"particle_chunk": chunk})
    trainer = DeviceTrainer(config, make_mesh(jax.devices()[:devices]))
    seen = []
    for _ in range(updates):
        trainer.advance()
        seen.append(trainer.theta)
    return np.stack(seen)


def draw(distances: dict[str, np.ndarray], path: Path) -> None:
    """Relative distance from the run on one device, a line each; in words where it is 0.

    Lines get thinner from one to the next, so that those that coincide can be seen.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(FIGURE):
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axis = figure.subplots()
        looks = zip(("-", "--", ":", "-."), (5, 3, 1.6, 1.6), strict=True)
        for (name, values), (dash, width) in zip(distances.items(), looks, strict=True):
            note = "" if values.all() else ", 0 where not drawn" if values.any() else ": exactly 0"
            drawn = np.where(values > 0, values, np.nan)
            updates = np.arange(1, len(values) + 1)
            # What is 0 throughout has no line in the legend either.
            dash = dash if values.any() else "none"
            axis.plot(updates, drawn, dash, linewidth=width, label=name + note)
        axis.set(
            xlabel="update",
            ylabel="distance of theta, relative",
            title=f"{FIELDS['env']}, {FIELDS['num_pairs']} pairs: drift from the run on one device",
            yscale="log",
        )
        axis.legend()
        figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.divergence")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=150)
    options = parser.parse_args()
    flags = f"--xla_force_host_platform_device_count={DEVICES} --xla_cpu_multi_thread_eigen=false"
    os.environ |= {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    one = thetas(1, None, options.updates)
    distances = {}
    for name, (devices, chunk) in PLACES.items():
        other = thetas(devices, chunk, options.updates)
        distances[name] = np.linalg.norm(other - one, axis=1) / np.linalg.norm(one, axis=1)
        first, tenth, last = distances[name][[0, 9, -1]]
        print(f"{name}: {first:.1e} after 1 update, {tenth:.1e} after 10, {last:.1e} at the end")
    options.out.mkdir(parents=True, exist_ok=True)
    draw(distances, options.out / "divergence.png")


if __name__ == "__main__":
    main()
