"""A saved policy as an ONNX graph: normaliser, network and clipping (or argmax) in one file.

Input ``observation`` float32 [n, O], flattened; output ``action`` float32 [n, A] or int64 [n]. A
GRU also takes ``state`` float32 [n, H], zeros where an episode starts, and returns ``next_state``.
The graph computes in float32 throughout; the policy itself normalises in float64.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pes_rl.errors import UserError
from pes_rl.policies.action import ActionSpec
from pes_rl.policies.normalizer import Normalizer
from pes_rl.policies.protocol import Graph, Policy
from pes_rl.storage.files import write_bytes_atomic


def export_onnx(
    policy: Policy,
    theta: np.ndarray,
    normalizer: Normalizer | None,
    action: ActionSpec,
    path: Path,
) -> None:
    """Write a policy with parameters ``theta`` [P] to ``path``.

    Raises UserError without the onnx package or where the disk refuses.
    """
    try:
        from onnx import checker, numpy_helper, parser
    except ImportError as error:
        raise UserError(
            "to_onnx needs the onnx package: pip install -c constraints.txt '.[onnx]'"
        ) from error
    parts = [_normalizer(normalizer), policy.onnx(policy.unpack(theta)), _clipping(action)]
    lines = [line for part, _ in parts for line in part]
    size, H = policy.observation_size, policy.state_size
    state, next_state = (f", float[n, {H}] {name}" * (H > 0) for name in ("state", "next_state"))
    kind = "int64[n]" if action.kind == "discrete" else f"float[n, {action.size}]"
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>\n'  # ONNX Runtime 1.12 and later
        f"policy (float[n, {size}] observation{state}) => ({kind} action{next_state})\n"
        "{" + "\n".join(lines) + "}"
    )
    for _, arrays in parts:
        for name, array in arrays.items():
            array = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else np.int64)
            model.graph.initializer.append(numpy_helper.from_array(array, name))
    checker.check_model(model)
    try:
        write_bytes_atomic(path, model.SerializeToString())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _normalizer(normalizer: Normalizer | None) -> Graph:
    if normalizer is None:
        return Graph(["x0 = Identity(observation)"], {})
    shift, scale, bound = normalizer.affine()
    lines = ["centred = Sub(observation, shift)", "scaled = Mul(centred, scale)"]
    limits = {"bound_low": np.array(-bound), "bound_high": np.array(bound)}
    lines.append("x0 = Clip(scaled, bound_low, bound_high)")
    return Graph(lines, {"shift": shift, "scale": scale, **limits})


def _clipping(action: ActionSpec) -> Graph:
    if action.kind == "discrete":
        lines = ["choice = ArgMax <axis = -1, keepdims = 0> (output)"]
        lines.append("action = Add (choice, start)")
        return Graph(lines, {"start": np.array(action.start)})
    lines = ["above = Max (output, low)", "action = Min (above, high)"]
    return Graph(lines, {"low": np.array(action.low), "high": np.array(action.high)})
