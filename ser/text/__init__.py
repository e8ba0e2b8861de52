"""Words with their times and their vectors. It offers the classes that a config may name."""

from ser.text.contextual import ContextualVectors
from ser.text.vector_files import read_word_vectors
from ser.text.word_sources import TextModel, TrainedVectors, VectorFile, WordSource
from ser.text.word_training import rotate_into, train_word_vectors
from ser.text.word_vectors import Coverage, WordVectors, clean_word

__all__ = [
    "ContextualVectors",
    "Coverage",
    "TextModel",
    "TrainedVectors",
    "VectorFile",
    "WordSource",
    "WordVectors",
    "clean_word",
    "read_word_vectors",
    "rotate_into",
    "train_word_vectors",
]
