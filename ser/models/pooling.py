"""Pool a sequence of steps to one vector, in float32 and over real steps only."""

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.errors import ConfigError
from ser.models.base import State, check_batch_size
from ser.precision import KeepsPrecision, in_float32


class Pooling(KeepsPrecision):
    """Base class: map Padded [B, T, D] to [B, out_dim].

    Args:
        in_dim: Number of values of a step, D.
    """

    resolution: ClassVar[Literal["utterance", "frame"]] = "utterance"
    """What comes out: a vector an utterance, or one a step."""

    def __init__(self, in_dim: int) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.out_dim = in_dim

    def forward(self, steps: Padded) -> Tensor:
        """Pool steps [B, T, D] to [B, out_dim]."""
        raise NotImplementedError

    def initial_state(self, batch_size: int) -> State:
        """Return the state before the first step.

        Raises:
            ConfigError: This pooling weights steps depending on later ones.
        """
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__.removesuffix("Pooling")).lower()
        raise ConfigError(
            f"pooling={name}: needs the whole utterance to weigh a step, so it cannot follow "
            "a stream. Train with pooling=mean, max, last, attention or none."
        )

    def step(self, steps: Tensor, state: State) -> tuple[Tensor, State]:
        """Process the next steps [B, n, D]; return the pooled value after each of them [B, n, out_dim], and the state.

        Raises:
            DataError: The state has another batch size.
        """
        raise NotImplementedError

    def __call__(self, steps: Padded) -> Tensor:
        """Pool in float32 even under autocast, because long sums lose precision in half precision."""
        with in_float32(steps.values.device):
            pooled: Tensor = super().__call__(steps.with_values(steps.values.float()))
        return pooled


