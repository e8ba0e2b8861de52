"""Data module of a run: splits, their summary, and loaders of bucketed batches."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from ser.batch import Padded, UtteranceId
from ser.batching.class_balance import corpus_cells, corpus_quotas, member_indices
from ser.batching.dataset import UtteranceDataset
from ser.batching.samplers import BucketLoader, BucketSampler, EvaluationSampler
from ser.batching.stateful_sampler import StatefulSampler
from ser.config.settings import Batching
from ser.data.class_labels import select_labelled
from ser.data.manifest import Manifest
from ser.data.store import Store
from ser.data.summary import SplitSummary, summarize
from ser.errors import ConfigError
from ser.features.extractors import Extractor
from ser.splits.base import SpeechSize, SplitFacts
from ser.splits.utterances_file import Row
from ser.targets.base import Target

_FRAMES_AT_A_TIME = 1 << 18  # 27 MB of 26 float32 values: statistics are fitted in constant memory


class SpeechData(L.LightningDataModule):
    """Provide loaders of the splits `train`, `validation` and, if it is labelled, `test`.

    Args:
        stores: Features, ids and labels of each split, by its name.
        target: Target that encodes the labels.
        batching: Settings of the batches.
        seed: Seed of the run, which determines batches, crops and augmentation.
        member: Index of this ensemble member and number of members; the member trains on a part of the data.
        extractor: Feature extractor, if the stores hold waveforms.
        holds_waveforms: Whether the stores hold waveforms.
        steps_per_frame: Steps of the stores per frame of `max_frames`, `crop_frames` and `cut_frames`; more than 1
            for waveforms.
    """

    def __init__(
        self,
        stores: Mapping[str, Store],
        target: Target,
        batching: Batching = Batching(),  # noqa: B008  it is frozen
        *,
        seed: int = 0,
        member: tuple[int, int] | None = None,
        extractor: Extractor | None = None,
        holds_waveforms: bool = False,
        steps_per_frame: int = 1,
    ) -> None:
        super().__init__()
        self.facts = SplitFacts()
        """Facts about the data that the run stores."""
        self.speakers: Mapping[str, Mapping[UtteranceId, str]] = {}
        """Speaker of each utterance by its id, for each split; without those that are unknown."""
        self.corpora: Mapping[str, Mapping[UtteranceId, str]] = {}
        """Corpus of each utterance by its id, for each split; empty if there is but one."""
        self.inherited: Sequence[Row] = ()
        """Rows of utterances.csv about the training of the run that `init=` names."""
        self.manifests: Mapping[str, Manifest] = {}
        """Manifest of each split, for those who look for recordings; empty if only features are known."""
        if batching.overfit is not None:
            train = stores["train"]
            few = train.select(np.arange(min(batching.overfit, len(train))))
            stores = {name: few for name in ("train", "validation") if name in stores}
        all_once = "batching.balance=none" if member is None else "ensemble=null"
        if batching.carry_state and (batching.balance != "none" or member is not None):
            raise ConfigError(
                "batching.carry_state=true: recordings stay whole, so none of their sequences can be repeated or left "
                f"out. Set {all_once}."
            )
        if batching.temperature is not None and (batching.balance != "corpora" or batching.temperature < 1):
            raise ConfigError(
                f"batching.temperature={batching.temperature:g}: is for balance=corpora, and 1 or more. "
                "Set batching.temperature=null"
            )
        if not target.class_names and (batching.balance not in ("none", "corpora") or member is not None):
            raise ConfigError(
                f"batching.balance={batching.balance}: this target has no classes that could be balanced. "
                f"Set {all_once}."
            )
        self.target = target
        self.seed = seed
        self.balance = batching.balance
        self.temperature = batching.temperature
        self.extractor = extractor
        self.holds_waveforms = holds_waveforms
        self.limits = {
            "max_frames": batching.max_frames * steps_per_frame,
            "max_utterances": batching.max_utterances,
        }
        self.pool = batching.pool
        self.num_workers = batching.num_workers
        crop = None if batching.crop_frames is None else batching.crop_frames * steps_per_frame
        cut = None if batching.cut_frames is None else batching.cut_frames * steps_per_frame
        self.datasets = {
            name: UtteranceDataset(
                *select_labelled(store, target, name=name),
                seed=seed,
                crop_frames=crop if name == "train" else None,
            )
            for name, store in stores.items()
        }
        lengths = self.datasets["train"].store.lengths
        pieces = np.ones_like(lengths) if cut is None else -(-lengths // cut)
        self._begins = (
            np.concatenate([np.arange(count) == 0 for count in pieces]) if batching.carry_state else None
        )
        if cut is not None:
            self.datasets["train"] = self.datasets["train"].cut(cut)
        if member is not None:
            labels = self._classes("train")
            self.datasets["train"] = self.datasets["train"].select(member_indices(labels, *member, seed))
        self.feature_dim: int = (extractor or stores["train"]).feature_dim
        self._train_loader: BucketLoader | None = None
        self._resume_from: dict[str, Any] = {}

    @property
    def has_test(self) -> bool:
        """Return whether there is a labelled test split."""
        return "test" in self.datasets and self.datasets["test"].targets is not None

    def class_counts(self) -> Mapping[str, Tensor]:
        """Count the utterances, or frames, of each class in the training split, for each question of the target."""
        store = self.datasets["train"].store
        frames, spoken = torch.from_numpy(store.lengths), torch.from_numpy(store.spoken)
        return self.target.counts(self._labels("train"), frames, spoken)

    def train_frames(self) -> Iterator[Tensor]:
        """Yield chunks [N, F] of all frames of the training split."""
        dataset = self.datasets["train"]
        if self.extractor is None:
            yield from map(torch.from_numpy, dataset.store.chunks(_FRAMES_AT_A_TIME))
            return
        for draw in EvaluationSampler(dataset.lengths, **self.limits):
            frames = self.extractor(dataset[draw].audio)
            yield frames.values[frames.mask]

    def train_batches(self) -> Iterator[Padded]:
        """Yield the features of whole utterances of the training split in batches [B, T, F]."""
        dataset = UtteranceDataset(self.datasets["train"].store, None)
        for draw in EvaluationSampler(dataset.lengths, **self.limits):
            audio = dataset[draw].audio
            yield audio if self.extractor is None else self.extractor(audio)

    def summaries(self) -> list[SplitSummary]:
        """Return the size, lengths and class counts of each split."""
        return [
            summarize(
                name,
                dataset.store.lengths,
                self._classes(name) if self.target.class_names and dataset.targets is not None else None,
                self.target.class_names,
                labels={} if dataset.targets is None else self.target.summary(dataset.targets),
                corpora=Counter(self.corpora_of(name)),
                **asdict(self.facts.speech.get(name, SpeechSize())),
            )
            for name, dataset in self.datasets.items()
        ]

    def corpora_of(self, split: str) -> list[str]:
        """Return the corpus of each utterance of a split; empty if there is but one."""
        known = self.corpora.get(split)
        if not known:
            return []
        ids = self.datasets[split].store.ids
        return [known.get(name) or known.get(str(name).rpartition("#")[0]) or "unknown" for name in ids]

    def train_dataloader(self) -> BucketLoader:
        """Return shuffled batches of similar length; after a resume, the remaining ones of the epoch."""
        if self._begins is not None:
            return self._restore(self._stateful_loader())
        drawing = {"pool": self.pool, "seed": self.seed, "balance": self.balance, **self._balancing()}
        return self._restore(self._loader("train", BucketSampler, **self.limits, **drawing))

    def _balancing(self) -> dict[str, np.ndarray]:
        """Return what a balance draws by: the class of each training utterance, or its class in its corpus.

        Raises:
            ConfigError: Corpora are to be balanced, and there is but one.
        """
        if self.balance == "none":
            return {}
        if self.balance != "corpora":
            return {"classes": self._classes("train")}
        corpora = self.corpora_of("train")
        if not corpora:
            raise ConfigError(
                "batching.balance=corpora: this data is of one corpus. Use batching.balance=oversample, or data=mix."
            )
        has_classes = bool(self.target.class_names)
        classes = self._classes("train") if has_classes else np.zeros(len(corpora), dtype=np.int64)
        quotas = corpus_quotas(corpora, classes, self.temperature)
        return {"classes": corpus_cells(corpora, classes), "quotas": quotas}

    def val_dataloader(self) -> BucketLoader:
        """Return batches of whole utterances, longest first."""
        return self._loader("validation", EvaluationSampler, **self.limits)

    def test_dataloader(self) -> BucketLoader:
        """Return batches of whole utterances, longest first."""
        return self._loader("test", EvaluationSampler, **self.limits)

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the training loader.

        Lightning saves a loader's state itself, but drops it on resume if the length of the training was requested
        before, as a learning-rate schedule does.
        """
        return self._train_loader.state_dict() if self._train_loader else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at this position when the training loader is created."""
        self._resume_from = state_dict

    def _restore(self, loader: BucketLoader) -> BucketLoader:
        """Set the training loader to the position of the interrupted run."""
        self._train_loader = loader
        if self._resume_from:
            loader.load_state_dict(self._resume_from)
            self._resume_from = {}
        return loader

    def _stateful_loader(self) -> BucketLoader:
        rows = {"max_utterances": self.limits["max_utterances"], "seed": self.seed}
        return self._loader("train", StatefulSampler, **rows, begins=self._begins)

    def _loader(self, split: str, sampler: type, **settings: Any) -> BucketLoader:
        dataset = self.datasets[split]
        trainer: Any = self.trainer
        ranks = {"rank": trainer.global_rank, "ranks": trainer.world_size} if trainer else {}
        return BucketLoader(
            dataset,
            sampler(dataset.lengths, **settings, **ranks),
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def _classes(self, split: str) -> np.ndarray:
        classes: np.ndarray = self.target.class_index(self._labels(split)).numpy()
        return classes

    def _labels(self, split: str) -> Tensor:
        labels = self.datasets[split].targets
        assert labels is not None  # the reader refuses a training file without labels
        return labels
