"""Recognise the language of a text by its most frequent words, to find a transcript in another language than named."""

from collections.abc import Mapping, Sequence

FUNCTION_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the of and to is that it you for was with his they are this have from had by what were when your "
        "there she which their will would been",
        "de": "der die und das ist nicht ich ein eine zu den mit von auf sich dem auch es für wir wie wird haben sie "
        "noch aber oder nach bei einen",
        "es": "el los las que y del por una con para como más pero sus le ya porque esta entre cuando muy sin sobre "
        "también hay donde está lo su",
        "fr": "les des est et une dans que pour qui sur pas plus par je avec il sont mais nous vous ou cette elle "
        "aux être fait comme leur au du",
        "it": "il di che è gli della sono con per non una del si come anche più nel alla dei questo ma ha lo dal "
        "delle essere ho mi ci",
        "nl": "het een van ik je niet dat zijn op te voor met aan er maar om ook als naar bij ze wat heeft hij nog "
        "wordt deze uit kan zo",
        "pt": "os que uma não para com mais como mas foi ao ele das seu sua ou quando muito nos já eu também pelo "
        "isso ela entre depois são é",
    }.items()
}
"""Language -> frequent words; those that two of the languages share tell little, and are few."""

_FEWEST = 4  # function words of the other language
_LEAST_SHARE = 0.15  # of all words; a text has 0.3 to 0.5 in its own language
_TIMES = 4  # as many as of the named language


def find_other_language(words: Sequence[str], language: str) -> str | None:
    """Return the language that words are in, if it is clearly not the named one, else None.

    Args:
        words: Words in lower case.
        language: Named language, such as "de" or "pt-BR"; None is returned where it has no table.
    """
    counts = {name: sum(word in known for word in words) for name, known in FUNCTION_WORDS.items()}
    own = counts.pop(language.partition("-")[0].lower(), None)
    other = max(counts, key=lambda name: counts[name])
    found = counts[other]
    if own is None or found < max(_FEWEST, _LEAST_SHARE * len(words), _TIMES * own):
        return None
    return other
