"""Scores of whole recordings, and pictures of probabilities over time."""

import numpy as np
import pytest
import torch

from ser.errors import ConfigError
from ser.report import stream_plot
from ser.training.recording_callbacks import RecordingScores, running_mean, scores_of_recordings


def test_a_running_mean_counts_what_is_heard_alone():
    scores = torch.tensor([[0.2, 0.8], [0.4, 0.6], [0.9, 0.1], [0.6, 0.4]])
    heard = torch.tensor([False, True, False, True])
    means = running_mean(scores, heard)
    assert np.isnan(means[0]).all()
    np.testing.assert_allclose(means[1:], [[0.4, 0.6], [0.4, 0.6], [0.5, 0.5]], rtol=1e-6)


def test_a_recording_without_a_decision_counts_as_wrong():
    nothing = [float("nan")] * 2
    decisions = [("a", [0.9, 0.1], 0), ("b", [0.3, 0.7], 1), ("c", nothing, 0), ("d", nothing, 1)]
    scores = scores_of_recordings(decisions, ("en", "hi"))
    assert scores == {"accuracy": 0.5, "uar": 0.5, "floor": 0.5, "recall_en": 0.5, "recall_hi": 0.5}


def test_fewer_pictures_than_none_are_refused():
    with pytest.raises(ConfigError, match=r"callbacks\.recordings\.pictures=-1: give 0 or more"):
        RecordingScores(pictures=-1)


def test_silence_is_shaded_and_every_class_has_its_line():
    times = np.arange(300) * 0.01
    scores = np.stack([np.linspace(0, 1, 300), np.linspace(1, 0, 300)], 1)
    silence = (times < 0.5) | (times > 2.5)
    running = np.where(silence[:, None], np.nan, scores)
    figure = stream_plot.probabilities(times, scores, running, silence, class_names=["en", "hi"], title="x")
    frames, decision = figure.axes
    assert len(frames.patches) == len(decision.patches) == 2
    assert len(frames.lines) == 4
    assert len(decision.lines) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["en", "hi"]


def test_one_frame_makes_a_picture():
    one = np.full((1, 2), 0.5)
    stream_plot.probabilities(np.zeros(1), one, one, np.array([False]), class_names=["a", "b"], title="x")
