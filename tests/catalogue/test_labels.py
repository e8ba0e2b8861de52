"""Corpora whose labels are in files of their own, on trees with the published names and columns."""

import logging
from pathlib import Path
from typing import Any

import pytest

from ser.catalogue import CORPORA
from ser.corpora import PublishedCorpus
from ser.corpora.published import expected_size, read_corpus
from ser.data.manifest import Manifest
from ser.errors import DataError
from ser.mix.corpus import MixedCorpus
from ser.splits.published import Published
from ser.splits.rules import Default


def tree(root: Path, *files: str, **tables: str) -> None:
    """Write empty recordings, and text files by their path with `__` for a slash and `-` for a dot."""
    for name in files:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for name, text in tables.items():
        file = root / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def seen(manifest: Manifest) -> dict[str, tuple[object, ...]]:
    return {u.id: (u.speaker, u.labels["emotion"], u.split, u.text) for u in manifest}


MELD_HEAD = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
)


def meld(root: Path) -> None:
    tree(
        root,
        "train_splits/dia0_utt0.wav",
        "train_splits/dia0_utt9.wav",  # no row
        "dev_splits_complete/dia0_utt0.wav",
        "output_repeated_splits_test/dia0_utt0.wav",
        "output_repeated_splits_test/final_videos_testdia0_utt0.wav",
        train_sent_emo_dot_csv=f"{MELD_HEAD}"
        '1,"Oh my God, he\u2019s lost it.",Phoebe,sadness,negative,0,0,4,7,"00:20:57,256","00:21:00,049"\n'
        "2,What?,Monica,surprise,negative,0,1,4,7,,\n",
        dev_sent_emo_dot_csv=f"{MELD_HEAD}1,Hey!,Joey,joy,positive,0,0,4,7,,\n",
        test_sent_emo_dot_csv=f"{MELD_HEAD}1,Why do all youre coffee mugs?,Mark,surprise,positive,0,0,3,19,,\n",
    )


def test_meld_joins_its_tables_and_keeps_its_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    meld(tmp_path)
    with caplog.at_level(logging.INFO):
        manifest = read_corpus("meld", tmp_path)
    assert seen(manifest) == {
        "train_splits_dia0_utt0": ("Phoebe", "sadness", "train", "Oh my God, he\u2019s lost it."),
        "dev_splits_complete_dia0_utt0": ("Joey", "happiness", "validation", "Hey!"),
        "output_repeated_splits_test_dia0_utt0": (
            "Mark",
            "surprise",
            "test",
            "Why do all youre coffee mugs?",
        ),
    }
    assert [u.labels["sentiment"] for u in manifest] == ["positive", "positive", "negative"]
    (test,) = (u for u in manifest if u.split == "test")
    assert test.path.name == "final_videos_testdia0_utt0.wav"
    message = "left out: 1 (another cut replaces it), 1 (no label), 1 (no audio)"
    assert message in caplog.text


def test_a_corpus_with_official_splits_is_split_by_them(tmp_path: Path) -> None:
    meld(tmp_path)
    manifest = read_corpus("meld", tmp_path)
    made = {
        name: [manifest.utterances[place].split for place in part.tolist()]
        for name, part in Published(corpus="meld").assign(manifest).items()
    }
    assert made == {"train": ["train"], "validation": ["validation"], "test": ["test"]}
    assert {*Default().assign(manifest)} == {"train", "validation", "test"}


