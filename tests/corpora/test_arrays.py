"""The assignment's .npy files: what is read from them, and every mistake in them."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from ser.batch import Padded
from ser.batching.dataset import UtteranceDataset
from ser.batching.samplers import BatchIndices
from ser.config.instantiate import build
from ser.config.validate import check
from ser.corpora.array_files import read_clips
from ser.corpora.arrays import CLASS_NAMES, ArrayCorpus
from ser.data.label_map import LabelCount
from ser.data.store import Store
from ser.errors import ConfigError, DataError
from ser.features.extractors import Waveform
from ser.splits.base import SpeechSize
from ser.splits.rules import Default, RandomSplit, SpeakerDisjoint
from tests.conftest import REPOSITORY

FEATURES = {"_target_": "ser.features.Waveform", "sample_rate": 8000}
RANDOM = RandomSplit(validation=0.25, test=0.0, label="language")
SAMPLES = 800


def arrays(clips, *, seed=0, samples=SAMPLES):
    """Noise float16 [6 * clips, samples], and its class indices."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (6 * clips, samples))
    return noise.astype(np.float16), np.resize(np.arange(6), 6 * clips).astype(np.int8)


def write(root, split, inputs, targets):
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / f"inputs_{split}_fp16.npy", inputs)
    np.save(root / f"targets_{split}_int8.npy", targets)


@pytest.fixture
def root(tmp_path):
    write(tmp_path, "train", *arrays(8))
    write(tmp_path, "test", *arrays(2, seed=1))
    return tmp_path


def splits(root, split=RANDOM, **settings):
    return ArrayCorpus(str(root), split=split, **settings).splits(FEATURES)


def write_names(root, name, split, names):
    (root / f"{name}_{split}.json").write_text(json.dumps(names))


@pytest.mark.parametrize("folder", [".", "dataset"])
def test_the_four_files_make_three_splits_of_waveforms(tmp_path, folder):
    inputs, targets = arrays(8)
    write(tmp_path / folder, "train", inputs, targets)
    write(tmp_path / folder, "test", *arrays(2, seed=1))
    found = splits(tmp_path)
    assert {name: len(store) for name, store in found.stores.items()} == {
        "train": 36,
        "validation": 12,
        "test": 12,
    }
    assert found.hold_waveforms
    train = found.stores["train"]
    rows = [int(name.partition("/")[2]) for name in train.ids]
    audio = train.gather(np.arange(36), np.zeros(36, int), train.lengths)
    assert audio.dtype == torch.float32
    assert np.array_equal(audio[:, :, 0], inputs[rows].astype(np.float32))
    assert train.labels[:, 0].tolist() == [CLASS_NAMES[index] for index in targets[rows]]
    assert train.label_names == ("language",)
    assert found.stores["test"].ids == [f"test/{row}" for row in range(12)]


def test_validation_holds_its_share_of_every_language(root):
    labels = splits(root).stores["validation"].labels[:, 0]
    assert {name: (labels == name).sum() for name in CLASS_NAMES} == dict.fromkeys(CLASS_NAMES, 2)


def test_nothing_is_copied(root):
    audio = splits(root).stores["train"].audio
    assert audio.dtype == np.float16
    assert audio.shape == (48 * SAMPLES, 1)
    while isinstance(audio.base, np.ndarray):
        audio = audio.base
    assert isinstance(audio, np.memmap)
    assert not audio.flags.writeable


def test_a_batch_of_waveforms_is_what_the_extractor_takes(root):
    store = splits(root).stores["test"]
    batch = UtteranceDataset(store, torch.zeros(12, dtype=torch.int64))[BatchIndices(0, [3, 1])]
    extracted = Waveform(sample_rate=8000, normalize="peak")(batch.audio)
    assert isinstance(extracted, Padded)
    assert extracted.values.abs().amax(1).flatten().tolist() == [1.0, 1.0]


def test_chunks_of_half_precision_come_as_float32_and_can_be_summed(tmp_path):
    loud = np.full((3, 4_000), 30_000, np.float16)
    np.save(tmp_path / "loud.npy", loud)
    chunks = [*read_clips(tmp_path / "loud.npy", 8000).chunks(5_000)]
    assert [chunk.shape for chunk in chunks] == [(5_000, 1), (5_000, 1), (2_000, 1)]
    assert all(chunk.dtype == np.float32 for chunk in chunks)
    assert sum(float(chunk.sum()) for chunk in chunks) == pytest.approx(3 * 4_000 * 30_000, rel=1e-3)


