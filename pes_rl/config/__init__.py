"""One flat configuration: defaults, presets, YAML files and flags all describe a ``Config``.

A YAML key is the field's name; a flag is the same name with hyphens. Later sources win: the
defaults, the environment's preset, the ``--config`` file, the flags. Imports nothing heavy, since
``pes-rl --help`` is made from it.
"""

from pes_rl.config.build import (
    build_config,
    load_config,
    parse_fields,
    save_config,
    usual_value,
    with_neutral,
)
from pes_rl.config.changes import change, parse_changes
from pes_rl.config.checks import validate
from pes_rl.config.fields import (
    APPLIES,
    CHANGEABLE,
    DERIVED,
    ESTIMATOR_NAMES,
    FREE,
    JAX_ENGINES,
    OPTIONS,
    SUMMING,
    Config,
    Option,
)

__all__ = [
    "APPLIES",
    "CHANGEABLE",
    "DERIVED",
    "ESTIMATOR_NAMES",
    "FREE",
    "JAX_ENGINES",
    "OPTIONS",
    "SUMMING",
    "Config",
    "Option",
    "build_config",
    "change",
    "load_config",
    "parse_changes",
    "parse_fields",
    "save_config",
    "usual_value",
    "validate",
    "with_neutral",
]
