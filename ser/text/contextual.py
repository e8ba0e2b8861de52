"""Vectors of words in their sentence: hidden states of a text model by the package `transformers`.

Nothing is downloaded: a model is given as a folder.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ser.errors import CheckpointError, ConfigError, first_line, install_command

_FEWEST = 512  # pieces that a model takes which does not state how many


class ContextualVectors:
    """Hidden states of a text model such as BERT, averaged over the pieces of each word.

    Args:
        folder: Folder written by `save_pretrained`, with the model and its fast tokenizer.
        layer: 0 for the embeddings of pieces, 1 for the output of the first layer, and so on; -1 for that of the last.

    Raises:
        ConfigError: The package is not installed, or the model has no such layer.
        CheckpointError: The folder does not hold a text model with a fast tokenizer.
    """

    def __init__(self, folder: str, *, layer: int = -1) -> None:
        self.model, self.tokenizer = _load(folder)
        layers = self.model.config.num_hidden_layers + 1
        if not -layers <= layer < layers:
            raise ConfigError(
                f"{folder}: has the layers 0 to {layers - 1}, but layer {layer} is asked for. Give one of them."
            )
        self.layer = layer
        self.dim = int(self.model.config.hidden_size)
        self.max_pieces = int(getattr(self.model.config, "max_position_embeddings", _FEWEST)) - 2

    @torch.inference_mode()
    def __call__(self, words: Sequence[str]) -> Tensor:
        """Return the vectors [N, D] of the words of a sentence; zeros for a word of which no piece is left.

        A sentence that is too long for the model is cut in half between words, again and again.
        """
        if not words:
            return torch.zeros(0, self.dim)
        inputs = self.tokenizer([*words], is_split_into_words=True, return_tensors="pt")
        if inputs["input_ids"].shape[1] > self.max_pieces:
            if len(words) > 1:
                half = len(words) // 2
                return torch.cat([self(words[:half]), self(words[half:])])
            inputs = self.tokenizer(
                [*words],
                is_split_into_words=True,
                return_tensors="pt",
                truncation=True,
                max_length=self.max_pieces,
            )
        hidden = self.model(**inputs, output_hidden_states=True).hidden_states[self.layer][0].float()
        owners = torch.tensor([-1 if word is None else word for word in inputs.word_ids()])
        sums = torch.zeros(len(words), self.dim).index_add_(0, owners[owners >= 0], hidden[owners >= 0])
        counts = torch.bincount(owners[owners >= 0], minlength=len(words))
        return sums / counts.clamp_min(1)[:, None]


def _load(folder: str) -> tuple[Any, Any]:
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(
            f"{folder}: the package transformers is not installed ({error}). Run: {install_command('transformers')}"
        ) from error
    if not (Path(folder) / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: holds no config.json. Give a folder as save_pretrained writes it, with the model and its "
            "tokenizer; nothing is downloaded."
        )
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
        model, report = transformers.AutoModel.from_pretrained(folder, output_loading_info=True, **options)
    except Exception as error:  # the library refuses files in many ways
        raise CheckpointError(
            f"{folder}: cannot be loaded by transformers ({first_line(error)}). Save model and tokenizer there again."
        ) from error
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing:
        raise CheckpointError(
            f"{folder}: its weights lack {len(missing)} tensors, the first is {missing[0]}; they would be random. "
            "Save the whole model there again."
        )
    if not tokenizer.is_fast or getattr(model.config, "is_encoder_decoder", False):
        raise CheckpointError(
            f"{folder}: a {model.config.model_type} with {type(tokenizer).__name__} does not say which pieces are of "
            "which word. Give an encoder such as BERT with its fast tokenizer."
        )
    return model.float().eval(), tokenizer