def test_unknown_speakers_are_remarked_and_no_stamp_is_made(root):
    found = splits(root)
    assert found.facts.stamps == []
    assert found.facts.remarks == [
        "Leaks: none between the splits.",
        "Leaks not checked: the speakers of 60 utterances are unknown, so splits may share speakers.",
    ]
    assert found.facts.speech["test"] == SpeechSize(None, round(12 * 0.1 / 60, 2))
    assert found.facts.labels[0] == LabelCount("de", "de", 10)
    assert not found.facts.skipped


def test_known_speakers_are_kept_apart_and_counted(root):
    write_names(root, "speakers", "train", [f"s{row // 6}" for row in range(48)])
    write_names(root, "speakers", "test", [f"t{row // 6}" for row in range(12)])
    found = splits(root, SpeakerDisjoint(validation=0.25, test=0.0, label="language"))
    assert [found.facts.speech[name].speakers for name in found.stores] == [6, 2, 2]
    assert found.facts.remarks == ["Leaks: none between the splits."]
    people = [{u.speaker for u in found.manifests[name]} for name in found.stores]
    assert len(set.union(*people)) == sum(map(len, people))


def test_shared_speakers_texts_and_audio_are_found_in_the_test_file(root):
    inputs, targets = arrays(2, seed=1)
    inputs[5] = arrays(8)[0][17]
    write(root, "test", inputs, targets)
    for split, count in (("train", 48), ("test", 12)):
        write_names(root, "speakers", split, ["anna", *[None] * (count - 1)])
        write_names(root, "texts", split, [*[None] * (count - 1), "guten Tag"])
    found = splits(root, declared_leaks=["text"])
    with_test = [leak for leak in found.facts.leaks if leak.splits[1] == "test"]
    assert {leak.kind for leak in with_test} == {"speaker", "text", "audio"}
    audio = next(leak for leak in with_test if leak.kind == "audio")
    assert audio.examples == ("train/17 = test/5",)
    assert any("equal audio" in stamp for stamp in found.facts.stamps)
    assert not any("texts" in stamp for stamp in found.facts.stamps)


def test_without_a_test_file_there_is_no_test_split(root):
    (root / "inputs_test_fp16.npy").unlink()
    assert set(splits(root).stores) == {"train", "validation"}


def test_the_fingerprint_follows_the_content(root):
    before = splits(root).stores["train"].fingerprint
    assert splits(root).stores["train"].fingerprint == before
    inputs, targets = arrays(8)
    inputs[0, 0] += np.float16(0.5)
    write(root, "train", inputs, targets)
    assert splits(root).stores["train"].fingerprint != before


def test_silent_clips_are_warned_of_in_one_line(root, caplog):
    inputs, targets = arrays(8)
    inputs[[4, 9]] = 0
    inputs[9, 3] = -0.0
    write(root, "train", inputs, targets)
    with caplog.at_level(logging.WARNING):
        splits(root)
    assert [record.message for record in caplog.records] == [
        f"{root / 'inputs_train_fp16.npy'}: digital silence in 2 of 48 rows: 4, 9"
    ]


def refused(root, message, **settings):
    with pytest.raises(DataError, match=message):
        splits(root, **settings)


def test_a_missing_folder_is_named_with_where_the_four_files_belong(tmp_path):
    refused(
        tmp_path / "none",
        r"none: no such folder\. Put the four files inputs_train_fp16\.npy, targets_train_int8\.npy, "
        r"inputs_test_fp16\.npy, targets_test_int8\.npy there or in .*none/dataset, or .* data\.root=DIR\.",
    )


def test_a_folder_without_the_train_file_tells_what_is_there(tmp_path):
    refused(tmp_path, r"holds no inputs_train_fp16\.npy\. Put the four files")
    np.save(tmp_path / "inputs_train_fp32.npy", np.zeros((2, 2)))
    refused(tmp_path, r"but inputs_train_fp32\.npy.*Put the four files")


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_targets_are_named(root, split):
    (root / f"targets_{split}_int8.npy").unlink()
    refused(
        root, rf"targets_{split}_int8\.npy: no such file, but inputs_{split}_fp16\.npy is there\..*predicted"
    )


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        (np.zeros(48, np.float16), r"float16 \[48\]"),
        (np.zeros((48, 1, 8), np.float16), r"float16 \[48, 1, 8\]"),
        (np.zeros((0, 8), np.float16), r"float16 \[0, 8\]"),
        (np.zeros((48, 0), np.float16), r"float16 \[48, 0\]"),
        (np.zeros((48, 8)), r"float64 \[48, 8\]"),
        (np.zeros((48, 8), np.int16), r"int16 \[48, 8\]"),
        (np.zeros((48, 8), ">f2"), r">f2 \[48, 8\]|float16 \[48, 8\]"),
    ],
)
def test_waveforms_of_another_shape_or_type_are_refused(root, inputs, found):
    np.save(root / "inputs_train_fp16.npy", inputs)
    refused(root, rf"inputs_train_fp16\.npy: holds ({found}), expected float16 \[N, samples\].*astype")


