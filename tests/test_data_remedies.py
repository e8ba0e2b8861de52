"""Settings that messages about data print, typed in bash as they stand, on data small enough to read at once."""

import copy
import csv
import functools
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ser.checkpoints import checkpoint
from ser.config.settings import Train
from ser.config.validate import check
from ser.errors import SerError
from ser.export.step import Step
from ser.splits.base import Splits
from ser.training import setup
from ser.training.consistency import check_augment, check_training
from ser.training.trainer import build_trainer
from tests.config.test_composed import composed
from tests.conftest import write_challenge
from tests.remedies import CONF, GROUPS, alternatives

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
    settings = Train.of(config)
    splits = setup.read_splits(settings)
    setup.make_data(settings, splits)
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
    *settings, folds = read(words).facts.cross_validation
    tested = [
        read([*words, *settings, f"data.split.fold={fold}"]).facts.speakers["test"]
        for fold in folds.partition("=")[2].split(",")
    ]
    assert sorted(tested) == [["s1"], ["s2"], ["s3"], ["s4"]]


def test_a_table_without_validation_is_read(table: Table) -> None:
    words = table(1, 2, 3, 4, 5, split=lambda number, _: "test" if number == 5 else "train")
    speakers = read(words).facts.speakers
    assert speakers["test"] == ["s5"]
    assert len(speakers["validation"]) == 1


def test_a_pattern_without_speakers_is_told_of_its_group(recordings: Path) -> None:
    words = ["data=pattern", f"data.root={recordings}", *FEATURES, "data.pattern='..-..-(?P<emotion>..)-.*'"]
    assert "Write (?P<speaker>...) around the speaker in data.pattern, or" in refused(words)


@pytest.mark.usefixtures("table")
def test_data_speaker_is_typed_for_a_folder(recordings: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        for place, file in enumerate(sorted(recordings.rglob(f"*-{number:02d}.wav"))):
            (tmp_path / "in" / file.parent.name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / file.parent.name / f"s{number}_{place:02d}.wav").write_bytes(file.read_bytes())
    words = ["data=folder", f"data.root={tmp_path / 'in'}", *FEATURES]
    remedy = typed(refused(words), r"'data\.speaker=.*?'")
    assert len(read([*words, *remedy]).stores) == 3
    unknown = read([*words, "split=random"]).facts.remarks[-1]
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


# ---- settings that lead on: one after the other until it works, and no message twice ----

Attempt = Callable[[list[str]], None]


def refusal(attempt: Attempt, words: list[str]) -> str | None:
    try:
        attempt(words)
    except SerError as error:
        return str(error)
    return None


def with_settings(words: list[str], settings: list[str]) -> list[str]:
    """A command with settings in place of those of the same key, and of those of a rule for splits that is replaced."""
    keys = {word.partition("=")[0] for word in settings}
    kept = [word for word in words if word.partition("=")[0] not in keys]
    return [*(word for word in kept if "split" not in keys or not word.startswith("data.split.")), *settings]


def assert_all_lead_on(attempt: Attempt, words: list[str]) -> None:
    """Type each alternative that a refusal prints, then the first of each further refusal, until nothing is refused."""
    first = refusal(attempt, words)
    assert first is not None
    assert alternatives(first), first
    for settings in alternatives(first):
        tried, messages = with_settings(words, settings), [first]
        while (message := refusal(attempt, tried)) is not None:
            assert message not in messages, f"{tried}: {message}"
            assert alternatives(message), f"{tried}: {message}"
            messages.append(message)
            tried = with_settings(tried, alternatives(message)[0])


@functools.cache
def of_groups(words: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [*words])


def configured(words: list[str]) -> dict[str, Any]:
    """The checked config of a command line; groups are composed once, as that takes 0.1 s."""
    are_groups = {word: word.partition("=")[0] in GROUPS for word in words}
    cfg = copy.deepcopy(of_groups(tuple(word for word in words if are_groups[word])))
    for word in words:
        if not are_groups[word]:
            override = OverridesParser.create().parse_override(word)
            OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True, force_add=True)
    return check(cfg)


def begin(words: list[str]) -> None:
    """Do what train.py does up to the first step."""
    config = configured(words)
    settings = Train.of(config)
    check_training(settings)
    check_augment(settings)
    build_trainer(settings)
    setup.make_task(settings, setup.make_data(settings, setup.read_splits(settings)))


