"""How well the silence detector does where the truth is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ser.batch import Padded
from ser.data.manifest import Manifest, Utterance
from ser.data.store_io import new_store
from ser.features.extractors import LogMel
from ser.features.vad import Silence, SilenceDetector
from ser.splits.base import Splits
from ser.synthetic.vad_scores import describe_scores, detection_scores

RATE = 8000


def an_extractor(mode: str, hang_over_s: float = 0.0) -> LogMel:
    detector = SilenceDetector(
        RATE,
        relative_db=None,
        absolute_db=-40.0,
        min_silence_s=0.1,
        min_speech_s=0.0,
        hang_over_s=hang_over_s,
    )
    return LogMel(sample_rate=RATE, num_mel_bins=8, silence=Silence(detector, mode))


def splits_of(extractor: LogMel, tmp_path: Path) -> Splits:
    """One recording of 4 s, heard in two halves; speech from 1 to 2 s and from 2.5 to 3 s."""
    times = torch.arange(4 * RATE) / RATE
    spoken = ((times >= 1) & (times < 2)) | ((times >= 2.5) & (times < 3))
    waveform = torch.randn(4 * RATE) * torch.where(spoken, 0.1, 1e-4)
    with new_store(tmp_path) as writer:
        for half in waveform.split(2 * RATE):
            features, speech = extractor.with_speech(Padded(half[None, :, None], torch.tensor([len(half)])))
            assert speech is not None
            writer.append(features.values[0].numpy(), speech[0].numpy())
        store = writer.commit(["a", "b"], None, label_names=(), layout="object")
    halves = tuple(
        Utterance(name, Path("a.wav"), start=start, end=start + 2.0)
        for name, start in (("a", 0.0), ("b", 2.0))
    )
    return Splits({"train": store}, manifests={"train": Manifest(halves, "x")})


TRUTH = {"a": np.array([[1.0, 2.0], [2.5, 3.0]])}


def test_clear_pauses_are_found(tmp_path):
    extractor = an_extractor("mask")
    scores = detection_scores(splits_of(extractor, tmp_path), TRUTH, extractor)
    assert scores["speech"]["f1"] > 0.97
    assert scores["silence"]["f1"] > 0.97
    (line,) = describe_scores(scores)
    assert f"F1 {scores['silence']['f1']:.1%}" in line


def test_a_hang_over_costs_precision_of_speech_and_recall_of_silence(tmp_path):
    extractor = an_extractor("keep", hang_over_s=0.2)
    scores = detection_scores(splits_of(extractor, tmp_path), TRUTH, extractor)
    assert scores["speech"]["recall"] == pytest.approx(1, abs=0.01)
    assert scores["speech"]["precision"] < 0.8
    assert scores["silence"]["recall"] < 0.85


def test_nothing_is_scored_where_silence_is_gone_or_nobody_looks(tmp_path):
    extractor = an_extractor("remove")
    assert detection_scores(splits_of(extractor, tmp_path), TRUTH, extractor) == {}
    assert detection_scores(Splits({}), TRUTH, LogMel(sample_rate=RATE)) == {}
    assert describe_scores({}) == []
