"""Training on recordings and predicting them, from the outside."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ser.config.settings import Train
from ser.training import setup
from tests.commands import TINY, run
from tests.config.test_composed import composed

soundfile = pytest.importorskip("soundfile")

RATE = 16_000
BITS = "data.label_map={high: {valence: 1, activation: 1}, low: {valence: 0, activation: 0}}"
SHORT = ("features.num_mel_bins=16", "batching.crop_frames=null", *TINY)


def tone(kind: str, speaker: int, take: int) -> np.ndarray:
    """High or low, a little different for each speaker and take; 0.3 to 0.6 s."""
    samples = np.arange(RATE * (6 + (speaker + take) % 6) // 20)
    pitch = {"high": 2_000, "low": 300}[kind] * (1 + 0.03 * speaker)
    noise = np.random.default_rng([speaker, take, kind == "high"]).normal(size=len(samples))
    return 0.1 * np.sin(2 * np.pi * pitch * samples / RATE) + 0.01 * noise


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of 8 speakers, as table.csv and as a folder per class."""
    root = tmp_path_factory.mktemp("corpus")
    rows = []
    for speaker in range(8):
        for take in range(4):
            for kind in ("high", "low"):
                path = Path("audio") / kind / f"s{speaker}_{take}.wav"
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(root / path, tone(kind, speaker, take), RATE)
                rows.append({"path": path.as_posix(), "speaker": f"s{speaker}", "pitch": kind})
    write(root / "table.csv", rows)
    return root


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short training on the table."""
    cwd = tmp_path_factory.mktemp("trained")
    table = ("data=manifest", f"data.path={corpus / 'table.csv'}", "data.label=pitch")
    run("train.py", *table, *SHORT, "trainer.max_epochs=10", "hydra.run.dir=run", cwd=cwd)
    return cwd / "run"


def test_a_table_of_recordings_is_learnt_with_speakers_apart(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["test/accuracy"] > 0.9 > metrics["test/majority_floor"]
    kept = json.loads((trained / "splits.json").read_text())
    assert kept["leaks"] == []
    assert kept["stamps"] == []
    assert kept["target"]["class_names"] == ["high", "low"]
    speakers = [split["speakers"] for split in kept["splits"]]
    assert sum(speakers) == 8
    assert kept["labels"][0] == {"raw": "high", "mapped": "high", "utterances": 32}


def test_a_folder_is_predicted_as_each_of_its_files_is(trained: Path, corpus: Path, tmp_path: Path) -> None:
    best = f"ckpt={trained / 'checkpoints' / 'best.ckpt'}"
    long = np.concatenate([tone("low", 0, take) for take in range(40)])
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "long.wav", long, RATE)
    for name in ("high/s1_0", "low/s2_3"):
        soundfile.write(
            tmp_path / "in" / f"{Path(name).parent}.wav", *soundfile.read(corpus / "audio" / f"{name}.wav")
        )
    run("predict.py", best, f"input={tmp_path / 'in'}", "output=all.csv", cwd=tmp_path)
    together = {row["id"]: row for row in read(tmp_path / "all.csv")}
    assert {name: row["label"] for name, row in together.items()} == {
        "high": "high",
        "low": "low",
        "long": "low",
    }
    assert float(together["long"]["end_s"]) == pytest.approx(len(long) / RATE, abs=1e-3)
    for name, row in together.items():
        file = tmp_path / "in" / f"{name}.wav"
        run("predict.py", best, f"input={file}", f"output={name}.csv", cwd=tmp_path)
        (alone,) = read(tmp_path / f"{name}.csv")
        for label in ("p_high", "p_low"):
            assert float(alone[label]) == pytest.approx(float(row[label]), abs=1e-5)


def test_long_recordings_are_answered_window_by_window(trained: Path, tmp_path: Path) -> None:
    waveform = np.concatenate([tone("low", 0, 0), tone("high", 0, 0)] * 4)
    soundfile.write(tmp_path / "long.wav", waveform, RATE)
    best = f"ckpt={trained / 'checkpoints' / 'best.ckpt'}"
    settings = ("output=pred.json", "window_s=0.3", "hop_s=0.3")
    run("predict.py", best, f"input={tmp_path / 'long.wav'}", *settings, cwd=tmp_path)
    rows = json.loads((tmp_path / "pred.json").read_text())
    assert [row["label"] for row in rows] == ["low", "high"] * 4
    assert [row["start_s"] for row in rows] == pytest.approx([0.3 * number for number in range(8)], abs=1e-3)


def test_a_labelled_manifest_is_scored(trained: Path, corpus: Path, tmp_path: Path) -> None:
    best = f"ckpt={trained / 'checkpoints' / 'best.ckpt'}"
    printed = run("predict.py", best, f"input={corpus / 'table.csv'}", "output=a.csv", cwd=tmp_path).stdout
    accuracy = next(line for line in printed.splitlines() if line.startswith("accuracy"))
    assert float(accuracy.split()[-1].rstrip("%")) > 90
    assert len(read(tmp_path / "a.csv")) == 64


def test_a_random_split_is_stamped_and_the_folder_reader_needs_one(corpus: Path, tmp_path: Path) -> None:
    folder = (
        "data=folder",
        f"data.root={corpus / 'audio'}",
        *SHORT,
        "trainer.max_epochs=1",
        "hydra.run.dir=run",
    )
    refused = run("train.py", *folder, cwd=tmp_path, code=1)
    assert "split=random" in refused.stderr
    assert "Traceback" not in refused.stderr
    speakers = "'data.speaker=\"(s.)_.*\"'".strip("'")
    shown = run("train.py", *folder, "split=random", speakers, cwd=tmp_path).stdout
    assert "LEAK: train and test share" in shown
    assert "LEAK: train and test share" in (tmp_path / "run" / "report.md").read_text()


def test_utterances_learnt_by_heart_have_their_speakers_in_both_splits(corpus: Path, tmp_path: Path) -> None:
    table = ("data=manifest", f"data.path={corpus / 'table.csv'}", "data.label=pitch", "debug=overfit")
    config = composed("train", [*table, f"data.cache_dir={tmp_path}", *SHORT])
    settings = Train.of(config)
    train, validation = setup.make_data(settings, setup.read_splits(settings)).summaries()
    assert train.speakers == validation.speakers == 3  # of 8 utterances each, in the order of the table
    assert train.minutes == validation.minutes


def test_a_random_split_in_the_dark_reads_the_folders(corpus: Path, tmp_path: Path) -> None:
    folder = ["data=folder", f"data.root={corpus / 'audio'}", f"data.cache_dir={tmp_path}", *SHORT]
    settings = Train.of(composed("train", [*folder, "split=random"]))
    data = setup.make_data(settings, setup.read_splits(settings))
    assert data.target.label_names == ("label",)
    assert sum(summary.utterances for summary in data.summaries()) == 64


@pytest.fixture(scope="module")
def skipped(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run with labels mapped to bits, without three recordings that cannot be read, and what refused them."""
    cwd = tmp_path_factory.mktemp("skipped")
    rows = read(corpus / "table.csv")
    (cwd / "audio").symlink_to(corpus / "audio")
    (cwd / "bad.wav").write_text("no audio at all")
    soundfile.write(cwd / "short.wav", np.zeros(10), RATE)
    bad = [{**rows[0], "path": name} for name in ("bad.wav", "short.wav", "missing.wav")]
    write(cwd / "table.csv", rows + bad)
    table = ("data=manifest", f"data.path={cwd / 'table.csv'}", "data.label=pitch", "target=quadrant")
    settings = (*table, BITS, *SHORT, "trainer.max_epochs=1")
    refused = run("train.py", *settings, "hydra.run.dir=refused", cwd=cwd, code=1)
    run("train.py", *settings, "data.on_error=skip", "hydra.run.dir=run", cwd=cwd)
    return cwd / "run", refused.stderr


