"""Stop a run by a rule of one's own, and continue it: python examples/callback_stop.py"""

import pes_rl


def good_enough(row: dict) -> bool:
    """Called with every metrics row; those with ``eval/`` keys evaluated."""
    return row.get("eval/episode_return", 0) > 500


run = pes_rl.train("InvertedPendulum", eval_every=2_000, callback=good_enough)
print(f"stopped after {run.env_steps} env steps, return {run.last_return:.0f}")
run = pes_rl.resume(run, num_env_steps=run.env_steps + 5_000)
print(f"went on to {run.env_steps}")
