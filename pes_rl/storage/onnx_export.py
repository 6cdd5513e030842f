"""A saved policy as an ONNX graph: normaliser, network and clipping (or argmax) in one file.

Input ``observation`` float32 [n, O], flattened; output ``action`` float32 [n, A] or int64 [n]. A
GRU also takes ``state`` float32 [n, H], zeros where an episode starts, and returns ``next_state``.
The graph computes in float32 throughout; the policy itself normalises in float64.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pes_rl.errors import UserError
from pes_rl.policies import GRU, MLP, Normalizer, Policy
from pes_rl.policies.action import ActionSpec
from pes_rl.storage.run_folder import write_bytes_atomic

# Lines of ONNX's textual syntax, and the arrays that they name.
_Part = tuple[list[str], dict[str, np.ndarray]]


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
    parts = [_normalizer(normalizer), _network(policy, theta), _clipping(action)]
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


def _normalizer(normalizer: Normalizer | None) -> _Part:
    if normalizer is None:
        return ["x0 = Identity(observation)"], {}
    shift, scale, bound = normalizer.affine()
    lines = ["centred = Sub(observation, shift)", "scaled = Mul(centred, scale)"]
    limits = {"bound_low": np.array(-bound), "bound_high": np.array(bound)}
    lines.append("x0 = Clip(scaled, bound_low, bound_high)")
    return lines, {"shift": shift, "scale": scale, **limits}


def _network(policy: Policy, theta: np.ndarray) -> _Part:
    weights = policy.unpack(theta)
    if isinstance(policy, GRU):
        return _gru(policy.hidden_size, weights)
    if not isinstance(policy, MLP):
        return ["output = Gemm <transB = 1> (x0, w0)"], {"w0": weights[0]}
    kind, last = {"tanh": "Tanh", "relu": "Relu"}[policy.activation], len(policy.hidden_sizes)
    lines = []
    for i in range(last):
        lines += [f"h{i} = Gemm <transB = 1> (x{i}, w{2 * i}, w{2 * i + 1})"]
        lines += [f"x{i + 1} = {kind} (h{i})"]
    lines += [f"output = Gemm <transB = 1> (x{last}, w{2 * last}, w{2 * last + 1})"]
    return lines, {f"w{i}": array for i, array in enumerate(weights)}


def _gru(H: int, weights: tuple[np.ndarray, ...]) -> _Part:
    """ONNX's GRU over a sequence of one step; its gates come in the order z, r, n."""
    order = np.r_[H : 2 * H, :H, 2 * H : 3 * H]
    W, U, b = (array[order] for array in weights[:3])
    lines = [
        "sequence = Unsqueeze (x0, first)",
        "before = Unsqueeze (state, first)",
        f"all, after = GRU <hidden_size = {H}, linear_before_reset = 1>"
        ' (sequence, W, U, b, "", before)',
        "next_state = Squeeze (after, first)",
        "output = Gemm <transB = 1> (next_state, V, c)",
    ]
    bias = np.concatenate([b, np.zeros_like(b)])  # the second one would be inside r * (U h + .)
    arrays = {"W": W[None], "U": U[None], "b": bias[None], "V": weights[3], "c": weights[4]}
    return lines, {**arrays, "first": np.array([0])}


def _clipping(action: ActionSpec) -> _Part:
    if action.kind == "discrete":
        lines = ["choice = ArgMax <axis = -1, keepdims = 0> (output)"]
        return [*lines, "action = Add (choice, start)"], {"start": np.array(action.start)}
    lines = ["above = Max (output, low)", "action = Min (above, high)"]
    return lines, {"low": np.array(action.low), "high": np.array(action.high)}
