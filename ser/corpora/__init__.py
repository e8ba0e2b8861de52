"""Readers of corpora: the challenge's files, arrays, recordings. It offers the classes that a config may name."""

from ser.corpora.arrays import ArrayCorpus
from ser.corpora.challenge import ChallengeCorpus
from ser.corpora.pattern import PatternCorpus
from ser.corpora.recordings import AudioCorpus, FolderCorpus, ManifestCorpus, PublishedCorpus
from ser.data.manifest import Manifest, Utterance
from ser.splits.base import Corpus, Splits

__all__ = [
    "ArrayCorpus",
    "AudioCorpus",
    "ChallengeCorpus",
    "Corpus",
    "FolderCorpus",
    "Manifest",
    "ManifestCorpus",
    "PatternCorpus",
    "PublishedCorpus",
    "Splits",
    "Utterance",
]
