"""Tiny encoders with random weights, in folders as a user would save them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ser.batch import Padded
from ser.checkpoints.checkpoint import assemble, describe
from ser.pretrained import PretrainedEncoder

transformers = pytest.importorskip("transformers")

WAV2VEC = {
    **{"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24},
    **{"conv_dim": [8, 8, 8], "conv_kernel": [10, 8, 4], "conv_stride": [8, 8, 5]},
    **{"num_feat_extract_layers": 3, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2},
    **{"initializer_range": 0.3},
}
GROUP = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
DATA2VEC = {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}
WHISPER = {
    **{
        "d_model": 16,
        "encoder_layers": 3,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "init_std": 0.3,
    },
    **{"decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "vocab_size": 20},
    **{"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0},
    **{"max_source_positions": 50, "num_mel_bins": 80},
}
FAMILIES = {
    "wav2vec2_group": ("Wav2Vec2", WAV2VEC | GROUP),
    "wav2vec2_layer": ("Wav2Vec2", WAV2VEC | LAYER),
    "hubert_group": ("Hubert", WAV2VEC | GROUP),
    "hubert_layer": ("Hubert", WAV2VEC | LAYER),
    "wavlm_group": ("WavLM", WAV2VEC | GROUP),
    "wavlm_layer": ("WavLM", WAV2VEC | LAYER),
    "data2vec": ("Data2VecAudio", WAV2VEC | DATA2VEC),
    "whisper": ("Whisper", WHISPER),
}
EXACT = {"atol": 2e-5, "rtol": 1e-4}


def save(folder: Path, family: str, **changed: object) -> str:
    """A tiny model with random weights and its feature extractor, as a user would save them."""
    kind, settings = FAMILIES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}Model")(
            getattr(transformers, f"{kind}Config")(**settings | changed)
        )
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # zeros would hide what leaks from padding
                torch.nn.init.uniform_(parameter, -0.5, 0.5)
    model.save_pretrained(folder)
    extractor = (
        transformers.WhisperFeatureExtractor(chunk_length=1)
        if kind == "Whisper"
        else transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    )
    extractor.save_pretrained(folder)
    return str(folder)


def waveforms(*lengths: int) -> Padded:
    """Return noise with an offset, and garbage in its padding."""
    audio = Padded.collate([torch.randn(length, 1) * 0.3 + 0.1 for length in lengths])
    return audio.with_values(
        torch.where(audio.mask.unsqueeze(-1), audio.values, 50 + 100 * torch.randn_like(audio.values))
    )


def trained(encoder: PretrainedEncoder) -> set[str]:
    return {name for name, weight in encoder.named_parameters() if weight.requires_grad}


def classifier(path: str, **changed: object) -> tuple[Any, dict[str, Any]]:
    config = {
        "features": {"_target_": "ser.features.Waveform", "sample_rate": 16_000, "normalize": "none"},
        "frontend": {"_target_": "ser.models.Frontend", "normalize": "none", "delta_scale": 0.0},
        "model": {"_target_": "ser.pretrained.PretrainedEncoder", "path": path, **changed},
        "pooling": {"_target_": "ser.models.MeanPooling"},
        "head": {"_target_": "ser.models.Head"},
        "target": {"_target_": "ser.targets.Classes", "class_names": ["anger", "joy"], "field": "emotion"},
    }
    description = describe(config, feature_dim=1)
    model = assemble(description)[0]
    return model, {**description, "model": dict(model.encoder.portable(description["model"]))}
