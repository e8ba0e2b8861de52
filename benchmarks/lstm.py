"""Compare our bidirectional LSTM, two one-way layers of which one reads reversed sequences, with packed sequences.

Forward and backward pass over batches of like length, from short to long; both have the same weights and,
to 1e-5, the same outputs.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from benchmarks import generate, recipe
from benchmarks.measure import Goal, Options, Result, interleave, main, paired_ratio, spread, timed
from ser.batch import Padded
from ser.batching.samplers import BatchIndices
from ser.config.settings import Batching
from ser.models.lstm import LSTMEncoder

_HIDDEN, _LAYERS = 128, 2
_TOLERANCE = 1e-5


class PackedLSTM(nn.Module):
    """torch's bidirectional LSTM on packed sequences, with the weights of ours.

    Args:
        ours: Encoder whose weights are copied.
    """

    def __init__(self, ours: LSTMEncoder) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            generate.FEATURE_DIM, _HIDDEN, num_layers=_LAYERS, bidirectional=True, batch_first=True
        )
        for depth, layer in enumerate(ours.layers):
            for name, suffix in (("forwards", ""), ("backwards", "_reverse")):
                for weight, values in layer.get_submodule(name).named_parameters():
                    place = weight.replace("_l0", f"_l{depth}{suffix}")
                    self.lstm.get_parameter(place).data.copy_(values)

    def forward(self, audio: Padded) -> Padded:
        """Encode [B, T, F] to [B, T, 2 * hidden]."""
        packed = nn.utils.rnn.pack_padded_sequence(
            audio.values, audio.lengths, batch_first=True, enforce_sorted=False
        )
        out, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return audio.with_values(out)


def lstm(options: Options) -> Result:
    """Measure the seconds of both for each batch; the headline is the sum over all batches."""
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    utterances = generate.QUICK_UTTERANCES if options.quick else generate.COURSE_UTTERANCES
    batches = sample_batches(
        utterances, replace(recipe.BUDGET, max_frames=2_000) if options.quick else recipe.BUDGET
    )
    ours = LSTMEncoder(generate.FEATURE_DIM, hidden_dim=_HIDDEN, num_layers=_LAYERS, dropout=0.0)
    packed = PackedLSTM(ours)
    difference = max(largest_difference(ours, packed, batch) for batch in batches)
    if difference > _TOLERANCE:
        raise RuntimeError(f"outputs differ by {difference}, more than {_TOLERANCE}")
    models = {"ser": ours, "packed": packed}
    times = interleave(
        {name: partial(step_seconds, model, batches) for name, model in models.items()}, options.repetitions
    )
    gains = [
        paired_ratio([run[index] for run in times["packed"]], [run[index] for run in times["ser"]])
        for index in range(len(batches))
    ]
    total = paired_ratio([sum(run) for run in times["packed"]], [sum(run) for run in times["ser"]])
    return Result(
        name="lstm",
        headline="packed / ser, forward and backward",
        ratio=total,
        columns=["batch", "ser, s", "packed, s", "packed / ser"],
        rows=[
            [
                f"{len(batch.lengths)} x {batch.values.shape[1]}",
                *(f"{spread([run[index] for run in times[name]]).median:.3f}" for name in models),
                str(gain),
            ]
            for index, (batch, gain) in enumerate(zip(batches, gains, strict=True))
        ],
        goals=[Goal("bidirectional LSTM against packed sequences", total.median, ">=", 6)],
        notes=[f"largest difference of outputs: {difference:.1e}"],
    )


def sample_batches(utterances: int, batching: Batching) -> list[Padded]:
    """Select the longest batch of an epoch, one of medium length, and one of the shortest.

    Args:
        utterances: Number of utterances in the epoch.
        batching: Settings of the batches.
    """
    data = recipe.speech(generate.lengths(utterances), batching)
    dataset = data.datasets["train"]
    plan = sorted(data.train_dataloader().sampler.plan, key=lambda batch: -dataset.lengths[batch].max())
    chosen = (plan[0], plan[len(plan) // 2], plan[-len(plan) // 10])
    return [dataset[BatchIndices(0, batch)].audio for batch in chosen]


@torch.no_grad()
def largest_difference(ours: nn.Module, theirs: nn.Module, batch: Padded) -> float:
    """Compute the largest difference of the outputs on real steps."""
    return float((ours(batch).zeroed().values - theirs(batch).zeroed().values).abs().max())


def step_seconds(model: Callable[[Padded], Padded], batches: list[Padded]) -> list[float]:
    """Measure the seconds of a forward and a backward pass over each batch."""
    return [timed(partial(_step, model, batch)) for batch in batches]


def _step(model: Callable[[Padded], Padded], batch: Padded) -> None:
    torch.autograd.backward(model(batch).values.sum())


if __name__ == "__main__":
    main(lstm)