def test_waveforms_stored_by_columns_are_refused(root):
    np.save(root / "inputs_train_fp16.npy", np.asfortranarray(arrays(8)[0]))
    refused(root, r"stored column by column.*np\.ascontiguousarray")


@pytest.mark.parametrize(
    ("targets", "found"),
    [(np.zeros(48), r"float64 \[48\]"), (np.zeros((48, 1), np.int8), r"int8 \[48, 1\]")],
)
def test_targets_of_another_shape_or_type_are_refused(root, targets, found):
    np.save(root / "targets_train_int8.npy", targets)
    refused(root, rf"targets_train_int8\.npy: holds {found}, expected int8 \[N\].*0 to 5")


@pytest.mark.parametrize("wrong", [6, -1])
def test_a_class_index_out_of_range_is_named_with_its_row(root, wrong):
    targets = arrays(8)[1]
    targets[7] = wrong
    np.save(root / "targets_train_int8.npy", targets)
    refused(root, rf"row 7 holds {wrong}, expected 0 to 5 for the 6 classes de, en.*1 rows")


def test_numbers_of_waveforms_and_targets_must_agree(root):
    np.save(root / "targets_test_int8.npy", arrays(3)[1])
    refused(root, r"targets_test_int8\.npy: holds 18 class indices for the 12 waveforms of inputs_test_fp16")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_finite_numbers_are_named_with_their_rows(root, value):
    inputs, targets = arrays(8)
    inputs[[2, 3, 40], 5] = value
    write(root, "train", inputs, targets)
    refused(
        root, r"inputs_train_fp16\.npy: NaN or infinity in 3 of 48 rows: 2, 3, 40\. float16 ends at 65504"
    )


def test_only_the_first_rows_are_listed(root):
    inputs, targets = arrays(8)
    inputs[:, 5] = np.nan
    write(root, "train", inputs, targets)
    refused(root, r"48 of 48 rows: 0, 1, 2, 3, 4, \.\.\.\. float16")


def spoil_text(path):
    path.write_text("version https://git-lfs.github.com/spec/v1")


def spoil_empty(path):
    path.write_bytes(b"")


def spoil_cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def spoil_pickle(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("spoil", [spoil_text, spoil_empty, spoil_cut, spoil_pickle])
@pytest.mark.parametrize("name", ["inputs_train_fp16.npy", "targets_train_int8.npy"])
def test_what_is_no_npy_file_of_numbers_is_refused(root, spoil, name):
    spoil(root / name)
    if name.startswith("targets") and spoil is spoil_cut:
        (root / name).write_bytes((root / name).read_bytes()[:100])
    refused(root, rf"{name}: is not a \.npy file of numbers, or is cut off \(.*np\.save")


def test_a_folder_in_place_of_a_file_is_refused(root):
    (root / "targets_train_int8.npy").unlink()
    (root / "targets_train_int8.npy").mkdir()
    refused(root, r"targets_train_int8\.npy: cannot be read \(is a directory\)")


def test_classes_without_a_waveform_to_train_on_are_named(root):
    targets = arrays(8)[1]
    targets[(targets == 3) | (targets == 5)] = 0
    np.save(root / "targets_train_int8.npy", targets)
    refused(
        root, r"targets_train_int8\.npy: has no waveform of the class 'fr', 'pt', so it.*data\.class_names"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", r"cannot be read as JSON"),
        ('{"0": "anna"}', r"expected a list of texts or nulls"),
        ("[1, 2]", r"expected a list of texts or nulls"),
        ('["anna"]', r"lists 1, expected 48, one for each row"),
    ],
)
@pytest.mark.parametrize("name", ["speakers", "texts"])
def test_lists_of_another_kind_are_refused(root, name, content, message):
    (root / f"{name}_train.json").write_text(content)
    refused(root, rf"{name}_train\.json: {message}")


def test_features_of_another_sample_rate_are_refused(root):
    with pytest.raises(
        ConfigError, match=r"features\.sample_rate=16000.*8000 Hz.*Set features\.sample_rate=8000\."
    ):
        ArrayCorpus(str(root), split=RANDOM).splits({**FEATURES, "sample_rate": 16_000})


