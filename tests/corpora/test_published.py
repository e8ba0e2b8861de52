import csv
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path

import pytest

from ser.catalogue import CORPORA
from ser.catalogue.labels import has_label_files
from ser.corpora import PublishedCorpus
from ser.corpora.published import expected_size, find_corpus, option_text, read_corpus
from ser.data.manifest import Manifest
from ser.errors import ConfigError, DataError
from ser.evaluation.corpus import select_labelled
from ser.splits import Default
from ser.targets import Classes
from tests.conftest import REPOSITORY

EMOTIONS = {"anger", "boredom", "calm", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"}
FURTHER = {
    "anxiety",
    "apology",
    "assertiveness",
    "concern",
    "contempt",
    "encouragement",
    "excitement",
    "sarcasm",
}


VOTE_COLUMNS = '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"\n'


def touch(root: Path, names: Iterable[str], *, suffix: str = ".wav") -> None:
    for name in names:
        file = root / f"{name}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def speakers(manifest: Manifest) -> list[str]:
    return sorted({str(utterance.speaker) for utterance in manifest})


def emotions(manifest: Manifest) -> Counter[object]:
    return Counter(utterance.labels["emotion"] for utterance in manifest)


def texts(manifest: Manifest) -> set[str | None]:
    return {utterance.text for utterance in manifest}


def ravdess() -> Iterator[str]:
    for actor, code, level, text, take in product(range(1, 25), range(1, 9), (1, 2), (1, 2), (1, 2)):
        if (code, level) != (1, 2):  # neutral speech has one intensity
            yield f"Actor_{actor:02}/03-01-{code:02}-{level:02}-{text:02}-{take:02}-{actor:02}"


def cafe() -> Iterator[str]:
    folders = {"C": "Colère", "D": "Dégoût", "J": "Joie", "P": "Peur", "S": "Surprise", "T": "Tristesse"}
    for speaker, text in product(range(1, 13), range(1, 7)):
        yield f"CaFE_48k/Neutre/{speaker:02}-N-1-{text}"
        for code, level in product(folders, (1, 2)):
            strength = ("Faible", "Fort")[level - 1]
            yield f"CaFE_48k/{folders[code]}/{strength}/{speaker:02}-{code}-{level}-{text}"


def emovo() -> Iterator[str]:
    sentences = ["b1", "b2", "b3", "d1", "d2", *(f"{kind}{n}" for kind in "ln" for n in range(1, 5)), "n5"]
    for speaker, code, text in product(
        ("f1", "f2", "f3", "m1", "m2", "m3"), ["dis", "gio", "neu", "pau", "rab", "sor", "tri"], sentences
    ):
        yield f"{speaker}/{code}-{speaker}-{text}"


def savee() -> Iterator[str]:
    for speaker, code in product(("DC", "JE", "JK", "KL"), ("a", "d", "f", "h", "n", "sa", "su")):
        for number in range(1, 31 if code == "n" else 16):
            yield f"AudioData/{speaker}/{code}{number:02}"


def tess() -> Iterator[str]:
    words = [f"{first}{second}{third}" for first, second, third in product("bcdfg", "aeiou", "klmnprst")]
    for age, code in product("OY", ["angry", "disgust", "fear", "happy", "neutral", "ps", "sad"]):
        yield from (f"{age}AF_{code}/{age}AF_{word}_{code}" for word in words)


@pytest.mark.parametrize(
    ("name", "files", "sizes", "ids"),
    [
        (
            "ravdess",
            ravdess,
            dict.fromkeys(EMOTIONS - {"boredom", "neutral"}, 192) | {"neutral": 96},
            [f"{actor:02}" for actor in range(1, 25)],
        ),
        (
            "cafe",
            cafe,
            dict.fromkeys(EMOTIONS - {"boredom", "calm", "neutral"}, 144) | {"neutral": 72},
            [f"{actor:02}" for actor in range(1, 13)],
        ),
        (
            "emovo",
            emovo,
            dict.fromkeys(EMOTIONS - {"boredom", "calm"}, 84),
            ["f1", "f2", "f3", "m1", "m2", "m3"],
        ),
        (
            "savee",
            savee,
            dict.fromkeys(EMOTIONS - {"boredom", "calm", "neutral"}, 60) | {"neutral": 120},
            ["DC", "JE", "JK", "KL"],
        ),
        ("tess", tess, dict.fromkeys(EMOTIONS - {"boredom", "calm"}, 400), ["OAF", "YAF"]),
    ],
)
def test_a_complete_copy_has_the_published_counts(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    files: Callable[[], Iterator[str]],
    sizes: dict[str, int],
    ids: list[str],
) -> None:
    touch(tmp_path, files())
    with caplog.at_level(logging.WARNING):
        manifest = read_corpus(name, tmp_path)
    assert (len(manifest), len(ids)) == expected_size(name)
    assert emotions(manifest) == sizes
    assert speakers(manifest) == ids
    assert all(utterance.labels["gender"] in ("female", "male") for utterance in manifest)
    assert not caplog.records


# Each with names as the corpora have them: usual ones, and every oddity that is known.
@pytest.mark.parametrize(
    ("name", "file", "speaker", "emotion", "text"),
    [
        ("aesdd", "anger/a03 (4)", "4", "anger", "03"),
        ("aesdd", "fear/f10 (01)", "1", "fear", "10"),
        ("aesdd", "disgust/d04 (5)b", "5", "disgust", "04"),
        ("aesdd", "happiness/h20 (6)", "6", "happiness", "20"),
        ("aesdd", "sadness/s05 (2)", "2", "sadness", "05"),
        ("casia", "wangzhe/angry/201", "wangzhe", "anger", "201"),
        ("cafe", "Neutre/08-N-1-1", "08", "neutral", "1"),
        ("cafe", "Peur/Fort/12-P-2-5", "12", "fear", "5"),
        ("crema_d", "AudioWAV/1001_DFA_ANG_XX", "1001", "anger", "DFA"),
        ("crema_d", "AudioWAV/1091_IEO_FEA_HI", "1091", "fear", "IEO"),
        ("emodb", "wav/03a01Fa", "03", "happiness", "a01"),
        ("emodb", "wav/16b10Lb", "16", "boredom", "b10"),
        ("emodb", "wav/08a01Wc", "08", "anger", "a01"),
        ("emodb", "wav/08a02Tb", "08", "sadness", "a02"),
        ("emodb", "wav/03b10Ec", "03", "disgust", "b10"),
        ("emodb", "wav/03a04Ad", "03", "fear", "a04"),
        ("emodb", "wav/09a05Nb", "09", "neutral", "a05"),
        ("emovo", "f2/gio-f2-b2", "f2", "happiness", "b2"),
        ("esd", "0011/Angry/0011_000351", "0011", "anger", None),
        ("esd", "0020/Surprise/evaluation/0020_001401", "0020", "surprise", None),
        ("jl_corpus", "JL(wav+txt)/female1_angry_10a_1", "female1", "anger", "10a"),
        ("jl_corpus", "JL(wav+txt)/male2_apologetic_6b_2", "male2", "apology", "6b"),
        ("mesd", "Anger_F_A_tarde", "F", "anger", "tarde"),
        ("mesd", "Anger_M_A_basta_ya", "M", "anger", "basta_ya"),
        ("nemo", "samples/EB0_anger_1", "EB0", "anger", "1"),
        ("nemo", "samples/WR0_surprised_64", "WR0", "surprise", "64"),
        ("ravdess", "Actor_12/03-01-06-01-02-01-12", "12", "fear", "02"),
        ("savee", "AudioData/DC/sa07", "DC", "sadness", "sa07"),
        ("savee", "ALL/KL_su02", "KL", "surprise", "su02"),
        ("shemo", "female/F03S02", "F03", "sadness", None),
        ("shemo", "male/M02F01", "M02", "fear", None),
        ("shemo", "male/M21W11", "M21", "surprise", None),
        ("subesco", "F_02_MONIKA_S_1_NEUTRAL_5", "F_02", "neutral", "1"),
        ("subesco", "F_02_MONIKA_S_2_SURPRISE_3]", "F_02", "surprise", "2"),
        ("subesco", "M_02_NIPUN_S_10_HAPPY_1", "M_02", "happiness", "10"),
        ("tess", "OAF_angry/OAF_back_angry", "OAF", "anger", "back"),
        ("tess", "OAF_neutral/OA_bite_neutral", "OAF", "neutral", "bite"),
        ("tess", "YAF_pleasant_surprised/YAF_home_ps", "YAF", "surprise", "home"),
        ("turev_db", "Sound Source/Angry/1157_kz_acik", "1157", "anger", "acik"),
        ("turev_db", "Sound Source/Sad/7895_hl_ogul1", "7895", "sadness", "ogul"),
        ("turev_db", "Sound Source/Happy/1984_mt_dil", "1984", "happiness", "dil"),
        ("turev_db", "Sound Source/Calm/1984_sk_dil", "1984", "calm", "dil"),
        ("urdu", "Angry/SM1_F1_A01", "SM1", "anger", None),
        ("urdu", "Neutral/SM5_F72_N0100", "SM5", "neutral", None),
        ("urdu", "Sad/SF10_F2_S02", "SF10", "sadness", None),
    ],
)
@pytest.mark.parametrize("suffix", [".wav", ".FLAC"])
def test_a_file_name_says_who_speaks_what_and_how(
    tmp_path: Path, name: str, file: str, speaker: str, emotion: str, text: str | None, suffix: str
) -> None:
    touch(tmp_path, [file], suffix=suffix)
    (utterance,) = read_corpus(name, tmp_path)
    assert utterance.path == tmp_path / f"{file}{suffix}"
    assert (utterance.speaker, utterance.labels["emotion"], utterance.text) == (speaker, emotion, text)
    assert utterance.language == CORPORA[name].language
    assert (utterance.start, utterance.end, utterance.split, utterance.group) == (0.0, None, None, None)


@pytest.mark.parametrize(
    ("name", "file", "facts"),
    [
        ("aesdd", "anger/a03 (4)", {}),
        ("cafe", "Neutre/08-N-1-1", {"gender": "female"}),
        ("cafe", "Peur/Faible/11-P-1-5", {"gender": "male", "intensity": "weak"}),
        ("cafe", "Peur/Fort/11-P-2-5", {"gender": "male", "intensity": "strong"}),
        ("crema_d", "AudioWAV/1001_DFA_ANG_XX", {"gender": "male"}),
        ("crema_d", "AudioWAV/1091_IEO_FEA_HI", {"gender": "female", "intensity": "high"}),
        ("emodb", "wav/03a01Fa", {"gender": "male"}),
        ("emodb", "wav/16b10Lb", {"gender": "female"}),
        ("esd", "0010/Sad/0010_001051", {"gender": "male"}),
        ("esd", "0019/Sad/0019_001051", {"gender": "female"}),
        ("jl_corpus", "JL(wav+txt)/female1_angry_10a_1", {"gender": "female"}),
        ("jl_corpus", "JL(wav+txt)/male2_apologetic_6b_2", {"gender": "male"}),
        ("mesd", "Anger_F_A_tarde", {"gender": "female"}),
        ("mesd", "Anger_C_A_tarde", {}),
        ("nemo", "samples/EB0_anger_1", {"gender": "female"}),
        ("nemo", "samples/WR0_surprised_64", {"gender": "male"}),
        ("ravdess", "Actor_12/03-01-06-02-02-01-12", {"gender": "female", "intensity": "strong"}),
        ("ravdess", "Actor_01/03-01-06-01-02-01-01", {"gender": "male", "intensity": "normal"}),
        ("shemo", "male/M02F01", {"gender": "male", "serab_speaker": "01"}),
        ("subesco", "F_02_MONIKA_S_1_NEUTRAL_5", {"gender": "female"}),
        ("urdu", "Sad/SF10_F2_S02", {"gender": "female"}),
    ],
)
def test_a_file_name_says_gender_and_intensity_where_these_are_published(
    tmp_path: Path, name: str, file: str, facts: dict[str, str]
) -> None:
    touch(tmp_path, [file])
    (utterance,) = read_corpus(name, tmp_path)
    assert {key: label for key, label in utterance.labels.items() if key != "emotion"} == facts


def test_a_gender_that_is_predicted_leaves_out_speakers_without_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, ["Anger_F_A_tarde", "Anger_C_A_tarde", "Anger_M_A_tarde"])
    corpus = PublishedCorpus("mesd", str(tmp_path), split=Default(), label="gender")
    with caplog.at_level(logging.INFO):
        manifest, counts = corpus.labelled()
    assert [utterance.speaker for utterance in manifest] == ["F", "M"]
    assert {count.raw: count.utterances for count in counts} == {"female": 1, "male": 1}
    assert "left out: 1 (no gender)" in caplog.text


