"""Generate the challenge's four demonstration files with espeak-ng, once.

The data is synthetic: suitable for trying every command, unsuitable as evidence about emotions.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ser.batch import Padded
from ser.corpora.challenge import ChallengeCorpus
from ser.data.store import Store
from ser.errors import ConfigError
from ser.features.extractors import CHALLENGE, LogMel
from ser.splits.base import Splits
from ser.synthetic.espeak import SAMPLE_RATE, Synthesizer
from ser.synthetic.generator import (
    STAMP,
    GeneratedFolder,
    check_generator,
    hash_generator_code,
    run_in_parts,
    run_part,
)
from ser.synthetic.prosody import PlannedUtterance, plan, speak
from ser.synthetic.sentences import SPLITS

UTTERANCES = MappingProxyType({"train": 1200, "dev": 400, "ser_test_1": 300, "ser_test_2": 200})
GOLD = {"ser_test_1": "gold_1.json", "ser_test_2": "gold_2.json"}
FILES = (*(f"{split}.json" for split in SPLITS), *GOLD.values())
PART_SIZE = 264  # utterances per process: 8 parts by default; a start takes as long as 100 utterances
FEWEST = 8  # utterances of a split that contain every class


def generate(
    root: Path, *, seed: int = 0, utterances: Mapping[str, int] = UTTERANCES, processes: int = 2
) -> None:
    """Write the four files and the test files' gold labels, unless they exist with the same settings.

    The bytes depend only on `seed` and `utterances`. Two processes may call this at once: the second waits, then
    finds the files complete. After an interruption, the next call starts from the beginning.

    Args:
        root: Folder of the files; created if it does not exist.
        seed: Seed of all random choices.
        utterances: Number of utterances of each of train, dev, ser_test_1 and ser_test_2, 8 at least.
        processes: Number of processes that speak at the same time.

    Raises:
        ConfigError: The settings are invalid, or espeak-ng is not installed.
        DataError: `root` cannot be written or contains other files of these names, or espeak-ng fails.
    """
    _check(seed, utterances, processes)
    settings = {
        "code": hash_generator_code("ser.synthetic.challenge"),
        "seed": seed,
        "utterances": dict(utterances),
    }
    folder = GeneratedFolder(Path(root), FILES, settings, "0.1 GB by default", "Use it with data=challenge")
    folder.generate(lambda hidden: _write(hidden, settings, processes))


def _check(seed: int, utterances: Mapping[str, int], processes: int) -> None:
    if set(utterances) != set(SPLITS) or min(utterances.values()) < FEWEST:
        raise ConfigError(
            f"Demonstration data, utterances={dict(utterances)}: give each of {', '.join(SPLITS)} at least {FEWEST} "
            "utterances, or a class may be missing."
        )
    check_generator(seed, processes)


def _write(folder: Path, settings: Mapping[str, Any], processes: int) -> None:
    planned = plan(settings["seed"], settings["utterances"])
    parts = run_in_parts(__name__, settings, len(planned), size=PART_SIZE, processes=processes, folder=folder)
    _write_files(folder, planned, _lines(parts))


def _lines(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        with path.open() as file:
            yield from (line.rstrip() for line in file)


def _write_files(folder: Path, planned: Sequence[PlannedUtterance], features: Iterator[str]) -> None:
    for split in SPLITS:
        utterances = [utterance for utterance in planned if utterance.split == split]
        opening, closing = "[]" if split == "ser_test_2" else "{}"
        with (folder / f"{split}.json").open("w") as file:
            for index, utterance in enumerate(utterances):
                file.write(f"{',' if index else opening}\n{_record(index, utterance, next(features))}")
            file.write(f"\n{closing}\n")
        if split in GOLD:
            gold = {str(index): _labels(utterance) for index, utterance in enumerate(utterances)}
            (folder / GOLD[split]).write_text(json.dumps(gold) + "\n")


def _record(index: int, utterance: PlannedUtterance, features: str) -> str:
    """Format one utterance as the challenge does: test files without labels, the last file with ids inside."""
    if utterance.split == "ser_test_2":
        return f'{{"id": {index}, "features": {features}}}'
    if utterance.split == "ser_test_1":
        return f'"{index}": {{"features": {features}}}'
    return f'"{index}": {json.dumps(_labels(utterance))[:-1]}, "features": {features}}}'


def _labels(utterance: PlannedUtterance) -> dict[str, int]:
    return {"valence": utterance.valence, "activation": utterance.activation}


def _print_part(settings: Mapping[str, Any], _folder: Path, part: range) -> None:
    """Print the features [T, 26] of each utterance as a line of JSON."""
    torch.set_num_threads(1)  # the processes share the cores already
    synthesizer = Synthesizer()
    # At espeak-ng's own 22.05 kHz, with the filters of 16 kHz speech, so that no resampling is needed.
    extractor = LogMel(sample_rate=SAMPLE_RATE, max_frequency=8000.0, **CHALLENGE)
    planned = plan(settings["seed"], settings["utterances"])
    for utterance in planned[part.start : part.stop]:
        waveform = torch.from_numpy(speak(utterance, synthesizer))
        frames = extractor(Padded.collate([waveform[:, None]])).values[0].tolist()
        print(f"[{','.join('[' + ','.join(f'{value:.6g}' for value in frame) + ']' for frame in frames)}]")


if __name__ == "__main__":
    run_part(_print_part)


class DemoCorpus(ChallengeCorpus):
    """Generated speech in the challenge's format: a demonstration, not a result.

    Args:
        root: Folder in which the files are generated, once.
        seed: Seed of the generator.
        test: File to score after training.
        test_labels: File with its labels.
        cache_dir: Folder for parsed files.
    """

    stamps = (STAMP,)

    def __init__(
        self,
        root: str,
        *,
        seed: int = 0,
        test: str | None = "ser_test_1.json",
        test_labels: str | None = "gold_1.json",
        cache_dir: str = ".cache/ser",
    ) -> None:
        super().__init__(root, test=test, test_labels=test_labels, cache_dir=cache_dir)
        self.seed = seed

    def splits(self, features: Mapping[str, Any]) -> Splits:
        """Generate missing files, then read them as ChallengeCorpus does."""
        generate(self.root, seed=self.seed)
        return super().splits(features)

    def read_split(self, split: str) -> Store | None:
        """Generate missing files, then read one as ChallengeCorpus does."""
        generate(self.root, seed=self.seed)
        return super().read_split(split)