def stream(words: list[str]) -> None:
    """Build the model that a training would leave, and follow a stream with it as a bundle does."""
    config = configured(words)
    dim = config["features"]["num_mel_bins"]
    description = checkpoint.describe(config, feature_dim=dim)
    model, target = checkpoint.assemble(description)
    model.frontend.fit([torch.randn(50, dim)])
    parts = (description["features"], description["frontend"])
    Step(checkpoint.Trained(model.eval(), target, dim, *parts, Path("best.ckpt")))


BEGUN = {
    "silence": "silence=class",
    "pooling": "pooling=none",
    "repeated": "model=lstm batching.carry_state=true target=frame_classes pooling=none batching.balance=oversample",
    "values": "label_map=arousal_valence target=regression batching.balance=oversample",
    "a task": "label_map=arousal_valence target=multi_task target.tasks.values.loss._target_=ser.targets.CrossEntropy",
    "members": "ensemble=2 trainer=ddp trainer.num_nodes=2",
    "a typed mode": "silence=class features.silence.mode=mask",
    "carried": "model=lstm batching.carry_state=true target=frame_classes pooling=none",
    "classes": "balance=oversample loss.class_weights=balanced",
    "worst": "monitor=validation/loss",
    "fsdp": "trainer.strategy=fsdp trainer.accelerator=cpu",
    "speakers": "frontend.normalize=speaker waveform_augment=noise_and_speed",
    "cut": "batching.cut_frames=20 waveform_augment=noise_and_speed batching.crop_frames=null",
    "level": "waveform_augment=noise_and_speed waveform_augment.noise_snr_db=[30,10]",
    "share": "waveform_augment=noise_and_speed waveform_augment.speed=3",
    "threshold": "silence=remove features.silence.detector.relative_db=null",
    "frames": "features.frame_length_ms=0",
    "floor": "features.floor=0",
    "emphasis": "features.preemphasis=2",
    "folds": "split=speaker_kfold data.split.folds=90",
    "kernel": "model=transformer model.position_kernel=4",
    "dilations": "model=causal_cnn model.dilations=[]",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One folder of features for all attempts."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("case", BEGUN)
def test_settings_printed_before_training_lead_on(
    case: str, recordings: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_CACHE_DIR", cache)
    assert_all_lead_on(begin, ["data=ravdess", f"data.root={recordings}", *FEATURES, *BEGUN[case].split()])


STREAMED = {
    "the default": "model=cnn",
    "an lstm": "model=lstm",
    "joined steps": "model=lstm_stream model.subsampling=2 pooling=mean",
    "causal deltas": "model=causal_cnn frontend.delta_align=causal pooling=mean",
    "quiet": "model=gru_tiny silence=mute pooling=mean",
    "loudness": "model=gru_tiny silence=remove pooling=last features.top_db=80",
    "centered": "model=gru_tiny features.align=centered pooling=max",
    "speaker": "model=gru_tiny frontend.normalize=speaker",
    "every step": "model=cnn pooling=none target=frame_classes",
}


@pytest.mark.parametrize("case", STREAMED)
def test_settings_printed_for_a_stream_lead_to_one(case: str) -> None:
    named = ["target.class_names=[a,b]", "target.field=emotion"]
    assert_all_lead_on(stream, ["features=log_mel", "target=classes", *named, *STREAMED[case].split()])


@pytest.mark.parametrize("given", ["features.sample_rate=16000", "split=default", "data.split.test=0.3"])
def test_settings_printed_for_arrays_lead_on(
    given: str, arrays: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_CACHE_DIR", cache)
    assert_all_lead_on(begin, ["data=language_id_arrays", f"data.root={arrays}", given])


def test_one_of_two_copies_of_a_corpus_is_typed(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("one", "two"):
        shutil.copytree(recordings, tmp_path / "both" / name)
    words = ["data=ravdess", f"data.root={tmp_path / 'both'}", *FEATURES]
    (remedy,) = typed(refused(words), r"data\.root=\w+")
    chosen = remedy.replace("FOLDER", str(tmp_path / "both" / "two"))
    assert len(read(with_settings(words, [chosen])).stores) == 3
