"""A search that gives bad runs up early: python examples/optuna_sweep.py [trials]

Takes Optuna, ``pip install '.[tune]'``. A run whose evaluation is below the median of the earlier
ones' stops there, saved: what Optuna calls pruning.
"""

import sys

import optuna

import pes_rl

EVERY = 2_000  # env steps between evaluations


def train(trial: optuna.Trial) -> float:
    """Train with what Optuna suggests; the best return."""

    def pruned(row: dict) -> bool:
        if "eval/episode_return" not in row:
            return False
        # Evaluations are compared by their number: runs differ by some env steps.
        trial.report(row["eval/episode_return"], row["env_steps"] // EVERY)
        return trial.should_prune()

    run = pes_rl.train(
        "InvertedPendulum",
        learning_rate=trial.suggest_float("learning_rate", 1e-6, 1e-2, log=True),
        perturb_std=trial.suggest_float("perturb_std", 1e-3, 1.0, log=True),
        num_env_steps=6_000,
        eval_every=EVERY,
        eval_episodes=3,
        callback=pruned,
    )
    if trial.should_prune():
        raise optuna.TrialPruned
    return run.best_return


pruner = optuna.pruners.MedianPruner(n_startup_trials=2)
study = optuna.create_study(direction="maximize", pruner=pruner)
study.optimize(train, n_trials=int(sys.argv[1]) if sys.argv[1:] else 20)
print(f"best {study.best_value:.0f} with {study.best_params}")
