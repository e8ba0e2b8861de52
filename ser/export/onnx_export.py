"""A step as ONNX.

The file holds a loop over frames around the step of one: so it takes any number of them, whatever the model, and what
it answers does not depend on how a stream is cut. (The exporter itself can leave the number open for no LSTM.)
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ser.errors import ConfigError
from ser.export.step import Step, leaves

_OPSET = 18  # what torch writes before any conversion, so that the file needs no newer runtime than it must


def save_step(step: Step, feature_dim: int, path: Path) -> None:
    """Write step.onnx.

    Raises:
        ConfigError: the model does something that ONNX has no word for.
    """
    import onnx

    # The exporter takes inputs that are one tensor, as the zeros of an LSTM's two states are, for one input.
    states = [leaf.clone() for leaf in leaves(step.initial)]
    try:
        with _quiet(), torch.no_grad():
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
    assert program is not None  # as no file was named
    onnx.save(looped(program.model_proto, step), path)


def _reason(error: BaseException) -> str:
    """The first line of what went wrong at the bottom."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0]


def looped(one: Any, step: Step) -> Any:
    """A model of any number of frames.

    Args:
        one: ModelProto: state tensors and a frame [1, F] -> state tensors and answers [1, ...] about the frame.
        step: what it was made of.

    Returns:
        ModelProto: `frames` [1, n, F], `state_0`, ... -> `probabilities` [1, n, C], ..., `next_state_0`, ...
    """
    from onnx import helper

    body, count = one.graph, len(leaves(step.initial))
    for node in body.node:
        node.ClearField("metadata_props")  # lines of the code that it was made of, with their paths
    befores = [_renamed(value, f"state_{number}") for number, value in enumerate(body.input[:count])]
    afters = [_renamed(value, f"next_state_{number}") for number, value in enumerate(body.output[:count])]
    frames = _any_number(body.input[count], "frames")
    names = step.answers(torch.zeros(1, step.target.out_dim))
    answers = [_any_number(value, name) for value, name in zip(body.output[count:], names, strict=True)]
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


def _any_number(value: Any, name: str) -> Any:
    """[1, ...] of one frame -> [1, n, ...]."""
    from onnx import helper

    kind = value.type.tensor_type
    return helper.make_tensor_value_info(
        name, kind.elem_type, [1, "n", *(size.dim_value for size in kind.shape.dim[1:])]
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of all that it does, and of its own deprecations."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
