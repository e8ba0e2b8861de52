"""Catalogue of corpora whose labels are in files of their own: raters' consensus, votes, values. It contains data only.

Names and columns are taken from each corpus's README and from public code that reads it; see `ser.catalogue.acted`.
"""

from ser.catalogue.corpus import (
    ANGER,
    CONTEMPT,
    DISGUST,
    EXCITEMENT,
    FEAR,
    HAPPINESS,
    NEUTRAL,
    SADNESS,
    SARCASM,
    SURPRISE,
    Corpus,
    LabelTable,
)

EMNS = Corpus(
    name="emns",
    title="Emotive Narrative Storytelling corpus (EMNS)",
    language="en",
    url="https://www.openslr.org/136",
    licence="Apache 2.0",
    utterances=1181,
    speakers=1,
    example="cleaned_webm/recorded_audio_RF6OuQ4.wav",
    grammar=r"recorded_audio_\w+",
    speaker="1",
    # metadata.csv: id|utterance|description|emotion|date_created|status|gender|age|level|audio_recording|user_id
    tables=(
        LabelTable(
            files="metadata",
            key="{audio_recording}",
            emotion="emotion",
            text="utterance",
            numbers={"intensity": "level"},
            facts={"gender": "gender"},
            separator="|",
        ),
    ),
    emotions={
        "Angry": ANGER,
        "Disgust": DISGUST,
        "Excited": EXCITEMENT,
        "Happy": HAPPINESS,
        "Neutral": NEUTRAL,
        "Sad": SADNESS,
        "Sarcastic": SARCASM,
        "Surprise": SURPRISE,
        "Surprised": SURPRISE,
    },
    note="Its recordings are in WebM: convert each, such as `ffmpeg -i a.webm a.wav`, and keep the names.",
)

IEMOCAP = Corpus(
    name="iemocap",
    title="Interactive Emotional Dyadic Motion Capture database (IEMOCAP)",
    language="en",
    url="https://sail.usc.edu/iemocap/",
    licence="on request, signed",
    utterances=5531,  # four classes, excitement counted as happiness
    every_utterance=10039,
    speakers=10,
    example="Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav",
    # README: session, wearer of the markers, dialogue, speaker, number. SERAB took the wearer for the speaker.
    # The group is the session: its two actors speak with each other in every dialogue.
    grammar=r"Ses(?P<serab_speaker>(?P<group>\d\d)[FM])_\w+_(?P<talker>[FM])\d{3}",
    speaker="{group}{talker}",
    fields={"serab_speaker": {}},
    genders={"female": r"\d\dF", "male": r"\d\dM"},
    emotions={"ang": ANGER, "exc": HAPPINESS, "hap": HAPPINESS, "neu": NEUTRAL, "sad": SADNESS},
    skip=r"dialog/wav/Ses\w+",  # whole dialogues
    label_files=r"dialog/EmoEvaluation/Ses\w+",
    label_line=r"\[[^\]]*\]\t(?P<id>\w+)\t(?P<emotion>\w+)\t"
    r"\[(?P<valence>[\d.]+), (?P<arousal>[\d.]+), (?P<dominance>[\d.]+)\]",
    # Below each: `C-E2:	Neutral; Frustration;	(comment)`, where F and M in place of E are the actors themselves.
    vote_line=r"C-E\d+:\s*(?P<vote>[^(]*)",
    votes={
        "Anger": ANGER,
        "Excited": HAPPINESS,
        "Happiness": HAPPINESS,
        "Neutral": NEUTRAL,
        "Sadness": SADNESS,
    },
)

MELD = Corpus(
    name="meld",
    title="Multimodal EmotionLines Dataset (MELD)",
    language="en",
    url="https://affective-meld.github.io/",
    licence="GPL-3, of a series whose rights are others'",
    utterances=13708,
    speakers=304,
    example="train_splits/dia0_utt0.wav",
    # README: number of the dialogue within its split, of the utterance within the dialogue. Some of the test split
    # were cut again, as final_videos_test..., which replaces the others.
    grammar=r"(?P<part>train_splits|dev_splits_complete|output_repeated_splits_test)/"
    r"(?:final_videos_test)?(?P<turn>dia\d+_utt\d+)",
    id_format="{part}_{turn}",
    key_format="{part}/{turn}",
    preferred=r"output_repeated_splits_test/final_videos_test\w+",
    # <split>_sent_emo.csv: Sr No., Utterance, Speaker, Emotion, Sentiment, Dialogue_ID, Utterance_ID, ...
    tables=tuple(
        LabelTable(
            files=f"{name}_sent_emo",
            key=f"{part}/dia{{Dialogue_ID}}_utt{{Utterance_ID}}",
            emotion="Emotion",
            speaker="Speaker",
            text="Utterance",
            facts={"sentiment": "Sentiment"},
            split=split,
        )
        for name, part, split in (
            ("train", "train_splits", "train"),
            ("dev", "dev_splits_complete", "validation"),
            ("test", "output_repeated_splits_test", "test"),
        )
    ),
    emotions={
        "anger": ANGER,
        "disgust": DISGUST,
        "fear": FEAR,
        "joy": HAPPINESS,
        "neutral": NEUTRAL,
        "sadness": SADNESS,
        "surprise": SURPRISE,
    },
    note="Its recordings are videos: convert each, such as `ffmpeg -i dia0_utt0.mp4 dia0_utt0.wav`, in its folder.",
)