def test_crema_d_has_the_published_numbers_of_women_and_men() -> None:
    women, men = CORPORA["crema_d"].genders.values()
    actors = [str(actor) for actor in range(1001, 1092)]
    assert sum(re.fullmatch(women, actor) is not None for actor in actors) == 43
    assert all(re.fullmatch(men, actor) for actor in actors)  # those whom the first one leaves


def test_crema_d_has_the_votes_of_raters_who_heard_the_voice(tmp_path: Path) -> None:
    touch(tmp_path, ["AudioWAV/1001_IEO_ANG_HI", "AudioWAV/1001_IEO_NEU_XX"])
    (tmp_path / "processedResults").mkdir()
    (tmp_path / "processedResults/tabulatedVotes.csv").write_text(
        VOTE_COLUMNS + '"100010",2,6,0,0,1,0,"1001_IEO_ANG_HI",9,0.666666666666667,"D"\n'
        '"200010",9,0,0,0,0,0,"1001_IEO_ANG_HI",9,1,"A"\n'
    )
    voted, bare = read_corpus("crema_d", tmp_path)
    assert voted.labels["emotion"] == "anger"
    assert {name: label for name, label in voted.labels.items() if name.startswith("p_")} == pytest.approx(
        {
            **{"p_anger": 2 / 9, "p_disgust": 6 / 9, "p_fear": 0, "p_happiness": 0},
            **{"p_neutral": 1 / 9, "p_sadness": 0},
        }
    )
    assert bare.labels == {"emotion": "neutral", "gender": "male"}


