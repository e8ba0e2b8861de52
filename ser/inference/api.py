"""Use trained models in Python: `ser.load(RUN).predict("speech.wav")`. Predictions equal those of `ser predict`."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from ser.audio.reader import RATES, read_audio, resample
from ser.batching.dataset import UtteranceDataset
from ser.batching.samplers import EvaluationSampler
from ser.checkpoints.checkpoint import Trained
from ser.config import slots
from ser.data.feature_store import extract_features
from ser.data.store import Store
from ser.errors import ConfigError, DataError, SerError
from ser.features.extractors import Extractor
from ser.features.on_the_fly import OnTheFlyFeatures
from ser.features.steps import STEP_S, split_roles
from ser.inference import conversation_files, curves, predict
from ser.inference.conversation_files import Turns, Words
from ser.inference.mixture import Mixture, load_mixtures, mixture_scores, require_plain
from ser.inference.model_inputs import ModelInput, group_models
from ser.inference.stream import Stream

Item = str | Path | np.ndarray | Tensor
"""A recording: the path of a file, or its samples; or frames of features."""
Items = list[Item] | tuple[Item, ...]

_LOUDEST = 100.0  # times full scale, which no recording reaches, unlike 16-bit samples
_MAX_UTTERANCES = 256  # utterances in a batch


@dataclass(frozen=True)
class Prediction:
    """Prediction for one recording.

    Args:
        label: Name of the most likely class; None if no class is predicted, or if the recording holds no speech.
        probabilities: Probability of each class by name, 0..1; empty if no class is predicted.
        values: Other predictions by field: numbers such as the arousal of a regression, or the two bits of the course
            challenge; arrays [T] float32 from models that predict values over time.
        times: Times [T] of such arrays in s; None from other models.
    """

    label: str | None
    probabilities: Mapping[str, float]
    values: Mapping[str, Any]
    times: np.ndarray | None = None


def load(
    ckpt: str | Path | Sequence[str | Path],
    device: str = "cpu",
    *,
    trust: str | Sequence[str] = (),
    calibrate: bool = False,
) -> "Predictor":
    """Read a trained model.

    Args:
        ckpt: What `ser predict ckpt=` accepts: a checkpoint, the folder of a run or of an ensemble, or a list of
            these, whose predictions are averaged.
        device: Device of the computation: cpu, cuda, cuda:1, or auto for a GPU if there is one.
        trust: Further packages whose code a checkpoint may use.
        calibrate: Whether to scale probabilities by the temperatures that the runs fitted on validation.

    Raises:
        CheckpointError: There is no checkpoint, or it cannot be used; or no temperature is known.
        ConfigError: The device is not available.
    """
    slots.trust([trust] if isinstance(trust, str) else trust)
    paths = [ckpt] if isinstance(ckpt, str | Path) else [*ckpt]
    mixtures = load_mixtures(paths, calibrate=calibrate)
    if not mixtures:
        raise ConfigError("load: an empty list of checkpoints. Give a checkpoint, or the folder of a run.")
    return Predictor(mixtures, device=device)


class Predictor:
    """One trained model, or several whose predictions are averaged.

    Args:
        mixtures: Models with the same target, and how they are averaged.
        device: See `load`.

    Raises:
        ConfigError: The device is not available.
    """

    def __init__(self, mixtures: Sequence[Mixture], *, device: str = "cpu") -> None:
        self.mixtures = [*mixtures]
        self.models = [model for each in mixtures for model in each.models]
        self.device = predict.choose_device(device)
        self._extractors: dict[Path, Extractor] = {}

    def __repr__(self) -> str:
        return f"Predictor({', '.join(self.labels)}; {', '.join(str(model.path) for model in self.models)})"

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of the classes, or of the fields if values are predicted."""
        target = self.models[0].target
        return target.class_names or target.label_names

    @property
    def sample_rate(self) -> int:
        """Return the sample rate of the waveforms in training, that of the first model, in Hz; others are resampled.

        Raises:
            ConfigError: The models were trained on features that cannot be computed from waveforms here.
        """
        return self._extractor_of(self.models[0]).sample_rate

    @overload
    def predict(
        self,
        recordings: Item,
        sample_rate: int | None = None,
        *,
        words: Words | None = None,
        turns: Turns | None = None,
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        recordings: Items,
        sample_rate: int | None = None,
        *,
        words: Sequence[Words | None] | None = None,
        turns: Sequence[Turns | None] | None = None,
    ) -> list[Prediction]: ...
    def predict(
        self,
        recordings: Item | Items,
        sample_rate: int | None = None,
        *,
        words: Any = None,
        turns: Any = None,
    ) -> Prediction | list[Prediction]:
        """Predict a recording, or each of a list.

        Args:
            recordings: Path of an audio file; or a waveform [samples], floats in -1..1, one channel; or features
                [T, F] as the model was trained on, T frames of F values; or a list of these.
            sample_rate: Sample rate of waveforms in Hz, any; files contain their own, and features have none.
            words: For models of audio and words: path of a CSV as `ser align` writes it, or a list of (start, end,
                word) in s, sorted; for a list of recordings a list of these, None where there are none.
            turns: Start and end in s of each turn of the subject, or the path of a CSV with start;end; None if nobody
                else speaks. For a list of recordings a list of these.

        Raises:
            SerError: A recording cannot be used; the message names it.
        """
        items, names = _list_items(recordings)
        if not items:
            return []
        many = _is_list(recordings)
        own_words, own_turns = (
            conversation_files.one_each(given, len(items), key) if many else [given]
            for key, given in (("words", words), ("turns", turns))
        )
        if curves.predicts_curves(self.models):
            found = self._predict_curves(items, names, sample_rate, own_words, own_turns)
            return found if many else found[0]
        for key, given in (("words", own_words), ("turns", own_turns)):
            if any(each is not None for each in given):
                raise ConfigError(f"{key}: {self.models[0].path} has no steps with words. Leave {key} out.")
        groups = group_models(self.models)
        if (
            len(groups) > 1
            and sample_rate is None
            and any(not isinstance(item, str | Path) for item in items)
        ):
            raise ConfigError(
                "predict: these models read different features, so arrays must be waveforms. Give sample_rate=HZ, "
                "such as sample_rate=16000."
            )
        given = [ModelInput(own, self._read(items, names, sample_rate, own[0])) for own in groups]
        scores = mixture_scores(self.mixtures, given, device=self.device)
        found = [self._prediction(row) for row in self.models[0].target.predictions(scores)]
        return found if many else found[0]

    def _predict_curves(
        self,
        items: Items,
        names: Sequence[str],
        sample_rate: int | None,
        words: Sequence[Words | None],
        turns: Sequence[Turns | None],
    ) -> list[Prediction]:
        """Predict values over time."""
        is_given = any(each is not None for each in words)
        curves.check_words(self.models, "words" if is_given else None)
        extractor = predict.extractor_of(self.models)
        rate, roles = extractor.sample_rate, extractor.num_roles
        waveforms = [
            _waveform(item, name, sample_rate, rate) for item, name in zip(items, names, strict=True)
        ]
        seconds = [len(waveform) / rate for waveform in waveforms]
        late: list[str] = []
        spoken = [
            () if own is None else conversation_files.spoken_words(own, duration_s, late, name=name)
            for own, duration_s, name in zip(words, seconds, names, strict=True)
        ]
        conversation_files.warn_about_late(late)
        spans = [
            None if own is None else conversation_files.spans_of_turns(own, duration_s, name=name)
            for own, duration_s, name in zip(turns, seconds, names, strict=True)
        ]
        curves.check_roles(self.models, spans)
        channels = [
            split_roles(torch.from_numpy(waveform), own, rate).numpy()
            if own is not None and roles > 1
            else waveform
            for waveform, own in zip(waveforms, spans, strict=True)
        ]
        found = [extract_features(own, extractor, name) for own, name in zip(channels, names, strict=True)]
        store = _store_of(names, found)
        values = curves.predict_curves(self.models, store, spoken, device=self.device)
        return [
            Prediction(None, {}, dict(zip(self.labels, own.T, strict=True)), STEP_S * np.arange(len(own)))
            for own in values
        ]

    @torch.inference_mode()
    def embed(self, recordings: Item | Items, sample_rate: int | None = None) -> np.ndarray:
        """Return the embeddings [N, D] float32 that the model's pooling passes to its head; N is 1 for one recording.

        Args:
            recordings: See `predict`.
            sample_rate: See `predict`.

        Raises:
            SerError: A recording cannot be used, there are several models, or the model answers every frame.
        """
        (trained, *others) = self.models
        if others:
            raise ConfigError(
                f"embed: {len(self.models)} models have embeddings of their own, which cannot be averaged. "
                f"Load one of them, such as {trained.path}."
            )
        if trained.target.labelled_at == "frame":
            raise ConfigError(
                f"embed: {trained.path} predicts values over time, so it has no embedding of a recording. "
                "Train with target=regression, which has a value for a whole recording."
            )
        if trained.model.pooling.resolution == "frame":
            raise ConfigError(
                f"embed: {trained.path} answers every frame, so it has no embedding of a recording. "
                "Train with pooling=mean or another that pools."
            )
        items, names = _list_items(recordings)
        embeddings = np.zeros((len(items), trained.model.pooling.out_dim), dtype=np.float32)
        if not items:
            return embeddings
        dataset = UtteranceDataset(self._read(items, names, sample_rate, trained), None)
        predict.check_fit(trained, trained, dataset.store, OnTheFlyFeatures())
        trained.model.to(self.device)
        max_frames = predict.frames_per_batch(self.device, are_waveforms=trained.reads_waveforms)
        for draw in EvaluationSampler(dataset.lengths, max_frames=max_frames, max_utterances=_MAX_UTTERANCES):
            batch = dataset[draw].to(self.device)
            embeddings[draw.indices] = trained.model.embed(batch.audio).float().cpu().numpy()
        return embeddings

    def stream(self) -> Stream:
        """Create a stream, whose `push(samples)` returns the new decisions, on the CPU.

        Raises:
            ConfigError: The model is not causal, does not predict classes, or has fitted weights or a temperature.
        """
        require_plain(self.mixtures)
        return Stream([replace(one, model=copy.deepcopy(one.model).cpu()) for one in self.models])

    def _extractor_of(self, trained: Trained) -> Extractor:
        """Return the extractor of a model's features, built once."""
        if trained.path not in self._extractors:
            self._extractors[trained.path] = predict.extractor_of([trained])
        return self._extractors[trained.path]

    def _prediction(self, columns: Mapping[str, Any]) -> Prediction:
        """Build a prediction from the columns that `ser predict` writes."""
        named = self.models[0].target.probability_columns
        return Prediction(
            label=columns.get("label"),
            probabilities={name.removeprefix("p_"): columns[name] for name in named},
            values={name: value for name, value in columns.items() if name not in ("label", *named)},
        )

    def _read(self, items: Items, names: Sequence[str], sample_rate: int | None, trained: Trained) -> Store:
        """Compute the features that a model reads of all recordings, without a cache."""
        found = [
            self._features(item, name, sample_rate, trained) for item, name in zip(items, names, strict=True)
        ]
        for (frames, _), name in zip(found, names, strict=True):
            if frames.shape[1] != trained.feature_dim:
                raise DataError(
                    f"{name}: has the shape {[*frames.shape]}, expected {trained.feature_dim} values in each frame. "
                    "For a waveform, give [samples] of one channel and sample_rate=HZ."
                )
        return _store_of(names, found)

    def _features(
        self, item: Item, name: str, sample_rate: int | None, trained: Trained
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Compute features [T, F] of a recording, and the mask of speech if silence is detected."""
        if not isinstance(item, str | Path):
            array = _checked(item, name)
            if array.ndim == 2 and sample_rate is None:
                return array, None
        extractor = self._extractor_of(trained)
        return extract_features(_waveform(item, name, sample_rate, extractor.sample_rate), extractor, name)


def _waveform(item: Item, name: str, sample_rate: int | None, target_rate: int) -> np.ndarray:
    """Return the waveform [samples] of a recording, at the rate of a model in Hz."""
    if isinstance(item, str | Path):
        return read_audio(Path(item).expanduser(), target_rate)
    array = _checked(item, name)
    if array.ndim != 1:
        raise DataError(
            f"{name}: has the shape {[*array.shape]}, expected the samples of one channel, [samples]. "
            "Average its channels, or give recordings as a list of arrays."
        )
    rate = _checked_rate(sample_rate, name)
    if (peak := float(np.abs(array).max())) > _LOUDEST:
        raise DataError(
            f"{name}: has samples up to {peak:.0f}, expected -1..1. Divide samples of 16 bits by 32768."
        )
    return resample(array, rate, target_rate)


def _store_of(names: Sequence[str], found: Sequence[tuple[np.ndarray, np.ndarray | None]]) -> Store:
    """Return a store of the features [T, F] of recordings, and of their masks of speech [T], where there are any."""
    speech = None
    if any(flags is not None for _, flags in found):
        speech = np.concatenate(
            [np.ones(len(frames), dtype=bool) if flags is None else flags for frames, flags in found]
        )
    return Store(
        ids=[*names],
        audio=np.concatenate([frames for frames, _ in found]),
        offsets=np.cumsum([0, *(len(frames) for frames, _ in found)]),
        labels=None,
        label_names=(),
        layout="records",
        fingerprint="",
        speech=speech,
    )


def _is_list(recordings: Item | Items) -> bool:
    return not isinstance(recordings, str | Path | np.ndarray | Tensor)


def _list_items(recordings: Item | Items) -> tuple[list[Item], list[str]]:
    """Return the recordings, and a name of each for messages."""
    if isinstance(recordings, str | Path):
        return [recordings], [str(recordings)]
    if isinstance(recordings, np.ndarray | Tensor):
        return [recordings], ["the waveform"]
    try:
        items = [*recordings]
    except TypeError:
        raise _no_recording(recordings, "the recording") from None
    return items, [
        str(item) if isinstance(item, str | Path) else f"item {place}" for place, item in enumerate(items)
    ]


def _no_recording(item: object, name: str) -> SerError:
    return DataError(
        f"{name}: is of type {type(item).__name__}, expected the path of a file, or an array of floats. "
        "Convert the samples to a NumPy array of floats."
    )


def _checked(item: np.ndarray | Tensor, name: str) -> np.ndarray:
    """Convert an array to float32, after checking it.

    Raises:
        DataError: It does not hold floats, is empty, or has values that are not finite.
    """
    if isinstance(item, Tensor):
        item = item.detach().cpu()
        item = (item.float() if item.is_floating_point() else item).numpy()
    if not isinstance(item, np.ndarray):
        raise _no_recording(item, name)
    if item.dtype.kind != "f":
        scale = (
            f" Divide by {-np.iinfo(item.dtype).min}." if item.dtype.kind == "i" else " Convert it to floats."
        )
        raise DataError(f"{name}: has values of type {item.dtype}, expected floats in -1..1.{scale}")
    if not item.size:
        raise DataError(f"{name}: is empty. Leave it out.")
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, which is checked below
        array = np.ascontiguousarray(item, dtype=np.float32)
    if not np.isfinite(array).all():
        raise DataError(f"{name}: has values that are NaN or infinite. Correct them, or leave it out.")
    return array


def _checked_rate(sample_rate: int | None, name: str) -> int:
    """Check a sample rate in Hz.

    Raises:
        DataError: There is none, or it is not plausible.
    """
    lowest, highest = RATES
    if sample_rate is None:
        raise DataError(
            f"{name}: its sample rate is not given. Add sample_rate=HZ, such as sample_rate=16000."
        )
    is_number = isinstance(sample_rate, int | float | np.integer | np.floating)
    if not is_number or not lowest <= sample_rate <= highest or sample_rate != int(sample_rate):
        raise DataError(
            f"{name}: has sample_rate={sample_rate!r}, expected a whole number of {lowest} to {highest} Hz. "
            "Give the rate that it was recorded at."
        )
    return int(sample_rate)