CONSENSUS = """FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1
MSP-PODCAST_0001_0009.wav,H,3.777778,3.555556,3.777778,39,Male,Train
MSP-PODCAST_0001_0011.wav,X,4.125,4.75,4.0,39,Male,Train
MSP-PODCAST_0002_0033.wav,C,3.0,3.75,3.166667,Unknown,Unknown,Development
MSP-PODCAST_0003_0016.wav,A,2.4,4.2,2.8,30,Male,Test2
"""
FILES = [
    f"Audios/MSP-PODCAST_{n}.wav" for n in ("0001_0008", "0001_0009", "0001_0011", "0002_0033", "0003_0016")
]
VOTES = {
    "new": "FileName,Worker,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom\n"
    'MSP-PODCAST_0001_0009.wav,WORKER1,Happy,"Happy,Amused",5,5,4\n'
    "MSP-PODCAST_0001_0009.wav,WORKER2,Happy,Happy,5,5,4\n"
    "MSP-PODCAST_0001_0009.wav,WORKER3,Neutral,Neutral,5,5,4\n"
    "MSP-PODCAST_0001_0009.wav,WORKER4,Other-Confused,Other,5,5,4\n",
    "old": "FileName,EmoDetail\n"
    'MSP-PODCAST_0001_0009.wav,"WORKER1; Happy; Happy,Amused; A:5.0; V:5.0; D:4.0; "\n'
    'MSP-PODCAST_0001_0009.wav,"WORKER2; Happy; Happy; A:5.0; V:5.0; D:4.0; "\n'
    'MSP-PODCAST_0001_0009.wav,"WORKER3; Neutral; Neutral; A:5.0; V:5.0; D:4.0; "\n'
    'MSP-PODCAST_0001_0009.wav,"WORKER4; Other-Confused; ; A:5.0; V:5.0; D:4.0; "\n',
}


@pytest.mark.parametrize("layout", VOTES)
def test_msp_podcast_has_values_votes_and_splits(
    tmp_path: Path, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    tree(
        tmp_path,
        *FILES,
        **{
            f"Labels__labels_con{'s' if layout == 'new' else 'c'}ensus_dot_csv": CONSENSUS,
            "Labels__labels_detailed_dot_csv": VOTES[layout],
        },
    )
    with caplog.at_level(logging.INFO):
        manifest = read_corpus("msp_podcast", tmp_path)
    assert seen(manifest) == {
        "MSP-PODCAST_0001_0008": ("30", "neutral", "test", None),
        "MSP-PODCAST_0001_0009": ("39", "happiness", "train", None),
        "MSP-PODCAST_0002_0033": (None, "contempt", "validation", None),
    }
    first, voted, _ = manifest
    assert first.labels == {
        **{"emotion": "neutral", "gender": "male"},
        **{"arousal": 2.2, "valence": 4.0, "dominance": 2.6},
    }
    assert "gender" not in manifest.utterances[2].labels
    assert "1 votes are for no class of msp_podcast, and in no share: 1 'Other-Confused'" in caplog.text
    shares = {name: value for name, value in voted.labels.items() if name.startswith("p_")}
    assert shares["p_happiness"] == pytest.approx(2 / 3)
    assert shares["p_neutral"] == pytest.approx(1 / 3)
    assert len(shares) == 8
    assert sum(map(float, shares.values())) == pytest.approx(1)
    assert "1 (emotion 'X')" in caplog.text
    assert "1 (split Test2)" in caplog.text


EMOTIONS = {*CORPORA["msp_podcast"].emotions.values()}
EVALUATION = """UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:2.777778; V:3.222222; D:2.888889 ; N:3.100000;
A1; Neutral; Neutral; A:3.000000; V:3.000000; D:3.000000; N:3.000000;
A2; Happy; Happy,Excited; A:3.000000; V:3.000000; D:3.000000; N:3.000000;
A3; Other; Surprised; A:3.000000; V:3.000000; D:3.000000; N:3.000000;

UTD-IMPROV-S20H-M06-T-MF12.avi; X; A:2.000000; V:3.000000; D:NaN ; N:NaN;
A1; Sad; Sad; A:3.000000; V:3.000000; D:3.000000; N:3.000000;

UTD-IMPROV-S20H-M06-R-MF01.avi; A; A:4.000000; V:1.000000; D:NaN ; N:3.000000;
"""


@pytest.mark.parametrize("spelling", ["Evalution", "Evaluation"])
def test_msp_improv_joins_its_lines_and_votes(tmp_path: Path, spelling: str) -> None:
    tree(
        tmp_path,
        "session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav",
        "session6/S20H/T/MSP-IMPROV-S20H-M06-T-MF12.wav",
        "session6/S20H/R/MSP-IMPROV-S20H-M06-R-MF01.wav",
        **{f"{spelling}_dot_txt": EVALUATION},
    )
    first, last = read_corpus("msp_improv", tmp_path)
    assert (first.id, first.speaker, first.group) == ("MSP-IMPROV-S01A-F01-P-FM01", "01F", "01")
    assert first.labels == {
        **{
            "gender": "female",
            "emotion": "neutral",
            "arousal": 2.777778,
            "valence": 3.222222,
            "dominance": 2.888889,
        },
        **{"naturalness": 3.1, "p_anger": 0.0, "p_happiness": 0.5, "p_neutral": 0.5, "p_sadness": 0.0},
    }
    assert (last.speaker, last.labels) == (
        "06M",
        {"gender": "male", "emotion": "anger", "arousal": 4.0, "valence": 1.0, "naturalness": 3.0},
    )


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, 3),
        ({"fields": ["arousal", "valence"]}, 4),
        ({"fields": ["p_happiness", "p_neutral"]}, 4),
        ({"fields": ["emotion", "arousal"]}, 4),
        ({"fields": ["emotion"], "label_map": dict.fromkeys(("neutral", "happiness", "contempt"), "all")}, 4),
        ({"fields": ["arousal"], "label_map": {name: {"arousal": 1} for name in EMOTIONS}}, 3),
        ({"needs_labels": False}, 4),
    ],
)
def test_an_utterance_without_a_class_stays_where_other_labels_are_read(
    tmp_path: Path, settings: dict[str, Any], kept: int
) -> None:
    votes = VOTES["new"] + "MSP-PODCAST_0001_0011.wav,WORKER1,Other,Other,5,5,4\n"
    tree(
        tmp_path,
        *FILES,
        **{"Labels__labels_consensus_dot_csv": CONSENSUS, "Labels__labels_detailed_dot_csv": votes},
    )
    corpus = PublishedCorpus("msp_podcast", str(tmp_path), split=Published(corpus="msp_podcast"), **settings)
    manifest, _ = corpus.labelled()
    assert len(manifest) == kept
    without = [dict(u.labels) for u in manifest if "emotion" not in u.labels]
    assert without == [{"gender": "male", "arousal": 4.125, "valence": 4.75, "dominance": 4.0}] * (kept - 3)