class MeanPooling(Pooling):
    """Mean over time."""

    def forward(self, steps: Padded) -> Tensor:
        """Pool steps [B, T, D] to [B, D]."""
        return masked_mean(steps)

    def initial_state(self, batch_size: int) -> State:
        """Return sums in float64, as sums over a day of frames exceed the precision of float32, and counts."""
        return torch.zeros(batch_size, self.in_dim, dtype=torch.float64), _zeros(batch_size)

    def step(self, steps: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the mean after each step [B, n, D], and the state."""
        if not steps.shape[1]:
            return steps.float(), state
        sums, count = _check_state(steps, state)
        sums = sums[:, None] + steps.double().cumsum(1)
        counts = count[:, None] + torch.arange(1, steps.shape[1] + 1, device=steps.device)
        return (sums / counts[..., None]).float(), (_copy_last_step(sums), _copy_last_step(counts))


class MaxPooling(Pooling):
    """Maximum over time."""

    def forward(self, steps: Padded) -> Tensor:
        """Pool steps [B, T, D] to [B, D]."""
        return steps.values.masked_fill(~steps.mask.unsqueeze(-1), -torch.inf).amax(1)

    def initial_state(self, batch_size: int) -> State:
        """Return minus infinity."""
        return (torch.full((batch_size, self.in_dim), -torch.inf),)

    def step(self, steps: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the maximum after each step [B, n, D], and the state."""
        if not steps.shape[1]:
            return steps.float(), state
        (before,) = _check_state(steps, state)
        largest = torch.maximum(steps.float().cummax(1).values, before[:, None])
        return largest, (_copy_last_step(largest),)


class LastPooling(Pooling):
    """Last step of a sequence, for causal encoders."""

    def forward(self, steps: Padded) -> Tensor:
        """Select the last steps [B, D] of [B, T, D]."""
        last = (steps.lengths - 1)[:, None, None].expand(-1, 1, steps.values.shape[2])
        return steps.values.gather(1, last).squeeze(1)

    def initial_state(self, batch_size: int) -> State:
        """Return an empty state."""
        return ()

    def step(self, steps: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the steps [B, n, D] unchanged."""
        return steps.float(), state


class FunctionalsPooling(Pooling):
    """Mean, standard deviation, quantiles and slope of each dimension, without parameters.

    Args:
        in_dim: Number of values of a step, D.
        quantiles: Quantiles, Q of them, 0..1; interpolated between two steps.
        slopes: Whether to add the slope of a line fitted over time, times the deviation of time: the deviation of the
            values on that line, with its sign. 0 for one step.

    Raises:
        ConfigError: A quantile is not within 0..1.
    """

    def __init__(
        self,
        in_dim: int,
        quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
        *,
        slopes: bool = False,
    ) -> None:
        super().__init__(in_dim)
        if not all(0 <= quantile <= 1 for quantile in quantiles):
            raise ConfigError(
                f"pooling.quantiles={[*quantiles]}: expected shares of the steps, 0 to 1. "
                "Write 0.05 for the fifth percentile."
            )
        self.slopes = slopes
        self.out_dim = (2 + len(quantiles) + slopes) * in_dim
        self.register_buffer("quantiles", torch.tensor(quantiles), persistent=False)

    quantiles: Tensor

    def forward(self, steps: Padded) -> Tensor:
        """Pool steps [B, T, D] to [B, (2 + Q) * D], or [B, (3 + Q) * D] with slopes."""
        mean = masked_mean(steps)
        deviation = masked_mean(steps.with_values((steps.values - mean[:, None]).square())).add(1e-5).sqrt()
        parts = [mean, deviation]
        if len(self.quantiles):
            parts.append(self._quantiles(steps).flatten(1))
        if self.slopes:
            parts.append(_slopes(steps, mean))
        return torch.cat(parts, -1)

    def _quantiles(self, steps: Padded) -> Tensor:
        """Compute quantiles [B, Q, D] of steps [B, T, D]."""
        ordered = steps.values.masked_fill(~steps.mask.unsqueeze(-1), torch.inf).sort(1).values
        places = self.quantiles * (steps.lengths[:, None] - 1)  # [B, Q]
        below, above = (
            ordered.gather(1, rounded.long().unsqueeze(-1).expand(-1, -1, self.in_dim))
            for rounded in (places.floor(), places.ceil())
        )
        return torch.lerp(below, above, places.frac().unsqueeze(-1))


class AttentionPooling(Pooling):
    """Weighted mean; a small network computes the weight of each step.

    Args:
        in_dim: Number of values of a step, D.
        hidden_dim: Number of hidden units of the scoring network.

    Source: Mirsamadi, Barsoum, Zhang, "Automatic speech emotion recognition using recurrent neural networks
    with local attention", ICASSP 2017.
    """

    def __init__(self, in_dim: int, hidden_dim: int = 64) -> None:
        super().__init__(in_dim)
        self.score = nn.Sequential(nn.Linear(in_dim, hidden_dim), nn.Tanh(), nn.Linear(hidden_dim, 1))

    def forward(self, steps: Padded) -> Tensor:
        """Pool steps [B, T, D] to [B, D]."""
        return (masked_softmax(self.score(steps.values), steps) * steps.values).sum(1)

    def initial_state(self, batch_size: int) -> State:
        """Return the logarithm of the sum of weights, and the mean so far, which are finite for any scores."""
        mean = torch.zeros(batch_size, self.in_dim, dtype=torch.float64)
        return torch.full((batch_size,), -torch.inf, dtype=torch.float64), mean

    def step(self, steps: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the weighted mean after each step [B, n, D], and the state."""
        if not steps.shape[1]:
            return steps.float(), state
        log_sum, mean = _check_state(steps, state)
        with torch.autocast(steps.device.type, enabled=False):
            scores = self.score(steps.float())[..., 0].double()
        pooled = []
        # Means after n steps need n * n weights: steps are processed 64 at a time to save memory.
        for values, logs in zip(torch.split(steps.double(), 64, 1), torch.split(scores, 64, 1), strict=True):
            log_sums = torch.logaddexp(log_sum[:, None], logs.logcumsumexp(1))
            weights = (logs[:, None] - log_sums[..., None]).exp().tril()
            old = (log_sum[:, None] - log_sums).exp()
            means = old[..., None] * mean[:, None] + weights @ values
            log_sum, mean = _copy_last_step(log_sums), _copy_last_step(means)
            pooled.append(means.float())
        return torch.cat(pooled, 1), (log_sum, mean)


class AttentiveStatisticsPooling(Pooling):
    """Weighted mean and weighted standard deviation, with weights for each dimension.

    The scoring network takes the step, and the plain mean and deviation of the whole utterance.

    Args:
        in_dim: Number of values of a step, D.
        hidden_dim: Number of hidden units of the scoring network.

    Source: Okabe, Koshinaka, Shinoda, "Attentive statistics pooling for deep speaker embedding", Interspeech
    2018; context: Desplanques, Thienpondt, Demuynck, "ECAPA-TDNN", Interspeech 2020.
    """

    def __init__(self, in_dim: int, hidden_dim: int = 64) -> None:
        super().__init__(in_dim)
        self.out_dim = 2 * in_dim
        self.step_score = nn.Linear(in_dim, hidden_dim)
        self.context_score = nn.Linear(2 * in_dim, hidden_dim, bias=False)
        self.weight = nn.Linear(hidden_dim, in_dim)

    def forward(self, steps: Padded) -> Tensor:
        """Pool steps [B, T, D] to [B, 2 * D]."""
        mean = masked_mean(steps)
        deviation = masked_mean(steps.with_values((steps.values - mean[:, None]).square())).add(1e-5).sqrt()
        context = self.context_score(torch.cat([mean, deviation], -1))
        hidden = torch.tanh(self.step_score(steps.values) + context[:, None])
        weights = masked_softmax(self.weight(hidden), steps)
        mean = (weights * steps.values).sum(1)
        deviation = (weights * (steps.values - mean[:, None]).square()).sum(1).add(1e-5).sqrt()
        return torch.cat([mean, deviation], -1)


class EveryStep(Pooling):
    """No pooling: the head is applied to every step."""

    resolution: ClassVar[Literal["utterance", "frame"]] = "frame"

    def forward(self, steps: Padded) -> Tensor:
        """Return all real steps of [B, T, D] as rows [N, D], utterance after utterance."""
        return steps.values[steps.mask]

    def initial_state(self, batch_size: int) -> State:
        """Return an empty state."""
        return ()

    def step(self, steps: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the steps [B, n, D] unchanged."""
        return steps.float(), state


def masked_mean(steps: Padded) -> Tensor:
    """Compute the mean over the real steps of [B, T, D]: [B, D]."""
    return (steps.values * steps.mask.unsqueeze(-1)).sum(1) / steps.lengths[:, None]


def _slopes(steps: Padded, mean: Tensor) -> Tensor:
    """Compute the slopes [B, D] of lines fitted to the real steps of [B, T, D], times the deviation of time."""
    count = steps.lengths[:, None]
    time = torch.arange(steps.values.shape[1], device=mean.device) - (count - 1) / 2  # [B, T]
    products = (steps.values - mean[:, None]) * (time * steps.mask).unsqueeze(-1)
    deviation = ((count.square() - 1) / 12).sqrt()  # of 0, 1, ..., count - 1
    return products.sum(1) / count / deviation.clamp_min(0.5)  # that of two steps is 0.5


def masked_softmax(scores: Tensor, steps: Padded) -> Tensor:
    """Compute weights from scores [B, T, N] that sum to 1 over the real steps and are 0 on padding."""
    return scores.masked_fill(~steps.mask.unsqueeze(-1), -torch.inf).softmax(1)


def _zeros(batch_size: int) -> Tensor:
    return torch.zeros(batch_size, dtype=torch.float64)


def _copy_last_step(values: Tensor) -> Tensor:
    """Copy the last step [B, ...] of [B, n, ...], so that the state shares no memory with an output."""
    return values[:, -1].clone()


def _check_state(steps: Tensor, state: State) -> State:
    """Move the state to the device of the steps, after checking its batch size."""
    check_batch_size(steps, state[0])
    return tuple(part.to(steps.device) for part in state)
