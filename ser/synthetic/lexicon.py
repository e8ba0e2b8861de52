"""Words with a hidden valence, sentences of a mood, and vectors that word statistics give these words.

A split has words of its own, so that a model cannot learn their valence from how they sound. It can learn it from their
vectors alone, which are trained on text of all words: words of similar valence occur in the same sentences there.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ser.text.word_training import train_word_vectors
from ser.text.word_vectors import WordVectors

_TEXT = """
murder torture terror cancer agony misery horror grief death tragedy plague poison cruelty hatred despair
disaster nightmare funeral famine torment violence venom coffin bomb prison crime panic fever illness pain hunger rage
anger fear shame guilt insult fraud danger debt crisis threat flood wreck crash defeat poverty disease scar bruise
rot filth slime garbage sewer vermin cockroach rat spider thorn rust mud mould traffic quarrel blame regret stress worry
burden delay penalty tax boredom headache cough blister puddle drizzle fog gloom shadow
gravel elbow cement drawer paper corner chair pencil number bottle carpet shelf bucket ladder engine cable envelope
cabinet table paragraph button kettle basket window wheel station bridge lamp blanket pillow village market river
forest meadow orchard coffee bread apple
cherry honey soup cinnamon picnic valley mountain island flower rose poem story feather swan kitten puppy dolphin garden
sunrise rainbow melody music song dance concert cake chocolate holiday beach summer breeze journey medal trophy treasure
diamond gold fortune success award reward gift surprise birthday party festival wedding victory triumph hero smile
giggle joke hug kiss friend family mother baby cuddle comfort trust hope courage honour wisdom harmony freedom peace
health beauty miracle paradise glory delight wonder bliss joy love
"""
"""200 words, the saddest first; they are nouns without prefixes, as "un-" would tell valence by its sound."""

FUNCTION_WORDS = ("the", "a", "and", "with", "some", "about", "this", "that", "near", "for")
"""Words of all splits, without valence."""

_WORDS = [*_TEXT.split()]
SPLITS = ("Train", "Devel", "Test")
VALENCE: Mapping[str, float] = dict(zip(_WORDS, np.linspace(-1, 1, len(_WORDS)).tolist(), strict=True))
"""Word -> hidden valence, -1..1, at equal distances."""

_DEAL = ("Train", "Devel", "Train", "Test", "Train")  # split of every 1st .. 5th word: 120, 40 and 40
_SPREAD = 0.35  # deviation of the valence of a sentence's words from its mood
_CONTENT_WORDS = (5, 9)  # of a sentence, the second excluded
_FUNCTION_SHARE = 0.3  # of content words that follow a function word
_TEXT_SENTENCES = 5_000
_DIM = 32


def words_of(split: str) -> list[str]:
    """Return the words of one of SPLITS, the saddest first."""
    return [word for index, word in enumerate(_WORDS) if _DEAL[index % len(_DEAL)] == split]


def draw_sentence(words: Sequence[str], mood: float, rng: np.random.Generator) -> list[str]:
    """Draw different words around a mood, and function words between them.

    Args:
        words: Words to draw from, the saddest first.
        mood: Mean valence, -1..1.
        rng: Source of all random choices.
    """
    valence = mood + _SPREAD * rng.normal(size=rng.integers(*_CONTENT_WORDS))
    inside = 1 - np.abs((valence + 1) % 4 - 2)  # reflected at -1 and 1, so that no word is more frequent
    places = np.minimum((inside + 1) / 2 * len(words), len(words) - 1).astype(int)
    sentence = []
    for place in dict.fromkeys(places.tolist()):
        if rng.random() < _FUNCTION_SHARE:
            sentence.append(FUNCTION_WORDS[rng.integers(len(FUNCTION_WORDS))])
        sentence.append(words[place])
    return sentence


def train_lexicon_vectors(seed: int) -> WordVectors:
    """Train vectors of all words on sentences of drawn moods; no valence enters but by which words meet."""
    rng = np.random.default_rng([seed, len(SPLITS)])
    moods = rng.uniform(-1, 1, _TEXT_SENTENCES)
    return train_word_vectors((draw_sentence(_WORDS, mood, rng) for mood in moods), dim=_DIM)
