"""Export a model's step to ONNX.

The file contains a loop over frames around the step of one frame: so it takes any number of frames, whatever the
model, and its output does not depend on how a stream is cut. (The exporter itself cannot leave the number open for an
LSTM.)
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ser.errors import ConfigError
from ser.export.step import Step, tensors_of_state
from ser.export.whole import Features, Whole

_OPSET = 18  # the version that torch writes without conversion, which the oldest possible runtime can read


def save_step(step: Step, feature_dim: int, path: Path) -> None:
    """Write step.onnx.

    Raises:
        ConfigError: The model uses an operation that ONNX does not have.
    """
    import onnx

    # The exporter merges inputs that are the same tensor, such as the zeros of an LSTM's two states.
    states = [leaf.clone() for leaf in tensors_of_state(step.initial)]
    try:
        with _silence_exporter(), torch.no_grad():
            program = torch.onnx.export(
                step.eval(),
                (*states, torch.zeros(1, feature_dim)),
                dynamo=True,
                opset_version=_OPSET,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        parts = f"{type(step.model.encoder).__name__} with {type(step.model.pooling).__name__}"
        raise ConfigError(
            f"ckpt: {parts} cannot be written as ONNX ({_reason(error)}). Train with another pooling or model, such as "
            "pooling=none or model=lstm_stream."
        ) from error
    assert program is not None  # None only if a file is named
    onnx.save(add_frame_loop(program.model_proto, step), path)


def save_whole(graph: Whole | Features, example: tuple[Tensor, Tensor], path: Path) -> None:
    """Write a graph of whole recordings, in batches of any number and length.

    Args:
        graph: The model, or its features alone.
        example: Values [B, N] or [B, T, F] of several recordings, and their lengths [B].
        path: The file.

    Raises:
        ConfigError: An operation cannot be exported.
    """
    import onnx

    any_size = torch.export.Dim.DYNAMIC
    try:
        with _silence_exporter(), torch.no_grad():
            traced = torch.export.export(
                graph.eval(),
                example,
                dynamic_shapes=({0: any_size, 1: any_size}, {0: any_size}),
                strict=False,
            )
            program = torch.onnx.export(
                traced,
                (),
                dynamo=True,
                opset_version=_OPSET,
                verbose=False,
                input_names=[graph.takes, "lengths"],
                output_names=[*graph.output_names],
            )
    except Exception as error:  # torch fails in many ways where it cannot trace
        raise ConfigError(
            f"ckpt: this model cannot be written as ONNX ({_reason(error)}). Use the run itself, with "
            "`ser predict`, or export it with another model."
        ) from error
    assert program is not None  # None only if a file is named
    proto = program.model_proto
    proto.graph.ClearField("value_info")  # shapes of the example's own lengths are among them
    for node in proto.graph.node:
        node.ClearField("metadata_props")  # source lines with their paths
    onnx.save(proto, path)


def save_int8(source: Path, path: Path) -> None:
    """Write a file with weights of 8 bits; what computes features stays as it is, as their logarithms need all digits.

    Convolutions take unsigned weights in onnxruntime.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    nodes = onnx.load(source).graph.node
    of_features = [
        node.name for node in nodes if any(name.endswith(("filters", "transform")) for name in node.input)
    ]
    with _silence_exporter():
        quantize_dynamic(source, path, weight_type=QuantType.QUInt8, nodes_to_exclude=of_features)


def _reason(error: BaseException) -> str:
    """Return the first line of the error that caused an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0]


def add_frame_loop(one: Any, step: Step) -> Any:
    """Add a loop over frames to a model of one frame.

    Args:
        one: ModelProto: state tensors and a frame [1, F] -> state tensors and outputs [1, ...] for the frame.
        step: The step that was exported.

    Returns:
        ModelProto: `frames` [1, n, F], `state_0`, ... -> `probabilities` [1, n, C], ..., `next_state_0`, ...
    """
    from onnx import helper

    body, count = one.graph, len(tensors_of_state(step.initial))
    for node in body.node:
        node.ClearField("metadata_props")  # source lines with their paths
    befores = [_renamed(value, f"state_{number}") for number, value in enumerate(body.input[:count])]
    afters = [_renamed(value, f"next_state_{number}") for number, value in enumerate(body.output[:count])]
    frames = _over_frames(body.input[count], "frames")
    names = step.answers(torch.zeros(1, step.target.out_dim))
    answers = [_over_frames(value, name) for value, name in zip(body.output[count:], names, strict=True)]
    loop = helper.make_node(
        "Scan",
        [value.name for value in (*befores, frames)],
        [value.name for value in (*afters, *answers)],
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_output_axes=[1] * len(answers),
    )
    graph = helper.make_graph([loop], "step", [frames, *befores], [*answers, *afters])
    return helper.make_model(graph, opset_imports=one.opset_import, ir_version=one.ir_version)


def _renamed(value: Any, name: str) -> Any:
    from onnx import helper

    return helper.make_value_info(name, value.type)


def _over_frames(value: Any, name: str) -> Any:
    """Change the shape of a value from [1, ...] for one frame to [1, n, ...]."""
    from onnx import helper

    kind = value.type.tensor_type
    return helper.make_tensor_value_info(
        name, kind.elem_type, [1, "n", *(size.dim_value for size in kind.shape.dim[1:])]
    )


@contextmanager
def _silence_exporter() -> Iterator[None]:
    """Suppress log messages and warnings of the exporter."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
