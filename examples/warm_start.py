"""Go on from a trained policy with another estimator: python examples/warm_start.py"""

import pes_rl

first = pes_rl.train("InvertedPendulum", eval_every=2_000, stop_at=500)
second = pes_rl.train(
    "InvertedPendulum",
    init=first,  # or a policy folder
    estimator="pes",
    learning_rate=1e-5,
    num_env_steps=5_000,
    eval_every=2_000,
)
print(f"from {first.best_return:.0f} to {second.best_return:.0f}")
