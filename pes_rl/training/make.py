"""From a configuration to the trainer of its engine."""

from __future__ import annotations

from pes_rl.config import JAX_ENGINES, Config
from pes_rl.envs.make import available_threads
from pes_rl.training.processes import ALONE, Processes
from pes_rl.training.protocol import Trainer


def make_trainer(config: Config, processes: Processes = ALONE) -> Trainer:
    """The trainer of the configured engine; with several ``processes`` this one's share."""
    if config.engine not in JAX_ENGINES:
        from pes_rl.training.host import HostTrainer

        return HostTrainer(config, processes=processes)
    from pes_rl.training.device import DeviceTrainer
    from pes_rl.training.placement import local_mesh

    if processes.size > 1:
        return DeviceTrainer(config)
    cores = config.num_threads or available_threads()
    return DeviceTrainer(config, local_mesh(config.num_pairs, cores))
