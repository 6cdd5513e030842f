"""What may change when a run is resumed, and the configuration after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pes_rl.config.build import parse_fields, schedule_end
from pes_rl.config.checks import check_range, validate
from pes_rl.config.fields import APPLIES, CHANGEABLE, Config
from pes_rl.config.values import flag
from pes_rl.errors import UserError


def parse_changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` as values; UserError for one that is none, or that must stay as it was."""
    for name in given:
        if name not in CHANGEABLE:
            raise UserError(
                f"{flag(name)} cannot change when resuming; remove it (a resumed run may be given "
                f"{', '.join(map(flag, CHANGEABLE))})"
            )
    changes = parse_fields(given)
    for name, value in changes.items():
        check_range(name, value)
    return changes


def change(config: Config, changes: Mapping[str, Any]) -> Config:
    """``config`` with ``changes``; what means nothing beside them goes, as when it is built."""
    dropped = {
        name: condition.neutral
        for name, condition in APPLIES.items()
        if condition.switch in changes and changes[condition.switch] not in condition.allowed
    }
    changed = replace(config, **dropped | dict(changes))
    changed = replace(changed, schedule_env_steps=schedule_end(vars(changed)))
    validate(changed)
    return changed
