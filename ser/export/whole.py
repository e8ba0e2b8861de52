"""A whole model as one graph: waveforms or frames of several recordings, with their lengths, to answers."""

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.checkpoints.checkpoint import Trained
from ser.config.instantiate import build
from ser.curves import PostProcessing
from ser.errors import ConfigError, setting
from ser.export.features_graph import FeaturesGraph, replace_extractors
from ser.export.recurrent_graph import replace_recurrent
from ser.inference.head_statistics import refuse_groups
from ser.targets.base import Target

Input = Literal["waveform", "frames"]
SEES_ONE = "an exported model sees one"


class Features(nn.Module):
    """Map waveforms to the frames that a model takes, [B, T, F], and their numbers [B].

    Args:
        trained: A model whose frames can be computed from waveforms.

    Raises:
        ConfigError: The features have no graph.
    """

    takes: Input = "waveform"
    output_names = ("frames", "num_frames")

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.features = FeaturesGraph(build(trained.features, slot="features"))

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map waveforms [B, N] float32 with their lengths [B] int64."""
        frames, _ = self.features(Padded(values.unsqueeze(-1), lengths))
        return frames.values, frames.lengths


class Whole(nn.Module):
    """Map recordings to what `ser predict` answers: probabilities or values [B, A].

    Models that answer every frame have a second output, the answers of the frames [B, T, A], and a third, the number
    of frames of each recording [B].

    Args:
        trained: The model.
        takes: `waveform` for samples [B, N]; `frames` for features [B, T, F] as the model was trained on.

    Raises:
        ConfigError: An answer depends on other recordings, or the features have no graph.
    """

    def __init__(self, trained: Trained, takes: Input) -> None:
        super().__init__()
        refuse_groups(trained, SEES_ONE)
        self.post = _post_processing(trained)
        self.takes = takes
        self.features = (
            FeaturesGraph(build(trained.features, slot="features")) if takes == "waveform" else None
        )
        self.model = copy.deepcopy(trained.model)
        self.target = trained.target
        replace_extractors(self.model)
        replace_recurrent(self.model)
        self.model.head.layers[0] = _plain_norm(self.model.head.layers[0])

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the names of the outputs."""
        quantity = "probabilities" if self.target.class_names else "values"
        return (quantity, f"frame_{quantity}", "num_frames") if self.answers_frames else (quantity,)

    @property
    def answers_frames(self) -> bool:
        """Return whether the model answers every frame."""
        return self.model.pooling.resolution == "frame"

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Map waveforms [B, N] or frames [B, T, F] float32, with their numbers of samples or frames [B] int64."""
        speech: Tensor | None = None
        if self.features is None:
            audio = Padded(values, lengths)
        else:
            audio, speech = self.features(Padded(values.unsqueeze(-1), lengths))
        if not self.answers_frames:
            return (self.target.scores(self.model(audio)),)
        steps = self.model.encoder(self.model.frontend(audio))
        logits = self.model.head.step(steps.values)
        answers, real = self.post(self.target.scores(logits)), steps.mask
        heard = self.target.is_speech(logits, real if speech is None else speech) & real
        kept = answers.double().where(heard.unsqueeze(-1), 0).sum(1) / heard.sum(1, keepdim=True)
        return kept.float(), answers * real.unsqueeze(-1), steps.lengths


def _plain_norm(norm: Any) -> nn.Module:
    """Return a batch norm as it is in evaluation, without the branch for a batch of one, which does the same there."""
    if isinstance(norm, nn.Identity):
        return norm
    plain = nn.BatchNorm1d(norm.num_features, norm.eps)
    plain.load_state_dict(norm.state_dict())
    return plain


def _post_processing(trained: Trained) -> PostProcessing:
    """Return what is done with the answers of frames: they may be scaled and moved.

    Raises:
        ConfigError: They are smoothed or delayed over time.
    """
    post: PostProcessing = getattr(trained.target, "post", PostProcessing())
    if post.smoothing_s or post.delay_s:
        raise ConfigError(
            f"{setting('ckpt', trained.path)}: its values over time are {post}, which an exported model does not do. "
            "Train with target.smoothing_s=0 target.delay_s=0"
        )
    return post


def class_answers(target: Target) -> dict[str, dict[str, str]]:
    """Return the class of each answer that is a probability, by label: `label`, or the name of each task."""
    names = iter(answer_names(target))
    found = {}
    for label, part in getattr(target, "targets", {"label": target}).items():
        own = [next(names) for _ in answer_names(part)]
        if len(part.class_names) == len(own):
            found[label] = dict(zip(own, part.class_names, strict=True))
    return found


def answer_names(target: Target) -> list[str]:
    """Return the name of each answer: of a class, or of the column that `ser predict` writes."""
    width = target.scores(torch.zeros(1, target.out_dim)).shape[-1]
    if len(target.class_names) == width:
        return [str(name) for name in target.class_names]
    probe = torch.arange(1, width + 1) / 1024  # exact in every float
    (columns,) = target.predictions(probe[None])
    name_of = {value: name.removeprefix("p_") for name, value in columns.items() if isinstance(value, float)}
    return [name_of.get(value, f"answer_{place}") for place, value in enumerate(probe.tolist())]
