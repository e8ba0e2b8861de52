"""Description of a published corpus: where it is, what its file names mean, and which files hold its labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ANGER, BOREDOM, CALM, DISGUST, FEAR = "anger", "boredom", "calm", "disgust", "fear"
HAPPINESS, NEUTRAL, SADNESS, SURPRISE = "happiness", "neutral", "sadness", "surprise"
CONTEMPT, EXCITEMENT, SARCASM = "contempt", "excitement", "sarcasm"
ANXIETY, APOLOGY, ASSERTIVENESS, CONCERN, ENCOURAGEMENT = (
    *("anxiety", "apology", "assertiveness", "concern", "encouragement"),
)


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """Table with labels of a corpus, in CSV.

    Args:
        files: Regular expression for the end of its path without its suffix.
        key: Format of the key of an utterance, from the columns; a suffix of audio is removed.
        emotion: Column with the code of the emotion; None if it is not here.
        vote: Column with the vote of one rater, of whom each has a row; None if there are none.
        vote_pattern: Regular expression for that column, of which the first group is the vote; None for all of it.
        speaker: Column with the speaker; None if it is not here.
        text: Column with the text; None if it is not here.
        numbers: Label field -> column that holds numbers.
        facts: Label field -> column that holds words, such as the gender of the speaker; not in every release.
        counts: Columns that hold the number of raters who chose the emotion of their name, a code of the votes.
        only: Column, and regular expression for its cells in the rows that are read; None for all rows.
        split: Split of all utterances of the table; None if it has several or none.
        split_column: Column with the split; None if there is none.
        splits: Split of each value of that column. Utterances with others are left out and counted.
        separator: Character between two cells.
    """

    files: str
    key: str
    emotion: str | None = None
    vote: str | None = None
    vote_pattern: str | None = None
    speaker: str | None = None
    text: str | None = None
    numbers: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    counts: tuple[str, ...] = ()
    only: tuple[str, str] | None = None
    split: str | None = None
    split_column: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    separator: str = ","


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Description of a published corpus.

    Args:
        name: Name in a config.
        title: Full title.
        language: ISO 639 code.
        url: Web page from which to get it.
        licence: Licence in short.
        utterances: Number of utterances that the reader finds in a complete copy; 0 if that depends on the release.
        every_utterance: The same with those that have values or votes but no class; 0 if all have a class.
        speakers: Number of speakers in a complete copy.
        example: Name of one file, for messages.
        grammar: Regular expression for the end of a file's path without its suffix; the match is the group `id`. Its
            groups: `emotion`, `speaker`, `text` and `group`, and any group that a format below refers to.
        emotions: Emotion of each code in the group `emotion`, in `label_line` or in a table. Where labels are in files,
            utterances with another code, or without one, have no class. They are left out and counted, unless a target
            reads other labels.
        speaker: Format of the speaker's name from groups.
        id_format: Format of the id from groups.
        key_format: Format of the key from groups, by which label files name the utterance.
        fields: Group that becomes a further label field -> word of each of its codes, where a code without a word is no
            label; empty to keep the codes.
        genders: Word for a gender, the label field `gender` -> regular expression for the speakers of it.
        skip: Regular expression, like `grammar`, for files that are not utterances of the corpus.
        label_files: Regular expression, like `grammar`, for the .txt files with the emotions, if the names of the
            audio do not contain them.
        label_line: Regular expression for a line in these files, with the groups `id` and `emotion`. Its other groups
            are label fields that hold numbers.
        vote_line: Regular expression for a line with the vote of one rater, in the group `vote`, below such a line;
            several choices of the rater have semicolons between them.
        tables: Tables with labels.
        vote_table: Table with the votes of raters, which a copy may lack, of utterances whose names have the emotion.
        votes: Emotion of each vote. Shares of the votes for these emotions become the label fields `p_<emotion>`.
        preferred: Regular expression, like `grammar`, for the files that replace others with the same id.
        other_language: Another ISO 639 code, and a regular expression for the ids that have it.
        note: What to do before a copy can be read.
        declared_leaks: Kinds of leaks that the corpus has by design, so that no split can avoid them.
    """

    name: str
    title: str
    language: str
    url: str
    licence: str
    utterances: int
    speakers: int
    example: str
    grammar: str
    emotions: Mapping[str, str]
    speaker: str = "{speaker}"
    id_format: str = "{id}"
    key_format: str = "{id}"
    every_utterance: int = 0
    fields: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    genders: Mapping[str, str] = field(default_factory=dict)
    skip: str | None = None
    label_files: str | None = None
    label_line: str | None = None
    vote_line: str | None = None
    tables: tuple["LabelTable", ...] = ()
    vote_table: "LabelTable | None" = None
    votes: Mapping[str, str] = field(default_factory=dict)
    preferred: str | None = None
    other_language: tuple[str, str] | None = None
    note: str = ""
    declared_leaks: tuple[str, ...] = ()
