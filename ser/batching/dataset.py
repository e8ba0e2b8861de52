"""Read batches from a store."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ser.batch import Batch, Padded
from ser.batching.samplers import BatchIndices
from ser.data.store import Store
from ser.randomness import uniform, utterance_keys


class UtteranceDataset(Dataset[Batch]):
    """Dataset of one split whose items are whole batches, indexed by `BatchIndices` of a sampler.

    Args:
        store: Features and ids.
        targets: Encoded labels of the utterances [N, ...], or of all their steps [sum of T, K] if the store has labels
            over time; None if the split has no labels.
        seed: Seed of the run, which determines crops and augmentation.
        crop_frames: Maximum number of frames; longer utterances are cut to a random segment. None keeps them whole.
    """

    def __init__(
        self, store: Store, targets: Tensor | None, *, seed: int = 0, crop_frames: int | None = None
    ) -> None:
        self.store = store
        self.targets = targets
        self.seed = seed
        self.crop_frames = crop_frames
        limit = crop_frames or np.iinfo(np.int64).max
        self.lengths: np.ndarray = np.minimum(store.lengths, limit)
        """[N], frames of each utterance as it comes out of a batch."""
        self._first_rows = np.cumsum(store.lengths) - store.lengths

    def __len__(self) -> int:
        return len(self.store)

    @property
    def is_labelled_over_time(self) -> bool:
        """Return whether each step has a label, and not each utterance."""
        return self.store.step_labels is not None

    def cut(self, frames: int) -> "UtteranceDataset":
        """Cut utterances into sequences of `frames` frames; the last sequence of each is shorter."""
        pieces = torch.from_numpy(-(-self.store.lengths // frames))
        targets = self.targets
        if targets is not None and not self.is_labelled_over_time:
            targets = targets.repeat_interleave(pieces)
        return UtteranceDataset(self.store.cut(frames), targets, seed=self.seed, crop_frames=self.crop_frames)

    def select(self, indices: np.ndarray) -> "UtteranceDataset":
        """Select the utterances at `indices` [n], in that order."""
        assert not self.is_labelled_over_time  # members of an ensemble, which needs classes
        targets = None if self.targets is None else self.targets[indices]
        return UtteranceDataset(
            self.store.select(indices), targets, seed=self.seed, crop_frames=self.crop_frames
        )

    def __getitem__(self, draw: BatchIndices) -> Batch:
        """Read the batch of the utterances at the indices, in their order."""
        indices = np.asarray(draw.indices)
        keys = utterance_keys(self.seed, draw.epoch, torch.from_numpy(indices))
        spare = self.store.lengths[indices] - self.lengths[indices]
        starts = (uniform(keys, "crop")[:, 0].numpy() * (spare + 1)).astype(np.int64)
        spans = indices, starts, self.lengths[indices]
        return Batch(
            ids=[self.store.ids[index] for index in draw.indices],
            audio=Padded(self.store.gather(*spans), torch.from_numpy(spans[2])),
            targets=self._targets(*spans),
            keys=keys,
            speech=self.store.gather_speech(*spans),
            continues=None if draw.continues is None else torch.tensor(draw.continues),
            groups=None if self.store.groups is None else torch.from_numpy(self.store.groups[indices]),
        )

    def _targets(
        self, indices: np.ndarray, starts: np.ndarray, lengths: np.ndarray
    ) -> Tensor | Padded | None:
        """Return the encoded labels of a batch: [B, ...], or Padded [B, T, K] of its steps."""
        if self.targets is None or not self.is_labelled_over_time:
            return None if self.targets is None else self.targets[indices]
        begins = (self._first_rows[indices] + starts).tolist()
        rows = [
            self.targets[first : first + length]
            for first, length in zip(begins, lengths.tolist(), strict=True)
        ]
        return Padded.collate(rows)
