"""Readers of corpora: the challenge's files, arrays, recordings. It offers the classes that a config may name."""

from ser.corpora.arrays import ArrayCorpus
from ser.corpora.challenge import ChallengeCorpus
from ser.corpora.conversation_corpus import ConversationCorpus
from ser.corpora.conversations import Conversation
from ser.corpora.imported import ImportedCorpus
from ser.corpora.pattern import PatternCorpus
from ser.corpora.recordings import AudioCorpus, FolderCorpus, ManifestCorpus, PublishedCorpus
from ser.corpora.sewa import SewaCorpus
from ser.corpora.word_corpora import IemocapWordsCorpus, MuseCarCorpus
from ser.data.manifest import Manifest, Utterance
from ser.splits.base import Corpus, Splits

__all__ = [
    "ArrayCorpus",
    "AudioCorpus",
    "ChallengeCorpus",
    "Conversation",
    "ConversationCorpus",
    "Corpus",
    "FolderCorpus",
    "IemocapWordsCorpus",
    "ImportedCorpus",
    "Manifest",
    "ManifestCorpus",
    "MuseCarCorpus",
    "PatternCorpus",
    "PublishedCorpus",
    "SewaCorpus",
    "Splits",
    "Utterance",
]
