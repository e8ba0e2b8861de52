"""Summarise a model from the forward pass of one utterance: a table of its modules, and a plot of its blocks.

torchinfo 1.8 cannot run these models, because it follows tensors and not `Padded`; it also does not have the blocks
of the plot.
"""

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.models.classifier import Classifier
from ser.report.figures import FAINT, INK, SIZES, make_panels
from ser.report.palette import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_QUIET = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.ConstantPad1d, nn.Identity, nn.Flatten)
"""Layers that the summary of a block omits."""
_SIZED = (nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True)
class Part:
    """Module of a model.

    Args:
        path: Name in the model, such as `encoder.stages.0`; empty for the model itself.
        type: Name of its class.
        shape: Shape of its output for one utterance; None if it was not called itself.
        steps: Number of steps of an output sequence, else None.
        parameters: Number of parameters, including those of inner modules.
        layers: Inner layers, such as `Conv1d 80 / 16, BatchNorm1d` with kernel and stride; empty for a single layer.
    """

    path: str
    type: str
    shape: tuple[int, ...] | None
    steps: int | None
    parameters: int
    layers: str

    @property
    def size(self) -> str:
        """Return the shape without the batch, time first: `[T, D]` of a sequence, `[D]` of a vector."""
        axes = [*(self.shape or ())][1:]
        if self.steps in axes:  # time is the last axis in some modules
            axes.remove(self.steps)
            axes.insert(0, self.steps)
        return size_of(axes)


def size_of(axes: Sequence[int]) -> str:
    """Format a shape for people, such as `[24,000, 1]`."""
    return f"[{', '.join(f'{axis:,}' for axis in axes)}]" if axes else ""


def trace_parts(model: Classifier, audio: Padded) -> list[Part]:
    """Return the model and all its modules with the shape of their output.

    Args:
        model: The model; it is not modified, and no random number is drawn.
        audio: One utterance [1, T, F].
    """
    outputs: dict[nn.Module, Any] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        outputs[module] = output

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with evaluating(model):
            outputs[model] = model.forward(audio)  # a call of a compiled model would compile it again
    finally:
        for hook in hooks:
            hook.remove()
    return [_part(path, module, outputs.get(module)) for path, module in model.named_modules()]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode without gradients; afterwards restore the mode of every module."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def table(parts: list[Part]) -> str:
    """Format one line per module: path, type, output shape and parameters."""
    header = ("module", "type", "output", "parameters")
    rows = [header]
    for part in parts:
        shape = "-" if part.shape is None else str([*part.shape])
        rows.append((part.path or "(model)", part.type, shape, f"{part.parameters:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), f"{row[3]:>12}"])
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def totals(model: nn.Module) -> tuple[int, int]:
    """Count all parameters, and the trainable ones."""
    parameters = [*model.parameters()]
    return sum(map(Tensor.numel, parameters)), sum(p.numel() for p in parameters if p.requires_grad)


def blocks(parts: list[Part]) -> list[Part]:
    """Select the blocks of a plot, in the order of the data: frontend, stages of the encoder, pooling, head.

    Stages of an encoder are the items of its module lists, and the modules beside these lists that have parameters.
    """
    by_path = {part.path: part for part in parts}
    encoder = [part for path in _stages("encoder", by_path) if (part := by_path[path]).shape is not None]
    return [
        by_path["frontend"],
        *(encoder or [by_path["encoder"]]),
        *(by_path[name] for name in ("pooling", "head")),
    ]


def _stages(path: str, parts: dict[str, Part]) -> Iterator[str]:
    """Yield the paths of the stages below a module; none for a module without a module list."""
    children = [name for name in parts if name.rpartition(".")[0] == path]
    lists = [name for name in children if parts[name].type == "ModuleList"]
    below = {name: [*_stages(name, parts)] for name in children}
    if not lists and not any(below.values()):
        return
    for name in children:
        if name in lists:
            yield from (item for item in parts if item.rpartition(".")[0] == name)
        elif below[name]:
            yield from below[name]
        elif parts[name].parameters:
            yield name


def _part(path: str, module: nn.Module, output: Any) -> Part:
    values, steps = output, None
    if isinstance(output, Padded):
        values, steps = output.values, int(output.lengths.max())
    elif isinstance(output, tuple):  # outputs and state of a recurrent layer
        values = output[0]
    elif isinstance(module, nn.Conv1d) and isinstance(output, Tensor):
        steps = output.shape[-1]
    return Part(
        path,
        type(module).__name__.removeprefix("_"),
        tuple(values.shape) if isinstance(values, Tensor) else None,
        steps,
        totals(module)[0],
        _layers(module),
    )


def _layers(module: nn.Module) -> str:
    """List the inner layers in the order of their definition, such as `Conv1d 3 / 1, 2 Linear`."""
    leaves = [leaf for leaf in module.modules() if not [*leaf.children()] and leaf is not module]
    names = Counter(_name(leaf) for leaf in leaves if not isinstance(leaf, _QUIET))
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in names.items())


def _name(leaf: nn.Module) -> str:
    """Return the type of a layer, with kernel and stride of a convolution."""
    name = type(leaf).__name__.removeprefix("_")
    if isinstance(leaf, _SIZED):
        kernel, stride = (" x ".join(map(str, size)) for size in (leaf.kernel_size, leaf.stride))
        return f"{name} {kernel} / {stride}"
    return name


def plot_architecture(boxes: Sequence[tuple[str, str, str, str]], title: str) -> "Figure":
    """Draw boxes from top to bottom, in the order of the data.

    Args:
        boxes: Name, layers, output size and number of parameters of each box; an empty text is omitted.
        title: Title, such as the class of the model and its parameters.
    """
    from matplotlib.patches import FancyBboxPatch

    figure, (axes,) = make_panels(title, size=(8.4, 0.8 + 0.78 * len(boxes)))
    axes.set(xlim=(-0.005, 1.005), ylim=(len(boxes) - 0.25, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    for place, (name, layers, size, parameters) in enumerate(boxes):
        last = place == len(boxes) - 1
        frame = "round,pad=0,rounding_size=0.02"
        color = PALETTE[0] if parameters else FAINT
        box = FancyBboxPatch((0, place + 0.08), 1, 0.62, boxstyle=frame, mutation_aspect=6, linewidth=1.2)
        box.set(facecolor="white", edgecolor=color)
        axes.add_patch(box)
        style: dict[str, Any] = {"va": "center", "color": INK}
        height = place + (0.27 if layers else 0.39)
        axes.text(0.02, height, name, fontsize=SIZES["label"], fontweight="bold", **style)
        axes.text(
            0.02,
            place + 0.52,
            textwrap.shorten(layers, 100, placeholder=" ..."),
            fontsize=SIZES["note"],
            **style,
        )
        axes.text(0.72, height, size, fontsize=SIZES["label"], ha="right", **style)
        axes.text(0.98, height, parameters, fontsize=SIZES["tick"], ha="right", **style)
        if not last:
            arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1}
            axes.annotate("", (0.5, place + 1.08), (0.5, place + 0.7), arrowprops=arrow)
    return figure
