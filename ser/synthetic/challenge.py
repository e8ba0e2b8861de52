"""The demonstration data: the challenge's four files, spoken by espeak-ng, written once.

Synthetic: good for trying out every command, worthless as evidence about emotions.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ser.batch import Padded
from ser.corpora.challenge import ChallengeCorpus
from ser.errors import ConfigError, SerError
from ser.features.extractors import CHALLENGE, LogMel
from ser.splits.base import Splits
from ser.synthetic.espeak import SAMPLE_RATE, Synthesizer, require_espeak
from ser.synthetic.generator import Folder, check_generator, code_of, run_parts
from ser.synthetic.prosody import PlannedUtterance, perform, plan
from ser.synthetic.sentences import SPLITS

UTTERANCES = MappingProxyType({"train": 1200, "dev": 400, "ser_test_1": 300, "ser_test_2": 200})
GOLD = {"ser_test_1": "gold_1.json", "ser_test_2": "gold_2.json"}
FILES = (*(f"{split}.json" for split in SPLITS), *GOLD.values())
PART_SIZE = 264  # utterances a process: 8 parts by default; starting one costs as much as 100 utterances
FEWEST = 8  # utterances of a split that hold every class


def generate(
    root: Path, *, seed: int = 0, utterances: Mapping[str, int] = UTTERANCES, processes: int = 2
) -> None:
    """Write the four files and the test files' gold labels, unless they are there from the same settings.

    The bytes depend on `seed` and `utterances` alone. Two processes may call this at once: the second waits,
    then finds the work done. What is interrupted is begun again by the next call.

    Args:
        root: folder of the files; made where it is missing.
        seed: of everything that is drawn.
        utterances: how many for each of train, dev, ser_test_1 and ser_test_2, 8 at least.
        processes: how many speak at the same time.

    Raises:
        ConfigError: unusable settings, or espeak-ng is not installed.
        DataError: `root` cannot be written or holds someone else's files, or espeak-ng fails.
    """
    _check(seed, utterances, processes)
    settings = {"code": code_of("ser.synthetic.challenge"), "seed": seed, "utterances": dict(utterances)}
    folder = Folder(Path(root), FILES, settings, "0.1 GB by default", "Use it with data=challenge")
    if not folder.is_complete:
        require_espeak()
        folder.fill(lambda hidden: _write(hidden, settings, processes))


def _check(seed: int, utterances: Mapping[str, int], processes: int) -> None:
    if set(utterances) != set(SPLITS) or min(utterances.values()) < FEWEST:
        raise ConfigError(
            f"Demonstration data, utterances={dict(utterances)}: give each of {', '.join(SPLITS)} at least {FEWEST} "
            "utterances, or a class may be missing."
        )
    check_generator(seed, processes)


def _write(folder: Path, settings: Mapping[str, Any], processes: int) -> None:
    planned = plan(settings["seed"], settings["utterances"])
    arguments = [json.dumps(settings)]
    parts = run_parts(__name__, arguments, len(planned), size=PART_SIZE, processes=processes, output=folder)
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
    """One utterance as the challenge writes it: test files without labels, the last one with ids inside."""
    if utterance.split == "ser_test_2":
        return f'{{"id": {index}, "features": {features}}}'
    if utterance.split == "ser_test_1":
        return f'"{index}": {{"features": {features}}}'
    return f'"{index}": {json.dumps(_labels(utterance))[:-1]}, "features": {features}}}'


def _labels(utterance: PlannedUtterance) -> dict[str, int]:
    return {"valence": utterance.valence, "activation": utterance.activation}


def _print_part(settings: Mapping[str, Any], part: range) -> None:
    """Print the features [T, 26] of each utterance as a line of JSON."""
    torch.set_num_threads(1)  # the processes share the cores already
    synthesizer = Synthesizer()
    # at espeak-ng's own 22.05 kHz, with the filters of 16 kHz speech: no resampling
    extractor = LogMel(sample_rate=SAMPLE_RATE, max_frequency=8000.0, **CHALLENGE)
    planned = plan(settings["seed"], settings["utterances"])
    for utterance in planned[part.start : part.stop]:
        waveform = torch.from_numpy(perform(utterance, synthesizer))
        frames = extractor(Padded.collate([waveform[:, None]])).values[0].tolist()
        print(f"[{','.join('[' + ','.join(f'{value:.6g}' for value in frame) + ']' for frame in frames)}]")


if __name__ == "__main__":
    try:
        _print_part(json.loads(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3])))
    except SerError as error:
        sys.exit(str(error))


class DemoCorpus(ChallengeCorpus):
    """Generated speech in the challenge's format: a demonstration, not a result.

    Args:
        root: where the files are generated, once.
        seed: of the generator.
        test: file to score after training.
        test_labels: file with its labels.
        cache_dir: where parsed files are kept.
    """

    stamps = ("generated speech: a demonstration, not a result",)

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
        """As ChallengeCorpus, after generating what is not there."""
        generate(self.root, seed=self.seed)
        return super().splits(features)