def test_labels_can_be_mapped_to_the_challenges_bits(skipped: tuple[Path, str]) -> None:
    assert "test/valence_accuracy" in json.loads((skipped[0] / "metrics.json").read_text())


def test_bad_recordings_are_all_named_or_skipped_and_listed(skipped: tuple[Path, str]) -> None:
    folder, refused = skipped
    for words in (
        "3 of 67 recordings cannot be used",
        "is text, not audio",
        "too short",
        "no such file",
        "on_error=skip",
    ):
        assert words in refused
    assert "Traceback" not in refused
    kept = json.loads((folder / "splits.json").read_text())
    assert [row["id"] for row in kept["skipped"]] == ["bad", "short", "missing"]
    assert "3 recordings could not be used" in (folder / "report.md").read_text()


def test_a_corpus_that_is_not_there_says_where_to_get_it(tmp_path: Path) -> None:
    refused = run("train.py", "data=ravdess", f"data.root={tmp_path / 'none'}", cwd=tmp_path, code=1)
    assert "zenodo.org" in refused.stderr
    assert "data.root=FOLDER" in refused.stderr


def test_frames_of_a_challenge_file_cannot_come_from_recordings_of_another_kind(
    trained: Path, challenge: Path, tmp_path: Path
) -> None:
    best = f"ckpt={trained / 'checkpoints' / 'best.ckpt'}"
    refused = run("predict.py", best, f"input={challenge / 'dev.json'}", cwd=tmp_path, code=1)
    assert "26 values in a frame" in refused.stderr