@pytest.mark.parametrize(
    ("table", "warning"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "has no column 'fileName'"),
        ("", "the file is empty"),
        (VOTE_COLUMNS + '"100010",x,6,0,0,1,0,"1001_IEO_ANG_HI",9,1,"D"\n', "A is 'x', expected a number"),
        (VOTE_COLUMNS + '"200010",9,0,0,0,0,0,"1001_IEO_ANG_HI",9,1,"A"\n', "has no votes for utterances"),
    ],
)
def test_crema_d_is_read_without_a_broken_table_of_votes(
    tmp_path: Path, table: str, warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, ["AudioWAV/1001_IEO_ANG_HI"])
    (tmp_path / "processedResults").mkdir()
    (tmp_path / "processedResults/tabulatedVotes.csv").write_text(table)
    (utterance,) = read_corpus("crema_d", tmp_path)
    assert utterance.labels == {"emotion": "anger", "gender": "male", "intensity": "high"}
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    (message,) = (each for each in warnings if "tabulatedVotes.csv" in each)
    assert warning in message


def test_a_complete_copy_is_complete_where_another_label_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, cafe())
    manifest = read_corpus("cafe", tmp_path, label="intensity")
    assert (len(manifest), expected_size("cafe").utterances) == (864, 936)  # neutral speech has no intensity
    assert "complete copy" not in caplog.text
    next(tmp_path.rglob("*.wav")).unlink()
    read_corpus("cafe", tmp_path, label="intensity")
    assert "cafe has 935 utterances of 12 speakers, a complete copy 936 of 12" in caplog.text