def test_a_mix_keeps_utterances_for_its_fields_but_not_beside_derived_values(tmp_path: Path) -> None:
    tree(tmp_path, *FILES, **{"Labels__labels_consensus_dot_csv": CONSENSUS})

    def size(**settings: Any) -> int:
        reader = PublishedCorpus("msp_podcast", str(tmp_path), split=Published(corpus="msp_podcast"))
        mixed = MixedCorpus("msp_podcast", {"msp_podcast": reader}, split=None, label="emotion", **settings)
        return len(mixed.labelled()[0])

    derived = {name: {"arousal": 1, "valence": 0} for name in EMOTIONS}
    assert size(fields=["arousal", "valence"]) == 4
    assert size(fields=["arousal", "valence"], label_map=derived) == 3
    assert size(labels="all") == 3


def test_an_unknown_label_of_a_published_corpus_names_the_nearest(tmp_path: Path) -> None:
    tree(tmp_path, *FILES, **{"Labels__labels_consensus_dot_csv": CONSENSUS})
    corpus = PublishedCorpus("msp_podcast", str(tmp_path), split=Default(), label="emotoin")
    with pytest.raises(DataError, match=r"has no labels 'emotoin'\. Did you mean 'emotion'"):
        corpus.labelled()


@pytest.mark.parametrize(("name", "classes", "every"), [("iemocap", 5531, 10039), ("msp_improv", 7798, 8438)])
def test_a_complete_copy_is_larger_where_no_class_is_read(name: str, classes: int, every: int) -> None:
    assert expected_size(name).utterances == classes
    assert expected_size(name, None).utterances == expected_size(name, "valence").utterances == every


