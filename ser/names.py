"""Normalise names of classes, speakers, groups and columns, so that equal-looking names are equal.

Tables come from spreadsheets, scripts and several operating systems: a name may contain a zero-width space, a
no-break space, or an accent in two code points (macOS). Names are always compared in the form of `normalize_name`.
Visibly different names are never merged; `find_lookalikes` finds possible typing errors.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache

_INVISIBLE_CATEGORIES = ("Cf", "Cc")
# Invisible characters of other categories: combining grapheme joiner, Hangul fillers, vowel inherent, Mongolian and
# other variation selectors.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f]")
_BLANK = "\u2800"  # Braille blank, which looks like a space

_MISSING = frozenset(
    ("", "nan", "-nan", "none", "null", "n/a", "na", "#n/a", "#na", "<na>", "-", "--", "\u2013", "\u2014")
)
"""Placeholders for missing values, in lower case, as pandas, R and Excel write them."""

# Cyrillic and Greek letters that look like Latin ones, and punctuation that looks alike.
_ALIKE = str.maketrans(
    "АВЕЅЗІЈКМНОРСТУХаеорсухіјѕԁһΑΒΕΖΗΙΚΜΝΟΡΤΥΧο\u2010\u2011\u2012\u2013\u2212\u2018\u2019\u00b4`",  # noqa: RUF001
    "ABES3IJKMHOPCTYXaeopcyxijsdhABEZHIKMNOPTYXo-----''''",
)
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:e[+-]?\d{1,3})?")
_TOKEN = re.compile(r"\d+|[^\W\d_]+|[^\w\s-]+")


@lru_cache(maxsize=1 << 16)
def normalize_name(text: str) -> str:
    """Return a name without invisible characters, with single spaces, in Unicode's form NFC."""
    if not (text.isascii() and text.isprintable()):
        text = text.replace(_BLANK, " ")
        text = "".join(
            character
            for character in text
            if character.isspace() or unicodedata.category(character) not in _INVISIBLE_CATEGORIES
        )
        text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    return " ".join(text.split())


def is_missing(name: str) -> bool:
    """Return whether a name is a placeholder for a missing value, such as nan, None or N/A."""
    return normalize_name(name).casefold() in _MISSING


def find_lookalikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return groups of names that differ only in case, spacing, number format or look-alike letters, sorted."""
    groups = defaultdict(set)
    for name in {*names}:
        groups[_lookalike_key(name)].add(name)
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def _lookalike_key(name: str) -> str:
    """Return a key that is equal for names that look alike: `s03`, `S_3` and `s 3`; `4` and `4.0`."""
    plain = unicodedata.normalize("NFKC", normalize_name(name)).translate(_ALIKE)
    plain = unicodedata.normalize("NFKC", plain.casefold()).translate(_ALIKE)
    if _NUMBER.fullmatch(plain):
        return str(Decimal(plain.replace(",", ".")).normalize())
    tokens = [_without_zeros(token) if token.isdecimal() else token for token in _TOKEN.findall(plain)]
    # Numbers stay separate: `1_1` is not `11`. Words are joined: `very happy` is `veryhappy`.
    return re.sub(r"(?<=\D)\0|\0(?=\D)", "", "\0".join(tokens))


def _without_zeros(digits: str) -> str:
    return "".join(str(unicodedata.decimal(digit)) for digit in digits).lstrip("0") or "0"
