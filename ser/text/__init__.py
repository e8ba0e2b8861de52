"""Words with their times, their vectors, and both on a grid of steps of 0.1 s."""

from ser.text.contextual import ContextualVectors
from ser.text.vector_files import read_word_vectors
from ser.text.word_training import rotate_into, train_word_vectors
from ser.text.word_vectors import Coverage, WordVectors, clean_word

__all__ = [
    "ContextualVectors",
    "Coverage",
    "WordVectors",
    "clean_word",
    "read_word_vectors",
    "rotate_into",
    "train_word_vectors",
]