def test_emns_joins_its_table(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "cleaned_webm/recorded_audio_RF6OuQ4.wav",
        metadata_dot_csv="id|utterance|description|emotion|date_created|status|gender|age|level|audio_recording|user_id\n"
        "7|Not again, please.|said|Sarcastic|2022|complete|female|20s|8|wavs/recorded_audio_RF6OuQ4.webm|3\n",
    )
    (utterance,) = read_corpus("emns", tmp_path)
    assert (utterance.id, utterance.speaker, utterance.text) == (
        "recorded_audio_RF6OuQ4",
        "1",
        "Not again, please.",
    )
    assert utterance.labels == {"emotion": "sarcasm", "intensity": 8.0, "gender": "female"}


def test_speakers_of_esd_have_their_language(tmp_path: Path) -> None:
    names = ("0001/Sad/0001_001051", "0010/Sad/train/0010_001051", "0011/Sad/0011_001051")
    tree(tmp_path, *(f"{name}.wav" for name in names))
    assert {u.id: u.language for u in read_corpus("esd", tmp_path)} == {
        **{"0001_001051": "zh", "0010_001051": "zh", "0011_001051": "en"},
    }


@pytest.mark.parametrize("name", ["meld", "emns"])
def test_videos_that_must_be_converted_are_answered_with_how(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "train_splits/dia0_utt0.mp4", "cleaned_webm/recorded_audio_a.webm")
    with pytest.raises(DataError, match=r"holds no audio of .*convert each, such as `ffmpeg -i"):
        read_corpus(name, tmp_path)


@pytest.mark.parametrize("name", [name for name, corpus in CORPORA.items() if corpus.tables])
def test_a_corpus_without_its_tables_names_them(tmp_path: Path, name: str) -> None:
    tree(tmp_path, CORPORA[name].example)
    with pytest.raises(DataError, match=rf"holds audio of {name}, but no label files \(.*\.csv"):
        read_corpus(name, tmp_path)


def test_a_table_without_a_column_names_it(tmp_path: Path) -> None:
    tree(
        tmp_path, *FILES, Labels__labels_consensus_dot_csv="FileName,EmoClass\nMSP-PODCAST_0001_0008.wav,N\n"
    )
    with pytest.raises(DataError, match=r"labels_consensus\.csv: has no column 'SpkrID', only 'FileName'"):
        read_corpus("msp_podcast", tmp_path)


def test_a_table_without_its_key_column_names_it(tmp_path: Path) -> None:
    tree(tmp_path, *FILES, Labels__labels_consensus_dot_csv="Name,EmoClass\na.wav,N\n")
    with pytest.raises(DataError, match=r"has no column 'FileName', only 'Name', 'EmoClass'"):
        read_corpus("msp_podcast", tmp_path)


HEAD = ",".join(
    [
        "FileName",
        "EmoClass",
        "SpkrID",
        "Split_Set",
        *next(iter(CORPORA["msp_podcast"].tables)).numbers.values(),
    ]
)


def test_a_number_with_a_comma_names_its_line(tmp_path: Path) -> None:
    table = f'{HEAD}\nMSP-PODCAST_0001_0008.wav,N,1,Train,"4,5"\n'
    tree(tmp_path, *FILES, Labels__labels_consensus_dot_csv=table)
    with pytest.raises(DataError, match=r"labels_consensus\.csv, line 2: \w+ is '4,5', expected a number"):
        read_corpus("msp_podcast", tmp_path)


def test_a_short_row_has_no_label(tmp_path: Path) -> None:
    tree(tmp_path, *FILES, Labels__labels_consensus_dot_csv=f"{HEAD}\nMSP-PODCAST_0001_0008.wav\n")
    with pytest.raises(DataError, match="but no label files"):
        read_corpus("msp_podcast", tmp_path)