def test_scores_are_listed_by_the_gender_of_a_published_corpus(tmp_path: Path) -> None:
    touch(tmp_path, ["Actor_12/03-01-06-01-02-01-12", "Actor_11/03-01-05-01-02-01-11"])
    corpus = PublishedCorpus("ravdess", str(tmp_path), split=Default())
    found = select_labelled(corpus, Classes(["anger", "fear"], field="emotion"))
    assert found.columns["gender"] == ["male", "female"]


@pytest.mark.parametrize("name", sorted(name for name in CORPORA if not has_label_files(CORPORA[name])))
def test_the_example_of_each_corpus_fits_its_own_grammar(tmp_path: Path, name: str) -> None:
    touch(tmp_path, [CORPORA[name].example], suffix="")
    assert len(read_corpus(name, tmp_path)) == 1


def test_every_corpus_is_described_in_full_and_in_the_same_words() -> None:
    assert len(CORPORA) == 22
    for name, corpus in CORPORA.items():
        assert name == corpus.name == name.lower()
        assert set(corpus.emotions.values()) <= EMOTIONS | FURTHER
        assert re.fullmatch("[a-z]{2}", corpus.language)
        assert corpus.url.startswith("http")
        assert corpus.utterances > corpus.speakers > 0 or corpus.utterances == corpus.speakers == 0
        # texts that all speakers read lie on both sides of any split by speaker
        assert corpus.declared_leaks == (("text",) if "(?P<text>" in corpus.grammar else ())


