"""The functions of the HEAR benchmark, for any encoder that this project can read.

`load_model`, `get_scene_embeddings` and `get_timestamp_embeddings` have the names and shapes of the common API, so that
its tools can evaluate an encoder: the model is a module with `sample_rate`, `scene_embedding_size` and
`timestamp_embedding_size`. The embedding of a clip does not depend on the others of a batch.

Source: Turian et al., "HEAR: Holistic Evaluation of Audio Representations", 2022; https://hearbenchmark.com/hear-api.html
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded
from ser.embeddings.base import Embedder
from ser.embeddings.load import Layer, Stats, load_embedder
from ser.errors import ConfigError, DataError

FRAME_MS, HOP_MS = 1000.0, 50.0
_SECONDS_AT_A_TIME = 128  # audio in a batch of windows


class HearModel(nn.Module):
    """Embedder with the attributes of the common API.

    Args:
        embedder: Embedder, in evaluation mode.
    """

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self.embedder = embedder.eval()
        self.sample_rate = embedder.sample_rate
        self.scene_embedding_size = embedder.dim
        self.timestamp_embedding_size = embedder.dim

    def forward(self, audio: Tensor) -> Tensor:
        """Embed clips [n, samples] to [n, D]."""
        return get_scene_embeddings(audio, self)


def load_model(
    path: str, *, layer: Layer = "last", stats: Stats = "checkpoint", corpus: Iterable[Tensor] = ()
) -> HearModel:
    """Load an encoder.

    Args:
        path: Encoder folder, published file of BYOL-S, or checkpoint or folder of a run.
        layer: Hidden state of an encoder of `transformers`: `last` or a number.
        stats: Mean and deviation of the log-mels that BYOL-S reads: those of its folder (`checkpoint`), of the
            `corpus`, or of each clip (`clip`).
        corpus: Waveforms [samples] with stats="corpus", from which the statistics are computed.

    Raises:
        ConfigError: The encoder has no such layer, or a setting is for other encoders.
        CheckpointError: The path holds no encoder.
    """
    embedder = load_embedder(path, layer=layer, stats=stats)
    if embedder.needs_statistics:
        clips = [embedder.extractor(Padded.collate([clip.float()[:, None]])).values[0] for clip in corpus]
        if not clips:
            raise ConfigError(
                "stats=corpus: needs the waveforms of the corpus. Pass them to load_model, too, as its argument corpus."
            )
        embedder.fit(clips)
    return HearModel(embedder)


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """Embed clips [n, samples], in -1..1 at the model's sample rate, to [n, D].

    Raises:
        DataError: The clips are too short, or no tensor of two dimensions.
    """
    _check(audio)
    size = max(1, round(_SECONDS_AT_A_TIME * model.sample_rate / audio.shape[1]))
    return torch.cat([_embed(part, model) for part in torch.split(audio, size)])


def get_timestamp_embeddings(
    audio: Tensor, model: HearModel, frame_duration: float = FRAME_MS, hop_size: float = HOP_MS
) -> tuple[Tensor, Tensor]:
    """Embed a window around every timestamp of clips [n, samples].

    Clips are padded with half a window of zeros at each end, so that the first timestamp is 0.

    Args:
        audio: Clips in -1..1 at the model's sample rate.
        model: Model of `load_model`.
        frame_duration: Length of a window in ms.
        hop_size: Distance from one timestamp to the next in ms.

    Returns:
        Embeddings [n, t, D], and their timestamps [n, t] in ms, evenly spaced.

    Raises:
        DataError: The windows are too short, or the clips no tensor of two dimensions.
    """
    _check(audio)
    window, hop = (round(length * model.sample_rate / 1000) for length in (frame_duration, hop_size))
    if window < 1 or hop < 1:
        raise DataError(
            f"A window of {frame_duration} ms every {hop_size} ms has less than one sample. Give windows and hops of "
            "some milliseconds, such as 1000 and 50."
        )
    padded = functional.pad(audio, (window // 2, window - window // 2))
    windows = padded.unfold(1, window, hop)  # [n, t, window]
    count = windows.shape[1]
    embeddings = get_scene_embeddings(windows.reshape(-1, window), model)
    times = torch.arange(count, device=audio.device) * (1000 * hop / model.sample_rate)
    return embeddings.view(len(audio), count, -1), times.float().expand(len(audio), -1)


def _embed(clips: Tensor, model: HearModel) -> Tensor:
    lengths = torch.full((len(clips),), clips.shape[1], device=clips.device)
    embedded: Tensor = model.embedder(Padded(clips.float().unsqueeze(-1), lengths))
    return embedded


def _check(audio: Tensor) -> None:
    if audio.ndim != 2 or not audio.is_floating_point() or not audio.numel():
        raise DataError(
            f"audio: has the shape {[*audio.shape]} and the type {audio.dtype}, expected floats [clips, samples]. "
            "Give a batch, such as audio[None] for one clip."
        )
