"""What encoders compute on a GPU, or on the device in its place, is what they compute on a CPU."""

from collections.abc import Callable

import pytest
import torch

from ser.pretrained import PretrainedEncoder
from tests.pretrained.test_own_encoders import write
from tests.pretrained.tiny import waveforms
from tests.test_gpu import device as device

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # within WavLM

TRANSFORMERS = ("wav2vec2_group", "wav2vec2_layer", "wavlm_layer", "data2vec", "whisper")
OWN = ("audio_ntt", "cvt")


@pytest.fixture(scope="module")
def encoders(
    folder: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, PretrainedEncoder]:
    """Encoders with all that draws at random; they are made before there is another device."""
    paths = {family: folder(family) for family in TRANSFORMERS}
    paths |= {kind: write(tmp_path_factory.mktemp(kind), kind) for kind in OWN}
    return {
        name: PretrainedEncoder(
            1, path=path, layer="weighted", lora_rank=0 if name in OWN else 2, mask_time_prob=0.3
        )
        for name, path in paths.items()
    }


@pytest.mark.parametrize("name", [*TRANSFORMERS, *OWN])
def test_encoder_computes_on_a_device_what_a_cpu_computes(
    name: str, encoders: dict[str, PretrainedEncoder], device: torch.device
) -> None:
    encoder, audio = encoders[name], waveforms(9000, 5000, 700)
    with torch.no_grad():
        expected = encoder.eval()(audio)
        found = encoder.to(device)(audio.to(device))
        assert encoder.train()(audio.to(device)).values.device.type == device.type
        encoder.to("cpu")
    assert found.lengths.tolist() == expected.lengths.tolist()
    for row, length in enumerate(expected.lengths.tolist()):
        values = found.values[row, :length].cpu()
        torch.testing.assert_close(values, expected.values[row, :length], atol=1e-4, rtol=1e-3)