@pytest.mark.parametrize(
    ("name", "kept", "skipped"),
    [
        ("aesdd", "sadness/s05 (1)", ["sadness/s05 (3)"]),
        (
            "crema_d",
            "1040_ITH_SAD_HI",
            [
                "1040_ITH_SAD_XX",
                "1040_ITH_SAD_X",
                "1006_TIE_NEU_XX",
                "1013_WSI_DIS_XX",
                "1017_IWW_FEA_XX",
            ],
        ),
        (
            "ravdess",
            "Actor_01/03-01-01-01-01-01-01",
            ["song/03-02-01-01-01-01-01", "video/01-01-01-01-01-01-01"],
        ),
        (
            "turev_db",
            "Sound Source/Angry/1157_kz_beste",
            ["Model Output for Test Data/plain/sound/Angry/1157_kz_beste"],
        ),
    ],
)
def test_files_that_are_no_utterances_of_the_corpus_are_left_out(
    tmp_path: Path, name: str, kept: str, skipped: list[str]
) -> None:
    touch(tmp_path, [kept, *skipped])
    assert [utterance.path for utterance in read_corpus(name, tmp_path)] == [tmp_path / f"{kept}.wav"]


def test_shemo_has_the_talker_as_speaker_and_keeps_what_serab_took_for_one(tmp_path: Path) -> None:
    letters = {"A": 5, "F": 1, "H": 2, "N": 6, "S": 4, "W": 3}
    touch(tmp_path, [f"F{7:02}{letter}{n:02}" for letter, size in letters.items() for n in range(size)])
    manifest = read_corpus("shemo", tmp_path)
    assert speakers(manifest) == ["F07"]
    assert emotions(manifest) == {
        **{"anger": 5, "fear": 1, "happiness": 2},
        **{"neutral": 6, "sadness": 4, "surprise": 3},
    }
    groups = {utterance.id: utterance.labels["serab_speaker"] for utterance in manifest}
    assert groups["F07N05"] == "05"
    assert set(groups.values()) == {"00", "01", "02", "03", "04", "05"}


def test_savee_s_sentences_differ_between_emotions_and_ids_name_the_speaker(tmp_path: Path) -> None:
    touch(tmp_path, ["DC/a01", "DC/d01", "JE/a01"])
    manifest = read_corpus("savee", tmp_path)
    assert [utterance.id for utterance in manifest] == ["DC_a01", "DC_d01", "JE_a01"]
    assert texts(manifest) == {"a01", "d01"}


EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral; Excited;\t(laughs; a bit)
C-E4:\tFrustration;\t()
C-F1:\tAnger;\t()
[10.0100 - 11.3925]\tSes01F_impro01_M001\tfru\t[2.5000, 2.5000, 2.5000]
[14.8872 - 18.0175]\tSes01F_impro01_M002\texc\t[2.5000, 2.5000, 2.5000]
A-E3:\tval 3; act 2; dom  2;\t()
"""


def values(arousal: float, valence: float, dominance: float) -> dict[str, float]:
    return {"arousal": arousal, "valence": valence, "dominance": dominance}


def shares(**given: float) -> dict[str, float]:
    return {f"p_{name}": given.get(name, 0.0) for name in ("anger", "happiness", "neutral", "sadness")}


def iemocap(root: Path) -> None:
    """Two sessions in the layout of the full release, macOS's leftovers included."""
    sentences = "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01"
    touch(root, [f"{sentences}_{turn}" for turn in ("F000", "M001", "M002", "M003")])
    touch(root, ["Session5/sentences/wav/Ses05M_script01_1b/Ses05M_script01_1b_F002"])
    touch(root, ["Session1/dialog/wav/Ses01F_impro01", "Session1/sentences/wav/Ses01F_impro01/._x"])
    folder = root / "Session1/dialog/EmoEvaluation"
    folder.mkdir(parents=True)
    (folder / "Ses01F_impro01.txt").write_text(EVALUATION)
    (folder / "._Ses01F_impro01.txt").write_bytes(b"\x00\xff")
    (folder / "Categorical").mkdir()
    (folder / "Categorical/Ses01F_impro01_e1_cat.txt").write_text("Ses01F_impro01_M003 :Anger; ()")
    other = root / "Session5/dialog/EmoEvaluation/Ses05M_script01_1b.txt"
    other.parent.mkdir(parents=True)
    other.write_text("[1.0 - 2.0]\tSes05M_script01_1b_F002\tang\t[1.0, 4.0, 4.0]\n")


def test_iemocap_takes_emotions_from_its_evaluations_and_the_talker_from_the_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    iemocap(tmp_path)
    with caplog.at_level(logging.INFO):
        manifest = read_corpus("iemocap", tmp_path)
    assert "1 votes are for no class of iemocap, and in no share: 1 'Frustration'" in caplog.text
    assert [
        (utterance.id, utterance.speaker, utterance.group, dict(utterance.labels)) for utterance in manifest
    ] == [
        (
            "Ses01F_impro01_F000",
            "01F",
            "01",
            {
                **{"emotion": "neutral", "serab_speaker": "01F", "gender": "female"},
                **{**values(2.5, 2.5, 2.5), **shares(happiness=1 / 3, neutral=2 / 3)},
            },
        ),
        (
            "Ses01F_impro01_M002",
            "01M",
            "01",
            {
                **{"emotion": "happiness", "serab_speaker": "01F", "gender": "male"},
                **values(2.5, 2.5, 2.5),
            },
        ),
        (
            "Ses05M_script01_1b_F002",
            "05F",
            "05",
            {
                **{"emotion": "anger", "serab_speaker": "05M", "gender": "female"},
                **values(4.0, 1.0, 4.0),
            },
        ),
    ]


def test_iemocap_without_its_evaluations_says_what_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, ["Ses01F_impro01_F000"])
    with pytest.raises(
        DataError, match=r"holds audio of iemocap, but no label files \(dialog/EmoEvaluation/"
    ):
        read_corpus("iemocap", tmp_path)
    folder = tmp_path / "dialog/EmoEvaluation"
    folder.mkdir(parents=True)
    (folder / "Ses01F_impro02.txt").write_text("[1.0 - 2.0]\tSes01F_impro02_F000\tang\t[1.0, 4.0, 4.0]\n")
    with pytest.raises(DataError, match=r"name no emotion of ours for any of 1 audio files"):
        read_corpus("iemocap", tmp_path)


