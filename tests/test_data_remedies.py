"""Settings that messages about data print, typed in bash as they stand, on data small enough to read at once."""

import csv
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ser.errors import SerError
from ser.splits.base import Splits
from ser.training import setup
from tests.config.test_composed import composed
from tests.conftest import write_challenge

Table = Callable[..., list[str]]
FEATURES = ("features.num_mel_bins=8",)


@pytest.fixture
def table(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """Write a table of some speakers' recordings with further columns, and return the words that choose it."""
    monkeypatch.setenv("SER_CACHE_DIR", str(tmp_path / "cache"))

    def write(*speakers: int, label: str = "emotion", **columns: Callable[[int, int], Any]) -> list[str]:
        rows = [
            {
                "path": file.relative_to(recordings).as_posix(),
                "emotion": file.parent.name,
                "speaker": f"s{number}",
                **{name: make(number, place) for name, make in columns.items()},
            }
            for number in speakers
            for place, file in enumerate(sorted(recordings.rglob(f"*-{number:02d}.wav")))
        ]
        with (tmp_path / "table.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        path, root = tmp_path / "table.csv", recordings
        return ["data=manifest", f"data.path={path}", f"data.root={root}", f"data.label={label}", *FEATURES]

    return write


def read(words: list[str]) -> Splits:
    """Read and split the data of a command line as train.py does, up to the first batch."""
    config = composed("train", words)
    splits = setup.read_splits(config)
    setup.make_data(config, splits)
    return splits


def refused(words: list[str]) -> str:
    with pytest.raises(SerError) as caught:
        read(words)
    return str(caught.value)


def typed(message: str, pattern: str) -> list[str]:
    """What bash makes of the words in a message that a pattern finds."""
    found = re.search(pattern, message)
    assert found is not None, message
    result = subprocess.run(["bash", "-c", rf"printf '%s\0' {found[0]}"], capture_output=True, check=True)
    return result.stdout.decode().split("\0")[:-1]


def test_another_label_is_typed_for_one_that_holds_numbers(table: Table) -> None:
    words = table(1, 2, 3, label="arousal", arousal=lambda number, place: number / 7 + place / 31)
    remedy = typed(refused(words), r"data\.label=\S+?(?=\.? |\.$)")
    assert read([*words, *remedy]).stores["train"].label_names == ("emotion",)


def test_numbers_are_refused_whatever_the_split_balances(table: Table) -> None:
    words = table(1, 2, 3, label="arousal", arousal=lambda number, place: number / 7 + place / 31)
    assert "holds numbers such as" in refused([*words, "data.split.label=null"])


def test_classes_of_train_are_typed_for_one_that_it_lacks(table: Table) -> None:
    in_test = {"split": lambda number, _: ("train", "train", "validation", "test")[number - 1]}
    names = {"mood": lambda number, place: "odd, one" if number == 4 and place == 0 else f"it's {place % 2}"}
    words = [*table(1, 2, 3, 4, label="mood", **in_test, **names), "data.split.label=null"]
    remedy = typed(refused(words), r"(?<=Leave it out with ).*(?=, or choose)")
    assert len(read([*words, *remedy]).stores) == 3


def test_no_test_split_is_typed_where_speakers_are_two(table: Table) -> None:
    words = table(1, 2)
    assert {*read([*words, *typed(refused(words), r"data\.split\.test=0")]).stores} == {"train", "validation"}
    assert {*read([*words, *typed(refused(words), "split=random")]).stores} == {"train", "validation", "test"}


def test_another_rule_is_typed_where_serabs_has_too_few_speakers(table: Table) -> None:
    words = [*table(1, 2), "split=serab"]
    remedy = typed(refused(words), r"split=speaker data\.split\.test=0")
    assert {*read([*words, *remedy]).stores} == {"train", "validation"}


def test_as_many_folds_as_speakers_are_typed(table: Table) -> None:
    words = [*table(1, 2, 3, 4), "split=speaker_kfold"]
    assert len(read([*words, *typed(refused(words), r"data\.split\.folds=4")]).stores) == 3


def test_cross_validation_is_typed_where_few_speakers_are_tested(table: Table) -> None:
    words = table(1, 2, 3, 4)
    *settings, folds = read(words).facts["cross_validation"]
    tested = [
        read([*words, *settings, f"data.split.fold={fold}"]).facts["speakers"]["test"]
        for fold in folds.partition("=")[2].split(",")
    ]
    assert sorted(tested) == [["s1"], ["s2"], ["s3"], ["s4"]]


def test_a_table_without_validation_is_read(table: Table) -> None:
    words = table(1, 2, 3, 4, 5, split=lambda number, _: "test" if number == 5 else "train")
    speakers = read(words).facts["speakers"]
    assert speakers["test"] == ["s5"]
    assert len(speakers["validation"]) == 1


@pytest.mark.usefixtures("table")
def test_data_speaker_is_typed_for_a_folder(recordings: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        for place, file in enumerate(sorted(recordings.rglob(f"*-{number:02d}.wav"))):
            (tmp_path / "in" / file.parent.name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / file.parent.name / f"s{number}_{place:02d}.wav").write_bytes(file.read_bytes())
    words = ["data=folder", f"data.root={tmp_path / 'in'}", *FEATURES]
    remedy = typed(refused(words), r"'data\.speaker=.*?'")
    assert len(read([*words, *remedy]).stores) == 3
    unknown = read([*words, "split=random"]).facts["remarks"][-1]
    assert typed(unknown, r"'data\.speaker=.*?'") == remedy
    by_speaker = [*words, "split=random", "frontend.normalize=speaker"]
    assert typed(refused(by_speaker), r"'data\.speaker=.*?'") == remedy
    read([*by_speaker, *typed(refused(by_speaker), r"frontend\.normalize=global")])


@pytest.mark.usefixtures("table")
def test_the_width_of_all_frames_is_typed(tmp_path: Path) -> None:
    write_challenge(tmp_path / "data", {"train": 8, "dev": 8})
    words = ["data=challenge", f"data.root={tmp_path / 'data'}"]
    remedy = typed(refused([*words, "data.feature_dim=40"]), r"data\.feature_dim=\d+")
    assert read([*words, *remedy]).stores["train"].feature_dim == 26


def test_a_mapped_class_without_training_data_is_left_unbalanced(table: Table) -> None:
    words = table(1, 2, 3, split=lambda number, _: ("train", "validation", "test")[number - 1])
    path = Path(words[1].partition("=")[2])
    path.write_text(path.read_text().replace("anger,s2,validation", "rage,s2,validation"))
    bits = {"anger": (0, 1), "rage": (0, 1), "happiness": (1, 1), "neutral": (1, 0), "sadness": (0, 0)}
    pairs = ",".join(
        f"{name}:{{valence:{valence},activation:{activation}}}"
        for name, (valence, activation) in bits.items()
    )
    mapped = [*words, f"data.label_map={{{pairs}}}", "target=quadrant"]
    remedy = typed(refused(mapped), r"data\.split\.label=null")
    assert len(read([*mapped, *remedy]).stores) == 3