def test_describe_shows_speakers_labels_leaks_and_a_picture(corpus: Path, tmp_path: Path) -> None:
    table = ("data=manifest", f"data.path={corpus / 'table.csv'}", "data.label=pitch", "hydra.run.dir=look")
    shown = run("ser", "describe", *table, cwd=tmp_path, plots=True).stdout
    assert "s0: 8 utterances (high 4, low 4)" in shown
    assert "label high: 32 utterances, high" in shown
    assert "Leaks: none" in shown
    assert (tmp_path / "look" / "recordings.png").read_bytes().startswith(b"\x89PNG")


def test_waveforms_are_augmented_in_every_step_and_predicted_without(corpus: Path, tmp_path: Path) -> None:
    table = ("data=manifest", f"data.path={corpus / 'table.csv'}", "data.label=pitch", *SHORT)
    noisy = (
        "waveform_augment=noise_and_speed",
        "silence=remove",
        "trainer.max_epochs=8",
        "hydra.run.dir=run",
    )
    run("train.py", *table, *noisy, cwd=tmp_path)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test/accuracy"] > 0.8
    best = f"ckpt={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}"
    printed = run("predict.py", best, f"input={corpus / 'table.csv'}", "output=a.csv", cwd=tmp_path).stdout
    assert "accuracy" in printed


def test_augmenting_waveforms_needs_recordings(challenge: Path, tmp_path: Path) -> None:
    data = ("data=challenge", f"data.root={challenge}", "waveform_augment=noise_and_speed")
    refused = run("train.py", *data, cwd=tmp_path, code=1)
    assert "waveform_augment need recordings" in refused.stderr


def test_recordings_become_files_of_the_challenge(corpus: Path, tmp_path: Path) -> None:
    table = ("data=manifest", f"data.path={corpus / 'table.csv'}", "data.label=pitch")
    run("ser", "export-challenge", *table, BITS, "hydra.run.dir=out", cwd=tmp_path)
    out = tmp_path / "out"
    first, second = (json.loads((out / f"ser_test_{number}.json").read_text()) for number in (1, 2))
    assert all(set(row) == {"features"} for row in first.values())
    assert all(type(row["id"]) is int for row in second)
    assert len(json.loads((out / "gold_2.json").read_text())) == len(second)
    files = [
        *json.loads((out / "train.json").read_text()).values(),
        *json.loads((out / "dev.json").read_text()).values(),
    ]
    assert len(files) + len(first) + len(second) == 64
    assert len(files[0]["features"][0]) == 26
    challenge = (
        "data=challenge",
        f"data.root={out}",
        "data.test=ser_test_1.json",
        "data.test_labels=gold_1.json",
    )
    run("train.py", *challenge, *TINY, "trainer.max_epochs=1", "hydra.run.dir=run", cwd=tmp_path)
    best = f"ckpt={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}"
    run("predict.py", best, f"input={corpus / 'audio'}", "output=from_audio.csv", cwd=tmp_path)
    assert {"valence", "activation", "p_joy"} <= set(read(tmp_path / "from_audio.csv")[0])
