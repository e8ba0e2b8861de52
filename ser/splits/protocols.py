"""Published protocols: which utterances of a corpus others test on. It contains data only.

EmoBox: Ma et al., "EmoBox: Multilingual Multi-corpus Speech Emotion Recognition Toolkit and Benchmark", Interspeech
2024; the files data/<corpus>/fold_<k> of https://github.com/emo-box/EmoBox at commit 08280f2. Where its folds do not
keep speakers apart, `emobox.tsv` has the ids of the test splits.
SERAB: Scheidwasser-Clow et al., "SERAB: a multi-lingual benchmark for speech emotion recognition", ICASSP 2022.
SUPERB: Yang et al., "SUPERB: Speech processing Universal PERformance Benchmark", Interspeech 2021; the sessions of
IEMOCAP, as in s3prl/downstream/emotion of https://github.com/s3prl/s3prl.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from ser.splits.rules import Predefined, Rule, Serab


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Test splits of a corpus: by speaker, by id, or by a rule.

    Args:
        source: Who published it.
        speakers: Speakers of the test split of each fold; none where folds do not keep speakers apart.
        ids: Corpus in emobox.tsv, which has the ids of the test splits; None if there are none.
        rule: Rule that makes all splits; None if there are folds.
        random_validation: Whether the original draws validation from train at random, so that speakers are in both.
        fault: What is wrong in the original, where its splits share speakers.
    """

    source: str
    speakers: Sequence[Sequence[str]] = ()
    ids: str | None = None
    rule: Rule | None = None
    random_validation: bool = False
    fault: str = "it does not keep speakers apart"

    @property
    def folds(self) -> int:
        """Return the number of folds."""
        return 1 if self.rule is not None else len(self.tested)

    @property
    def tested(self) -> list[set[str]]:
        """Return the speakers, or else the ids, of the test split of each fold."""
        if self.ids is None:
            return [{*names} for names in self.speakers]
        return [names for part, names in _read_ids()[self.ids] if part != "train"]

    @property
    def trained(self) -> set[str] | None:
        """Return the ids that train has besides those that are tested; None for all others of the corpus."""
        found = [names for part, names in _read_ids().get(self.ids or "", ()) if part == "train"]
        return found[0] if found else None


@cache
def _read_ids() -> dict[str, list[tuple[str, set[str]]]]:
    """Read emobox.tsv: a line for each split, with its corpus, `test <fold>` or `train`, and ids."""
    found: dict[str, list[tuple[str, set[str]]]] = {}
    for line in (Path(__file__).parent / "emobox.tsv").read_text(encoding="utf-8").splitlines():
        corpus, part, *ids = line.split("\t")
        found.setdefault(corpus, []).append((part, {*ids}))
    return found


def _by_speaker(source: str, *folds: str, random_validation: bool = False, fault: str = "") -> Protocol:
    speakers = tuple(tuple(names.split()) for names in folds)
    return Protocol(source=source, speakers=speakers, random_validation=random_validation, fault=fault)


def _by_id(corpus: str) -> Protocol:
    return Protocol(source="EmoBox", ids=corpus, random_validation=True)


def _serab(key: str = "speaker", train: float = 0.6, validation: float = 0.2, fault: str = "") -> Protocol:
    return Protocol(source="SERAB", rule=Serab(train=train, validation=validation, key=key), fault=fault)


def _sessions(source: str, sessions: int, *, random_validation: bool = False, fault: str = "") -> Protocol:
    folds = (f"{session:02}F {session:02}M" for session in range(1, sessions + 1))
    return _by_speaker(source, *folds, random_validation=random_validation, fault=fault)


_OFFICIAL = Protocol(
    source="the corpus itself",
    rule=Predefined(),
    fault="its splits are by episode or recording, not by speaker",
)

PROTOCOLS: Mapping[str, Mapping[str, Protocol]] = MappingProxyType(
    {
        "aesdd": {"emobox": _by_id("aesdd"), "serab": _serab()},
        "cafe": {
            "emobox": _by_speaker("EmoBox", "01 07 08 10", "02 04 09 12", "03 05 06 11"),
            "serab": _serab(),
        },
        "casia": {
            "emobox": _by_speaker("EmoBox", "wangzhe", "zhaozuoxiang", "liuchanhg", "zhaoquanyin"),
        },
        "crema_d": {"emobox": _by_id("crema_d"), "serab": _serab(train=0.7, validation=0.1)},
        "emns": {"emobox": _by_id("emns")},
        "emodb": {"emobox": _by_id("emodb"), "serab": _serab()},
        "emovo": {"emobox": _by_speaker("EmoBox", "f2", "m3", "m2", "f3", "f1", "m1"), "serab": _serab()},
        "esd": {
            "emobox": _by_speaker(
                "EmoBox",
                *("0005 0011 0016 0018", "0012 0014 0015 0019", "0003 0004 0006 0009"),
                *("0007 0008 0013 0020", "0001 0002 0010 0017"),
            ),
        },
        "iemocap": {
            "sessions": _sessions("sessions", 5),
            "emobox": _sessions("EmoBox", 5),
            "superb": _sessions(
                "SUPERB",
                5,
                random_validation=True,
                fault="it draws validation from train at random",
            ),
            "serab": _serab(
                key="serab_speaker", fault="it splits by the wearer of the markers, not by the talker"
            ),
        },
        "jl_corpus": {"emobox": _by_speaker("EmoBox", "male2", "female1", "male1", "female2")},
        "meld": {"official": _OFFICIAL},
        "mesd": {"emobox": _by_id("mesd")},
        "msp_improv": {"sessions": _sessions("sessions", 6)},
        "msp_podcast": {"official": _OFFICIAL},
        "ravdess": {
            "emobox": _by_speaker(
                "EmoBox",
                *("01 11 20 21", "04 10 12 14", "08 09 19 23", "03 05 07 24", "02 15 16 18", "06 13 17 22"),
            ),
            "serab": _serab(),
        },
        "savee": {"emobox": _by_speaker("EmoBox", "JE", "KL", "DC", "JK"), "serab": _serab()},
        "shemo": {
            "emobox": _by_id("shemo"),
            "serab": _serab(
                key="serab_speaker", fault="it splits by the number of the utterance, not by the speaker"
            ),
        },
        "subesco": {
            "emobox": _by_speaker(
                "EmoBox",
                *("F_03 M_03 M_08 M_09", "F_01 F_04 F_10 M_07", "F_06 F_08 M_05 M_06"),
                *("F_05 F_07 F_09 M_04", "F_02 M_01 M_02 M_10"),
            ),
        },
        "tess": {"emobox": _by_id("tess")},
        "turev_db": {"emobox": _by_id("turev_db")},
        "urdu": {"emobox": _by_id("urdu")},
    }
)
"""Corpus of the catalogue -> name of a protocol -> protocol; the first one is the default."""
