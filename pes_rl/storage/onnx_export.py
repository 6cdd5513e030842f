"""A saved policy as an ONNX graph: normaliser, network and clipping (or argmax) in one file.

Input ``observation`` float32 [n, O], flattened; output ``action`` float32 [n, A], or whole numbers
int64 [n] or [n, A]. A GRU also takes ``state`` float32 [n, H], zeros where an episode starts, and
returns ``next_state``. The graph computes in float32 throughout; the policy itself normalises in
float64.
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
    observation_size: int,
) -> None:
    """Write a policy with parameters ``theta`` [P] to ``path``.

    Of the ``observation_size`` numbers O of an observation it takes as many as it has inputs.
    Raises UserError without the onnx package or where the disk refuses.
    """
    try:
        from onnx import checker, numpy_helper, parser
    except ImportError as error:
        raise UserError(
            "to_onnx needs the onnx package: pip install -c constraints.txt '.[onnx]'"
        ) from error
    parts = [
        _inputs(policy.observation_size),
        _normalizer(normalizer),
        policy.onnx(policy.unpack(theta)),
        _actions(action),
    ]
    lines = [line for part, _ in parts for line in part]
    size, H = observation_size, policy.state_size
    state, next_state = (f", float[n, {H}] {name}" * (H > 0) for name in ("state", "next_state"))
    number = "int64" if np.issubdtype(action.dtype, np.integer) else "float"
    kind = f"{number}[{', '.join(map(str, ('n', *action.shape)))}]"
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


def _inputs(size: int) -> Graph:
    bounds = {
        "input_start": np.array([0]),
        "input_end": np.array([size]),
        "input_axis": np.array([-1]),
    }
    return Graph(["taken = Slice (observation, input_start, input_end, input_axis)"], bounds)


def _normalizer(normalizer: Normalizer | None) -> Graph:
    if normalizer is None:
        return Graph(["x0 = Identity(taken)"], {})
    shift, scale, bound = normalizer.affine()
    lines = ["centred = Sub(taken, shift)", "scaled = Mul(centred, scale)"]
    limits = {"bound_low": np.array(-bound), "bound_high": np.array(bound)}
    lines.append("x0 = Clip(scaled, bound_low, bound_high)")
    return Graph(lines, {"shift": shift, "scale": scale, **limits})


def _actions(action: ActionSpec) -> Graph:
    if action.kind == "discrete":
        lines = ["choice = ArgMax <axis = -1, keepdims = 0> (output)"]
        lines.append("action = Add (choice, start)")
        return Graph(lines, {"start": np.array(action.start)})
    if action.kind == "multi-discrete":
        return _choices(action)
    if action.kind == "multi-binary":
        lines = ["positive = Greater (output, zero)", "action = Cast <to = 7> (positive)"]
        return Graph(lines, {"zero": np.array(0.0)})
    low, high = action.bounds
    lines = ["above = Max (stretched, low)", "action = Min (above, high)"]
    if action.stretching is None:
        return Graph(["stretched = Identity (output)", *lines], {"low": low, "high": high})
    half, middle = action.stretching
    first = ["scaled_output = Mul (output, half)", "stretched = Add (scaled_output, middle)"]
    arrays = {"half": half, "middle": middle, "low": low, "high": high}
    return Graph([*first, *lines], arrays)


def _choices(action: ActionSpec) -> Graph:
    """The largest of each group of outputs."""
    numbers = range(len(action.choices))
    parts = ", ".join(f"part{i}" for i in numbers)
    lines = [f"{parts} = Split <axis = -1> (output, choices)"]
    lines += [f"best{i} = ArgMax <axis = -1, keepdims = 1> (part{i})" for i in numbers]
    lines.append(f"best = Concat <axis = -1> ({', '.join(f'best{i}' for i in numbers)})")
    lines.append("action = Add (best, start)")
    return Graph(lines, {"choices": np.array(action.choices), "start": np.array(action.start)})
