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
        targets: Encoded labels [N, ...]; None if the split has no labels.
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

    def __len__(self) -> int:
        return len(self.store)

    def cut(self, frames: int) -> "UtteranceDataset":
        """Cut utterances into sequences of `frames` frames; the last sequence of each is shorter."""
        pieces = torch.from_numpy(-(-self.store.lengths // frames))
        targets = None if self.targets is None else self.targets.repeat_interleave(pieces)
        return UtteranceDataset(self.store.cut(frames), targets, seed=self.seed, crop_frames=self.crop_frames)

    def select(self, indices: np.ndarray) -> "UtteranceDataset":
        """Select the utterances at `indices` [n], in that order."""
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
            targets=None if self.targets is None else self.targets[draw.indices],
            keys=keys,
            speech=self.store.gather_speech(*spans),
            continues=None if draw.continues is None else torch.tensor(draw.continues),
        )
