"""Lower the learning rate of a run that has stopped: python examples/change_learning_rate.py"""

import pes_rl

run = pes_rl.train("InvertedPendulum", num_env_steps=5_000, eval_every=5_000)
rate = run.metrics[-1]["train/learning_rate"]
run = pes_rl.resume(run, num_env_steps=10_000, learning_rate=rate / 10)
for row in run.metrics[:: len(run.metrics) // 4]:
    print(f"{row['env_steps']:>6} env steps: learning rate {row['train/learning_rate']}")