@pytest.mark.parametrize("name", CORPORA)
def test_an_absent_corpus_is_answered_with_where_to_get_it_and_where_to_put_it(
    tmp_path: Path, name: str
) -> None:
    corpus = CORPORA[name]
    remedy = f"Get {corpus.title} from {corpus.url} (licence: {corpus.licence}), unpack it"
    with pytest.raises(DataError, match=rf"nowhere: no such folder\. {re.escape(remedy)}.*data\.root=FOLDER"):
        read_corpus(name, tmp_path / "nowhere")
    touch(tmp_path, ["README", "song.avi"], suffix="")
    with pytest.raises(DataError, match=rf"holds no audio of {name}\. {re.escape(remedy)}"):
        read_corpus(name, tmp_path)


def test_an_unknown_corpus_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no reader for a corpus 'ravdes'\. Did you mean 'ravdess'\?"):
        find_corpus("ravdes")


def test_files_of_another_corpus_are_listed_ten_at_most(tmp_path: Path) -> None:
    touch(tmp_path, [f"wav/{take}" for take in range(11)])
    touch(tmp_path, ["Actor_01/03-01-01-01-01-01-01", "Actor_01/03-01-09-01-01-01-01"])
    message = r"12 of 13 audio files are not named as in ravdess \('Actor_12/03-01-06-01-02-01-12\.wav'\)"
    with pytest.raises(DataError, match=message) as caught:
        read_corpus("ravdess", tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[1:3] == ["  Actor_01/03-01-09-01-01-01-01.wav", "  wav/0.wav"]
    assert lines[11:] == [
        "  ... and 2 more",
        "Give the folder of ravdess alone with data.root=FOLDER, or move these files out of it.",
    ]


def test_a_second_copy_in_the_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, ["Actor_01/03-01-01-01-01-01-01", "speech/Actor_01/03-01-01-01-01-01-01"])
    message = r"id '03-01-01-01-01-01-01' occurs twice: .*The folder holds two copies: give the folder of one"
    with pytest.raises(DataError, match=message):
        read_corpus("ravdess", tmp_path)


def test_an_incomplete_copy_is_read_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, ["Actor_01/03-01-01-01-01-01-01", "Actor_02/03-01-01-01-01-01-02"])
    with caplog.at_level(logging.WARNING):
        assert len(read_corpus("ravdess", tmp_path)) == 2
    assert "has 2 utterances of 2 speakers, a complete copy 1440 of 24" in caplog.text


@pytest.mark.shared
@pytest.mark.parametrize(("name", "size"), [("ravdess", 1440), ("emodb", 362)])
def test_real_copies_agree_with_the_tables_beside_them(shared: Path, name: str, size: int) -> None:
    root = shared / "data" / name
    manifest = read_corpus(name, root)
    assert len(manifest) == size
    with (root / "manifest.csv").open() as file:
        table = {
            row["id"]: (row["path"], row["speaker"], row["emotion"], row["language"])
            for row in csv.DictReader(file)
        }
    assert {
        utterance.id: (
            utterance.path.relative_to(root).as_posix(),
            utterance.speaker,
            utterance.labels["emotion"],
            utterance.language,
        )
        for utterance in manifest
    } == table
    assert len(speakers(manifest)) == expected_size(name).speakers
    genders = {utterance.speaker: utterance.labels["gender"] for utterance in manifest}
    assert Counter(genders.values()) == dict.fromkeys(("female", "male"), len(speakers(manifest)) // 2)


@pytest.mark.parametrize("name", CORPORA)
def test_the_option_of_a_corpus_follows_from_the_catalogue(name: str) -> None:
    """To add one: SER_UPDATE_GOLDEN=1 pytest tests/corpora/test_published.py writes its option."""
    file = REPOSITORY / "conf" / "data" / f"{name}.yaml"
    if os.environ.get("SER_UPDATE_GOLDEN"):
        file.write_text(option_text(CORPORA[name]), encoding="utf-8")
    assert file.read_text(encoding="utf-8") == option_text(CORPORA[name])
