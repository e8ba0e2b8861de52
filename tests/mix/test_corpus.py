"""Several corpora as one: labels, names, splits and what is dropped."""

import logging
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ser.config.settings import Train
from ser.config.validate import check
from ser.errors import DataError, SerError
from ser.features.extractors import LogMel
from ser.frozen import PretrainedFeatures
from ser.mix.bandwidth import describe_narrow_bands
from ser.mix.classes import shared_classes
from ser.mix.labels import join_labels, join_with_map
from ser.splits.base import Splits
from ser.training import setup
from tests.conftest import REPOSITORY

soundfile = pytest.importorskip("soundfile")

RAVDESS = {"01": "neutral", "03": "happiness", "04": "sadness", "05": "anger", "08": "surprise"}
EMODB = {"N": "neutral", "F": "happiness", "T": "sadness", "W": "anger", "L": "boredom"}


def write(root: Path, names: list[str], rate: int) -> None:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(number).normal(0, 0.1, rate // 4), rate)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RAVDESS at 16 kHz, EmoDB at 8 kHz, and two folders with a subfolder per class."""
    root = tmp_path_factory.mktemp("corpora")
    write(root / "ravdess", [f"03-01-{e}-01-01-01-{s:02d}.wav" for e in RAVDESS for s in range(1, 7)], 16_000)
    write(root / "emodb", [f"{s:02d}a01{e}a.wav" for e in EMODB for s in (3, 8, 9, 10, 11, 12)], 8_000)
    write(root / "mine", [f"{e}/{s}.wav" for e in ("anger", "sadness") for s in range(6)], 16_000)
    write(root / "said", [f"{e}/{s}.wav" for e in ("angry", "Happy", "sad", "awe") for s in range(6)], 16_000)
    write(root / "moods", [f"{e}/{s}.wav" for e in ("joy", "happy", "Angry") for s in range(6)], 16_000)
    write(root / "words", [f"{e}/{s}.wav" for e in ("yes", "no") for s in range(6)], 16_000)
    return root


def settings_of(root: Path, *overrides: str) -> Train:
    words = ["data=mix", f"data.corpora_root={root}", f"data.cache_dir={root / 'cache'}", *overrides]
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return Train.of(check(compose("train", overrides=words)))


def built(root: Path, *overrides: str) -> tuple[Train, Any]:
    settings = settings_of(root, *overrides)
    return settings, setup.example_target(settings.target)


def splits_of(root: Path, *overrides: str) -> Splits:
    return setup.read_splits(settings_of(root, *overrides))


BOTH = "data.corpora=[ravdess,emodb]"


@pytest.fixture(scope="module")
def both(root: Path) -> Splits:
    return splits_of(root, BOTH)


def everything(splits: Splits) -> list[Any]:
    return [utterance for manifest in splits.manifests.values() for utterance in manifest]


def test_each_corpus_is_split_by_its_own_speakers(both: Splits) -> None:
    for name in ("ravdess", "emodb"):
        speakers = [{u.speaker for u in manifest if u.corpus == name} for manifest in both.manifests.values()]
        assert [len(own) for own in speakers] == [4, 1, 1]
        assert len(set.union(*speakers)) == 6


def test_names_of_two_corpora_stay_apart(both: Splits) -> None:
    utterances = everything(both)
    assert len({u.id for u in utterances}) == len(utterances) == 48
    assert {u.id.partition("/")[0] == u.speaker.partition("/")[0] == u.corpus for u in utterances} == {True}
    assert "emodb/03a01Wa" in {u.id for u in utterances}


def test_classes_that_not_all_corpora_have_are_dropped_and_named(both: Splits) -> None:
    assert {str(u.labels["emotion"]) for u in everything(both)} == {
        "anger",
        "happiness",
        "neutral",
        "sadness",
    }
    text = "\n".join(both.facts.remarks)
    assert "ravdess: 6 of 30 utterances are dropped" in text
    assert "6 surprise" in text
    assert "6 boredom" in text
    kept = {(each.corpus, each.raw): each.mapped for each in both.facts.labels}
    assert kept["emodb", "boredom"] is None
    assert kept["emodb", "anger"] == "anger"


def test_a_narrow_corpus_is_stamped_and_rates_are_named(both: Splits) -> None:
    assert any("emodb (nothing above 4000 Hz)" in stamp for stamp in both.facts.stamps)
    assert any("ravdess 16000 Hz, emodb 8000 Hz" in remark for remark in both.facts.remarks)


SAID = '+data.settings.said={data:folder,speaker:"(.*)"}'
MOODS = '+data.settings.moods={data:folder,speaker:"(.*)"}'


def labels_of(splits: Splits, corpus: str) -> Counter[str]:
    return Counter(str(u.labels["emotion"]) for u in everything(splits) if u.corpus == corpus)


def test_labels_that_are_synonyms_or_differ_in_case_are_joined_and_named(root: Path) -> None:
    splits = splits_of(root, "data.corpora=[ravdess,said]", SAID)
    assert (
        labels_of(splits, "said")
        == labels_of(splits, "ravdess")
        == dict.fromkeys(("anger", "happiness", "sadness"), 6)
    )
    assert (
        "said: labels are read as those of the other corpora or the label map: Happy as happiness, angry as anger, "
        "sad as sadness." in splits.facts.remarks
    )
    kept = {(each.corpus, each.raw): (each.mapped, each.utterances) for each in splits.facts.labels}
    assert kept["said", "Happy"] == ("happiness", 6)
    assert kept["said", "awe"] == (None, 6)


@pytest.mark.parametrize(
    ("label_map", "target"), [("quadrant", "quadrant"), ("arousal_valence", "regression")]
)
def test_the_common_map_reads_synonyms(root: Path, label_map: str, target: str) -> None:
    words = ["data.corpora=[ravdess,moods]", MOODS, f"label_map={label_map}", f"target={target}"]
    splits = splits_of(root, *words)
    assert sum(u.corpus == "moods" for u in everything(splits)) == 18
    assert "Angry as anger, happy as happiness, joy as happiness." in "\n".join(splits.facts.remarks)


def test_a_corpus_that_tells_synonyms_apart_keeps_both_and_names_the_map(root: Path) -> None:
    words = ["data.corpora=[ravdess,moods]", MOODS, "data.labels=all"]
    splits = splits_of(root, *words)
    assert labels_of(splits, "moods") == {"joy": 6, "happy": 6, "anger": 6}
    (note,) = (line for line in splits.facts.remarks if "To join them: " in line)
    assert note.startswith("moods: happy and joy may mean the same")
    (typed,) = shlex.split(note.partition("To join them: ")[2])
    assert labels_of(splits_of(root, *words, f"+{typed}"), "moods") == {"happiness": 12, "anger": 6}


def test_classes_that_corpora_name_alike_are_kept_where_one_tells_synonyms_apart(tmp_path: Path) -> None:
    write(
        tmp_path / "x", [f"{e}/{s}.wav" for e in ("happy", "joy", "sad", "angry") for s in range(6)], 16_000
    )
    write(tmp_path / "y", [f"{e}/{s}.wav" for e in ("Happy", "sad", "anger") for s in range(6)], 16_000)
    folders = [f'+data.settings.{name}={{data:folder,speaker:"(.*)"}}' for name in "xy"]
    splits = splits_of(tmp_path, "data.corpora=[x,y]", *folders)
    assert labels_of(splits, "x") == labels_of(splits, "y") == {"happy": 6, "sad": 6, "anger": 6}


def test_a_label_that_the_other_corpus_tells_apart_stays() -> None:
    counts = {"a": Counter(["anger", "angry"]), "b": Counter(["angry"]), "c": Counter(["Anger"])}
    assert join_labels(counts, [])[0] == {"c": {"Anger": "anger"}}
    assert join_labels(counts, ["a"])[0] == {"c": {"Anger": "anger"}}
    in_case = {"a": Counter(["anger", "Anger"]), "b": Counter(["Anger"])}
    assert join_labels(in_case, [])[0] == {}


def test_one_map_joins_all_synonyms_of_a_corpus(root: Path, tmp_path: Path) -> None:
    names = ("joy", "happy", "Angry", "anger", "sad")
    write(tmp_path / "two", [f"{e}/{s}.wav" for e in names for s in range(6)], 16_000)
    words = ["data.corpora=[ravdess,two]", f"+data.folders.two={tmp_path / 'two'}"]
    words.append('+data.settings.two={data:folder,speaker:"(.*)"}')
    splits = splits_of(root, *words)
    assert labels_of(splits, "two") == {"anger": 6, "sadness": 6}
    (note,) = (line for line in splits.facts.remarks if "To join them: " in line)
    assert note.startswith("two: Angry and anger, happy and joy may mean the same")
    (typed,) = shlex.split(note.partition("To join them: ")[2])
    joined = splits_of(root, *words, f"+{typed}")
    assert labels_of(joined, "two") == {"happiness": 12, "anger": 12, "sadness": 6}
    assert not any("To join them: " in line for line in joined.facts.remarks)


def test_a_map_without_the_word_of_the_catalogue_reads_synonyms() -> None:
    counts = {"a": Counter(["happiness", "Joy", "sad"]), "b": Counter(["sadness"])}
    new_labels, _ = join_with_map(counts, {"happy": "pos", "sad": "neg"})
    assert new_labels == {
        "a": {"happiness": "happy", "Joy": "happy", "sad": "sad"},
        "b": {"sadness": "sad"},
    }
    assert join_with_map(counts, {"happy": "pos", "joyful": "pos", "sadness": "neg"})[0] == {
        "a": {"happiness": "happiness", "Joy": "Joy", "sad": "sadness"}
    }


def test_labels_of_a_map_stay_and_others_join_them(root: Path) -> None:
    own = "+data.settings.said.label_map={angry:angry,Happy:joyful,sad:null,awe:null}"
    splits = splits_of(root, "data.corpora=[ravdess,said]", SAID, own)
    assert labels_of(splits, "said") == labels_of(splits, "ravdess") == {"angry": 6, "joyful": 6}


@pytest.mark.parametrize(
    ("counts", "names_quadrants"),
    [
        ({"a": ["anger", "calm"], "b": ["afraid", "Neutral"]}, True),
        ({"a": ["anger", "calm"], "b": ["afraid", "awe"]}, False),  # not in the map
        ({"a": ["anger", "calm"], "b": ["afraid", "Disgusted"]}, False),  # one quadrant in common
    ],
)
def test_quadrants_are_named_where_they_give_common_classes(
    counts: dict[str, list[str]], names_quadrants: bool
) -> None:
    with pytest.raises(DataError, match="no class in common") as caught:
        shared_classes({name: Counter(labels) for name, labels in counts.items()})
    assert ("label_map=quadrant target=quadrant" in str(caught.value)) == names_quadrants


def narrow_stamps(splits: Splits) -> list[str]:
    return [stamp for stamp in splits.facts.stamps if "narrower than the features" in stamp]


@pytest.mark.parametrize("features", ["challenge", "log_mel", "serab", "mfcc", "waveform"])
def test_the_setting_that_a_narrow_corpus_needs_works_as_printed(root: Path, features: str) -> None:
    words = [BOTH, f"features={features}"]
    if features == "waveform":
        words += ["model=waveform_cnn", "augment.time_stretch=0", "augment.frequency_warp=0"]
    (stamp,) = narrow_stamps(splits_of(root, *words))
    remedy = re.search(r"For the same band in all, set (features\.\w+=[\d.]+)(;|$)", stamp)
    assert remedy is not None, stamp
    assert (
        narrow_stamps(splits_of(root, *words, f"++{remedy[1]}")) == []
    )  # the command line adds the plus signs


def test_narrow_bands_that_differ_are_stamped_equal_ones_are_not() -> None:
    extractor = LogMel()
    assert describe_narrow_bands({"a": 8000, "b": 8000}, extractor) == []
    assert describe_narrow_bands({"a": 16_000, "b": 48_000}, extractor) == []
    (stamp,) = describe_narrow_bands({"a": 8000, "b": 11_025}, extractor)
    assert "a (nothing above 4000 Hz), b (nothing above 5512 Hz)" in stamp
    assert stamp.endswith("set features.max_frequency=4000.0")


def test_a_longer_fft_is_named_where_filters_become_too_narrow() -> None:
    settings: dict[str, Any] = {"num_mel_bins": 128, "fft_length": 1024}
    words = str(LogMel(**settings).limit_band(2000.0))
    assert words == "features.max_frequency=2000.0 features.fft_length=2048"
    assert LogMel(**{**settings, "fft_length": 2048}, max_frequency=2000.0).highest_frequency < 2000
    assert LogMel(min_frequency=3000.0).limit_band(2000.0) is None


def test_an_encoder_of_one_rate_keeps_the_corpora_with_the_widest_band() -> None:
    encoder: Any = object.__new__(PretrainedFeatures)
    encoder.__dict__ |= {"sample_rate": 16_000}
    (stamp,) = describe_narrow_bands({"a": 16_000, "b": 8000, "c": 11_025, "d": 48_000}, encoder)
    assert stamp.endswith("Keep the corpora with the widest one: 'data.corpora=[a,d]'")


def test_all_classes_are_kept_where_asked(root: Path) -> None:
    splits = splits_of(root, BOTH, "data.labels=all")
    assert len(everything(splits)) == 60
    assert "boredom: not in ravdess" in "\n".join(splits.facts.remarks)


def test_a_common_map_makes_quadrants_of_all(root: Path) -> None:
    splits = splits_of(root, BOTH, "label_map=quadrant", "target=quadrant")
    assert splits.stores["train"].label_names == ("valence", "activation")
    assert len(everything(splits)) == 60


def test_values_come_from_a_map(root: Path) -> None:
    splits = splits_of(root, BOTH, "label_map=arousal_valence", "target=regression")
    assert len(everything(splits)) == 60
    assert splits.stores["train"].label_names == ("arousal", "valence")


def test_a_map_of_one_corpus_holds_for_it_alone(root: Path) -> None:
    own = "{neutral:neutral,anger:anger,happiness:anger,sadness:null,boredom:null}"
    splits = splits_of(root, BOTH, f"+data.settings.emodb.label_map={own}")
    found = {(u.corpus, str(u.labels["emotion"])) for u in everything(splits)}
    assert found == {(name, label) for name in ("ravdess", "emodb") for label in ("neutral", "anger")}
    assert "emodb: the label map drops 6 sadness." in splits.facts.remarks


def test_the_summary_counts_each_corpus(root: Path, both: Splits) -> None:
    data = setup.make_data(settings_of(root, BOTH), both)
    train, _, test = data.summaries()
    assert dict(train.corpora) == {"ravdess": 16, "emodb": 16}
    assert test.to_dict()["corpora"] == {"ravdess": 4, "emodb": 4}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.corpora=[ravdess,emod]"], "there is no such corpus. Did you mean 'emodb'"),
        (["data.corpora=[ravdess,ravdess]"], "'ravdess' is named twice"),
        (["data.corpora=[ravdess,savee]"], r"savee: no such folder.*data\.folders\.savee=FOLDER"),
        (["data.corpora=[ravdess,sewa]"], "no corpus of single recordings"),
        (
            ["data.corpora=[emodb,emodb4]", "+data.folders.emodb4=emodb"],
            "emodb and emodb4 read 30 of the same",
        ),
        (
            ["data.corpora=[ravdess,mine]", "+data.settings.mine={data:folder}"],
            r"data\.settings\.mine\.speaker to a pattern",
        ),
        (
            ["data.corpora=[ravdess,words]", '+data.settings.words={data:folder,speaker:"(.*)"}'],
            "no class in common:\n  ravdess: anger, .*\n  words: no, yes",
        ),
        ([BOTH, "+data.settings.ravdes.label=emotion"], r"data\.settings\.ravdes.*Did you mean 'ravdess'"),
        (
            [BOTH, "+data.settings.ravdess.lable=emotion"],
            r"data\.settings\.ravdess\.lable=emotion: unknown key",
        ),
        ([BOTH, "+data.settings.ravdess.on_error=skip"], r"Set data\.on_error instead"),
        ([BOTH, "target=regression"], "ravdess has no labels 'arousal' or 'valence'"),
        (
            [BOTH, "+data.settings.emodb.label_map={anger:null}"],
            "the label map lacks 4 labels of 'emotion'",
        ),
    ],
)
def test_what_does_not_fit_is_named(root: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(SerError, match=f"(?s){message}"):
        splits_of(root, *overrides)


def test_a_corpus_of_a_mix_is_split_by_its_published_folds(root: Path) -> None:
    splits = splits_of(root, "data.corpora=[ravdess]", "split=published", "data.split.fold=0")
    alone = ["data=ravdess", f"data.root={root / 'ravdess'}", f"data.cache_dir={root / 'cache'}"]
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        words = [*alone, "split=published", "data.split.fold=0"]
        own = setup.read_splits(Train.of(check(compose("train", overrides=words))))
    test = {u.speaker for u in splits.manifests["test"] if u.corpus == "ravdess"}
    assert test == {f"ravdess/{u.speaker}" for u in own.manifests["test"]} != set()
    assert [f"ravdess: {line}" for line in own.facts.remarks if "Protocol: " in line] == [
        line for line in splits.facts.remarks if "Protocol: " in line
    ]


def test_each_corpus_may_have_a_protocol_of_its_own(root: Path) -> None:
    words = [BOTH, "split=published", "data.split.fold=0", "data.split.protocol=emobox"]
    corpus = setup.build_corpus(*built(root, *words, "+data.settings.emodb.protocol=serab"))
    protocols = {name: reader.split.protocol for name, reader in corpus.readers.items()}
    assert protocols == {"ravdess": "emobox", "emodb": "serab"}
    remarks = splits_of(root, *words, "+data.settings.emodb.protocol=serab").facts.remarks
    assert "emodb: Protocol: fold 1 of 1, as published by SERAB." in remarks


def test_a_protocol_without_published_folds_is_refused(root: Path) -> None:
    message = r"data\.settings\.emodb\.protocol=serab: only published folds .*Add split=published"
    with pytest.raises(SerError, match=message):
        splits_of(root, BOTH, "+data.settings.emodb.protocol=serab")


def test_texts_are_accepted_in_the_corpora_that_declare_them_alone(root: Path) -> None:
    rows = [
        f"said/{folder}/{one}.wav,{label},{one},the {label}"
        for folder, label in {"angry": "anger", "sad": "sadness"}.items()
        for one in range(6)
    ]
    (root / "table.csv").write_text("\n".join(["path,emotion,speaker,text", *rows]))
    tables = ["data.corpora=[ravdess,table]", "+data.settings.table={data:manifest}"]
    tables += ["+data.folders.table=table.csv"]
    facts = splits_of(root, *tables).facts
    assert [stamp for stamp in facts.stamps if "texts" in stamp] == [
        f"LEAK: {pair} share texts (2)"
        for pair in ("train and validation", "train and test", "validation and test")
    ]
    lines = [line for line in facts.remarks if "train and test share texts" in line]
    assert [line.partition(":")[0] for line in lines] == ["LEAK", "Declared leak"]
    assert "table/the anger" in lines[0]
    assert lines[1].endswith(": ravdess/01")
    stamps = splits_of(root, *tables, "data.declared_leaks=[text]").facts.stamps
    assert not [stamp for stamp in stamps if "texts" in stamp]


def test_readers_of_a_resumed_run_follow_a_folder_that_moved(root: Path, tmp_path: Path) -> None:
    begun = OmegaConf.create(settings_of(root, BOTH).config)
    begun.data.corpora_root = str(tmp_path)
    begun.data.folders = {"emodb": str(root / "emodb")}
    readers = check(begun)["data"]["readers"]
    assert readers["ravdess"]["root"] == str(tmp_path / "ravdess")
    assert readers["emodb"]["root"] == str(root / "emodb")


def test_utterances_without_a_corpus_are_counted_as_unknown(both: Splits, root: Path) -> None:
    data = setup.make_data(settings_of(root, BOTH), both)
    lost = data.datasets["test"].store.ids[0]
    data.corpora = {"test": {name: each for name, each in data.corpora["test"].items() if name != lost}}
    assert data.corpora_of("test").count("unknown") == 1


def test_folds_are_counted_within_each_corpus(root: Path) -> None:
    settings = settings_of(root, BOTH, "split=leave_one_speaker_out")
    corpus = setup.build_corpus(settings, setup.example_target(settings.target))
    assert corpus.split.count_folds(corpus.labelled()[0])[0] == 6


def test_an_incomplete_copy_is_logged_for_each_corpus(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        splits_of(root, BOTH)
    assert sum("a complete copy" in record.getMessage() for record in caplog.records) == 2


def test_balanced_corpora_have_equal_shares_of_an_epoch(root: Path, both: Splits) -> None:
    data = setup.make_data(settings_of(root, BOTH, "balance=corpora"), both)
    batches = list(data.train_dataloader())
    names = [str(name).partition("/")[0] for batch in batches for name in batch.ids]
    assert names.count("ravdess") == names.count("emodb") == 16


def test_a_corpus_is_normalised_by_itself_and_stamped(root: Path) -> None:
    splits = splits_of(root, BOTH, "frontend.normalize=corpus")
    assert any(stamp.startswith("transductive: each corpus") for stamp in splits.facts.stamps)
    store, manifest = splits.stores["test"], splits.manifests["test"]
    for name in ("ravdess", "emodb"):
        own = np.array([index for index, u in enumerate(manifest) if u.corpus == name])
        frames = np.concatenate([*store.select(own).chunks(1000)])
        np.testing.assert_allclose(frames.mean(0), 0, atol=1e-4)


def test_one_corpus_cannot_be_balanced_with_others(root: Path) -> None:
    settings = settings_of(root, BOTH, "balance=corpora")
    data = setup.make_data(settings, splits_of(root, BOTH))
    data.corpora = {}
    with pytest.raises(SerError, match="is of one corpus"):
        data.train_dataloader()


@pytest.mark.parametrize(
    "settings", [["balance=corpora", "batching.temperature=0.5"], ["batching.temperature=2.0"]]
)
def test_a_temperature_without_effect_is_refused(root: Path, both: Splits, settings: list[str]) -> None:
    with pytest.raises(SerError, match="is for balance=corpora, and 1 or more"):
        setup.make_data(settings_of(root, BOTH, *settings), both)


def test_a_head_by_corpus_gets_groups_of_each_split_and_a_stamp(root: Path) -> None:
    splits = splits_of(root, BOTH, "head.normalize=corpus")
    groups = [{*store.groups.tolist()} for store in splits.stores.values() if store.groups is not None]
    assert groups == [{0, 1}, {2, 3}, {4, 5}]
    assert any(
        "pooled vectors are normalised with all recordings of a corpus" in s for s in splits.facts.stamps
    )
    assert not any("one label each" in stamp for stamp in splits.facts.stamps)


@pytest.mark.parametrize(
    ("part", "remedy"), [("head", "head.normalize=batch"), ("frontend", "frontend.normalize=global")]
)
def test_speakers_with_one_label_each_cause_a_warning(root: Path, part: str, remedy: str) -> None:
    own = '+data.settings.mine={data:folder,speaker:"(.*)",label_map:{anger:anger,sadness:anger}}'
    words = ["data.corpora=[mine]", own, "data.labels=all", f"{part}.normalize=speaker"]
    stamps = splits_of(root, *words).facts.stamps
    fact = (
        "6 of 6 speakers have one label each, so normalisation by speaker removes what is to be learnt: use"
    )
    assert f"{fact} {remedy}" in stamps
