"""Recurrent layers as operators of ONNX, which take the length of each sequence.

The exporter of torch unrolls a GRU over a fixed number of steps.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.models.lstm import BothWays, Forwards

_GATES: dict[type, tuple[int, ...]] = {nn.LSTM: (0, 3, 1, 2), nn.GRU: (1, 0, 2)}
"""Place in torch of each gate of ONNX: input, output, forget, cell of an LSTM; update, reset, new of a GRU."""


class RecurrentGraph(nn.Module):
    """One layer in one direction or both, with the weights of torch in the order of ONNX.

    Args:
        layer: The layer.
    """

    input_weights: Tensor
    state_weights: Tensor
    biases: Tensor

    def __init__(self, layer: Forwards | BothWays) -> None:
        super().__init__()
        cells: list[Any] = [layer.forwards, layer.backwards] if isinstance(layer, BothWays) else [layer.cell]
        self.operator = "LSTM" if isinstance(cells[0], nn.LSTM) else "GRU"
        self.hidden_size: int = cells[0].hidden_size
        self.directions = len(cells)
        for name, parts in {
            "input_weights": ["weight_ih_l0"],
            "state_weights": ["weight_hh_l0"],
            "biases": ["bias_ih_l0", "bias_hh_l0"],
        }.items():
            own = [torch.cat([_in_order(cell, part) for part in parts]) for cell in cells]
            self.register_buffer(name, torch.stack(own).detach())

    def forward(self, steps: Padded) -> Padded:
        """Map steps [B, T, F] to [B, T, directions * hidden_size]; padding is 0."""
        values = steps.values.transpose(0, 1)
        settings: dict[str, Any] = {"hidden_size": self.hidden_size}
        if self.directions == 2:
            settings["direction"] = "bidirectional"
        if self.operator == "GRU":
            settings["linear_before_reset"] = 1  # as torch
        (count, batch), width = values.shape[:2], self.hidden_size
        found: Tensor = torch.onnx.ops.symbolic(
            self.operator,
            (values, self.input_weights, self.state_weights, self.biases, steps.lengths.int()),
            attrs=settings,
            dtype=torch.float32,
            shape=(count, self.directions, batch, width),
        )
        return steps.with_values(found.permute(2, 0, 1, 3).flatten(2))


def _in_order(cell: Any, name: str) -> Tensor:
    """Return a weight or bias of a cell with its gates in the order of ONNX."""
    gates = cell.get_parameter(name).split(cell.hidden_size)
    return torch.cat([gates[place] for place in _GATES[type(cell)]])


def replace_recurrent(model: nn.Module) -> None:
    """Replace the recurrent layers within a model by operators of ONNX."""
    for module in [*model.modules()]:
        for name, child in [*module.named_children()]:
            if isinstance(child, Forwards | BothWays):
                setattr(module, name, RecurrentGraph(child))
