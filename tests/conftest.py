"""Shared pieces of the tests: small speech-like features, and where real speech may lie."""

from pathlib import Path

import pytest
import torch

from ser.batch import Padded

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def shared() -> Path:
    """The folder of real speech beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("no shared/ folder with real speech beside the checkout")
    return SHARED


@pytest.fixture
def audio() -> Padded:
    """Six utterances of 26 log-mels, 1 to 90 frames; the padding is zero."""
    lengths = torch.tensor([90, 61, 40, 23, 8, 1])
    return Padded(torch.randn(6, 90, 26) * 3 + 8, lengths).zeroed()


def alone(audio: Padded, index: int) -> Padded:
    """One utterance of a batch, without mates and without padding."""
    length = int(audio.lengths[index])
    return Padded(audio.values[index : index + 1, :length], audio.lengths[index : index + 1])