def test_a_rule_must_not_make_a_test_split_beside_the_test_file(root):
    with pytest.raises(
        ConfigError, match=r"inputs_test_fp16\.npy is the test split\. Set data\.split\.test=0"
    ):
        splits(root, RandomSplit(validation=0.25, test=0.25, label="language"))


def test_a_rule_by_speaker_asks_for_speakers(root):
    refused(root, r"names neither splits nor all speakers.*split=random", split=Default(test=0.0))


def test_an_unknown_kind_of_leak_is_refused(root):
    with pytest.raises(ConfigError, match="Did you mean 'speaker'"):
        ArrayCorpus(str(root), split=RANDOM, declared_leaks=["speakers"])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_unlabelled_waveforms_are_read_with_their_row_as_id(tmp_path, dtype):
    inputs = arrays(1)[0].astype(dtype)
    np.save(tmp_path / "hidden.npy", inputs)
    store = read_clips(tmp_path / "hidden.npy", 8000)
    assert isinstance(store, Store)
    assert store.ids == ["0", "1", "2", "3", "4", "5"]
    assert (store.labels, store.layout, store.feature_dim) == (None, "object", 1)
    found = store.gather(np.array([4]), np.array([0]), np.array([SAMPLES]))[0, :, 0]
    assert np.array_equal(found, inputs[4].astype(np.float32))


def test_a_single_waveform_is_one_clip(tmp_path):
    np.save(tmp_path / "one.npy", arrays(1)[0][0])
    store = read_clips(str(tmp_path / "one.npy"), 8000)
    assert store.ids == ["0"]
    assert store.lengths.tolist() == [SAMPLES]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((2, 3, 4), np.float32),
            r"float32 \[2, 3, 4\], expected float16 or float32 \[N, samples\] or \[samp",
        ),
        (np.zeros((2, 4)), r"float64 \[2, 4\], expected float16 or float32.* np\.save\(path, array\.astype"),
        (np.zeros((2, 4), np.int16), r"int16 \[2, 4\], .* np\.save\(path, \(array / 32768\)\.astype"),
        (np.full((2, 4), np.nan, np.float32), r"NaN or infinity in 2 of 2 rows: 0, 1\."),
    ],
)
def test_unlabelled_waveforms_are_checked_like_others(tmp_path, array, message):
    np.save(tmp_path / "hidden.npy", array)
    with pytest.raises(DataError, match=message):
        read_clips(tmp_path / "hidden.npy", 8000)


def test_a_missing_array_is_named(tmp_path):
    with pytest.raises(DataError, match=r"hidden\.npy: no such file"):
        read_clips(tmp_path / "hidden.npy", 8000)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("language_id_arrays", "ser.corpora.ArrayCorpus"),
        ("language_id_demo", "ser.synthetic.LanguageDemoCorpus"),
    ],
)
def test_the_data_s_settings_compose_and_build(name, target, tmp_path):
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        settings = check(compose("train", overrides=[f"data={name}", f"data.root={tmp_path}"]))
    assert settings["data"]["_target_"] == target
    corpus = build(settings["data"], slot="data")
    assert corpus.split.test == 0
    assert corpus.split.label == "language"
    assert settings["target"]["class_names"] == [*corpus.class_names]
    assert settings["features"]["_target_"] == FEATURES["_target_"]
    assert settings["features"]["sample_rate"] == 8000


def test_odd_headers_of_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.npy"
    kinds = ["'<f4'", "[]", "''", "'V0'", "'|O'", "[('a', '<f4')]", "('<f4', (2, 2))", "None", "'<c8'"]
    shapes = ["(-1,)", "(10, -5)", "(True, 100)", "(2**62, 4)", "None", "(10**400,)", "(" * 300 + ")" * 300]
    headers = [
        f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}}}"
        for kind in kinds
        for shape in shapes
        for order in ("False", "None")
    ]
    for header in [*headers, "{}", "-" * 3000 + "1", "{[1]: 2}", "\0"]:
        content = header.encode() + b"\n"
        path.write_bytes(b"\x93NUMPY\1\0" + len(content).to_bytes(2, "little") + content + bytes(4000))
        with pytest.raises(DataError, match=r"odd\.npy: (is not a \.npy file|holds)"):
            read_clips(path, 8000)


def test_a_pipe_in_place_of_an_array_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"a\.npy: is not a regular file"):
        read_clips(tmp_path / "a.npy", 8000)