_MSP_VOTES = {
    "Angry": ANGER,
    "Contempt": CONTEMPT,
    "Disgust": DISGUST,
    "Fear": FEAR,
    "Happy": HAPPINESS,
    "Neutral": NEUTRAL,
    "Sad": SADNESS,
    "Surprise": SURPRISE,
}

MSP_IMPROV = Corpus(
    name="msp_improv",
    title="MSP-IMPROV, acted dyadic emotional interactions",
    language="en",
    url="https://www.lab-msp.com/MSP/MSP-Improv.html",
    licence="on request, signed",
    utterances=7798,  # four classes
    every_utterance=8438,
    speakers=12,
    example="session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav",
    # README: sentence and emotion of the scenario, speaker with the number of the session, kind of recording, turn
    grammar=r"MSP-IMPROV-(?P<clip>S\d\d[AHNS]-(?P<sex>[FM])(?P<group>\d\d)-[PRST]-\w+)",
    key_format="{clip}",
    speaker="{group}{sex}",
    genders={"female": r"\d\dF", "male": r"\d\dM"},
    label_files=r"Eval(?:ua|u)tion",  # 'Evalution.txt' in the release
    label_line=r"UTD-IMPROV-(?P<id>[\w-]+)\.avi; (?P<emotion>\w); A:(?P<arousal>[\d.]+|NaN) ?; "
    r"V:(?P<valence>[\d.]+|NaN) ?; D:(?P<dominance>[\d.]+|NaN) ?; N:(?P<naturalness>[\d.]+|NaN)",
    vote_line=r"(?!UTD-)[\w-]+; (?P<vote>\w+); ",
    votes={name: _MSP_VOTES[name] for name in ("Angry", "Happy", "Neutral", "Sad")},
    emotions={"A": ANGER, "H": HAPPINESS, "N": NEUTRAL, "S": SADNESS},
)

_SPLITS = {"Train": "train", "Development": "validation", "Validation": "validation", "Test1": "test"}

MSP_PODCAST = Corpus(
    name="msp_podcast",
    title="MSP-Podcast",
    language="en",
    url="https://www.lab-msp.com/MSP/MSP-Podcast.html",
    licence="on request, signed",
    utterances=0,
    speakers=0,
    example="Audios/MSP-PODCAST_0001_0008.wav",
    grammar=r"MSP-PODCAST_[^_/]+(?:_[^_/]+)+",
    # labels_consensus.csv, in older releases labels_concensus.csv: FileName, EmoClass, EmoAct, EmoVal, EmoDom, SpkrID,
    # Gender, Split_Set. labels_detailed.csv: each vote, in older releases as `WORKER1; Happy; Happy,Amused; A:5; ...`.
    tables=(
        LabelTable(
            files="labels_con[cs]ensus",
            key="{FileName}",
            emotion="EmoClass",
            speaker="SpkrID",
            numbers={"arousal": "EmoAct", "valence": "EmoVal", "dominance": "EmoDom"},
            facts={"gender": "Gender"},
            split_column="Split_Set",
            splits=_SPLITS,
        ),
        LabelTable(files="labels_detailed", key="{FileName}", vote="EmoClass_Major"),
        LabelTable(
            files="labels_detailed", key="{FileName}", vote="EmoDetail", vote_pattern=r"[^;]*;\s*([^;]*)"
        ),
    ),
    votes=_MSP_VOTES,
    emotions={
        "A": ANGER,
        "C": CONTEMPT,
        "D": DISGUST,
        "F": FEAR,
        "H": HAPPINESS,
        "N": NEUTRAL,
        "S": SADNESS,
        "U": SURPRISE,
    },
)
