"""Action spaces refuse nonsense, and hide none."""

from __future__ import annotations

import numpy as np
import pytest

from pes_rl.policies.action import ActionSpec

BOX = ActionSpec("box", 3, (-1.0, -2.0, -np.inf), (1.0, 0.5, np.inf))


def test_action_spec_refuses_nonsense():
    for arguments in [("box", 2, (0.0,), (1.0,)), ("discrete", 2, (0.0,), (1.0,)), ("text", 1)]:
        with pytest.raises(ValueError, match="not an action space"):
            ActionSpec(*arguments)


def test_nan_output_stays_nan():
    output = np.array([np.nan, 5.0, 1.0], np.float32)
    assert np.isnan(BOX.to_action(np, output)[0])
    assert BOX.to_action(np, output)[1] == 0.5
