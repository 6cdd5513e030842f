"""Where the presets come from, in words: tuned here, taken from ARS, or neither.

The comments in the preset files say more. `tests/config/test_sources.py` holds the table to them.
"""

from __future__ import annotations

from dataclasses import fields

from pes_rl.config.build import GPU_BLOCK, build_config
from pes_rl.config.fields import FREE, Config

_TUNED, _UNTUNED, _ARS = "tuned", "untuned", "from ARS, untuned here"
_GPU = "set by hand on a seed, for a GPU"
_OTHERS = ""  # the estimators that a preset's row does not name

_SOURCES: dict[str, dict[str, str]] = {
    "Ant": {_OTHERS: _ARS, "pes": _TUNED, GPU_BLOCK: _GPU},
    "HalfCheetah": {_OTHERS: _TUNED, "gpes": "tuned for es-single", GPU_BLOCK: _GPU},
    "Hopper": {_OTHERS: _TUNED, "gpes": "tuned for es-single", GPU_BLOCK: _GPU},
    "Humanoid": {_OTHERS: _ARS, "es": "set by hand on a seed", GPU_BLOCK: _ARS},
    "HumanoidStandup": {
        _OTHERS: "from ARS on Humanoid, untuned here",
        "pes": "set by hand on a seed",
    },
    "InvertedDoublePendulum": {_OTHERS: _UNTUNED, "es-single": _TUNED},
    "InvertedPendulum": {_OTHERS: "set by hand on two seeds"},
    "Pusher": {_OTHERS: _UNTUNED, "es-single": "set by hand on two seeds"},
    "Reacher": {_OTHERS: _UNTUNED, "es-single": "set by hand on three seeds"},
    "Swimmer": {_OTHERS: _TUNED, "gpes": "tuned for es-single", GPU_BLOCK: _GPU},
    "Walker2d": {_OTHERS: _ARS, "es": _TUNED, GPU_BLOCK: _GPU},
}
# What makes another run of the same quality.
_EVALUATION = ("eval_every", "eval_episodes", "eval_lanes")
_ASIDE = ("seed", "particle_chunk", "engine", "backend", *_EVALUATION, *FREE)


def preset_source(config: Config) -> str:
    """``"tuned"``, ``"none"``, ... : where what ``config`` has as its preset comes from.

    It says too how many options of the run are others than the preset's.
    """
    row = _SOURCES.get(config.environment.name)
    if row is None:
        return "none"
    where = {"env": config.env, "engine": config.engine, "backend": config.backend}
    on_gpu = GPU_BLOCK in row and config.backend == GPU_BLOCK
    on_gpu = on_gpu and config.estimator == build_config(where).estimator
    source = row.get(GPU_BLOCK if on_gpu else config.estimator, row[_OTHERS])
    usual = build_config(where | {"estimator": config.estimator})
    names = [field.name for field in fields(Config) if field.name not in _ASIDE]
    others = sum(getattr(config, name) != getattr(usual, name) for name in names)
    return f"{source}, {others} option{'s' * (others != 1)} changed" if others else source
