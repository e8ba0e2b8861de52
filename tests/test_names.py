"""Names in one form: what looks equal is equal, what does not is kept apart."""

import pytest

from ser.names import find_lookalikes, is_missing, normalize_name


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Jose\u0301", "José"),
        ("an\u200bger", "anger"),
        ("\ufeffanger\u00a0", "anger"),
        ("so\u00adft", "soft"),
        ("very \u3000 happy\t", "very happy"),
        ("joy\ufe0f\u2060", "joy"),
        ("e\u200d\u0301", "é"),
        ("anger\x00", "anger"),
        ("\u200b", ""),
        ("\u1112\u1161\u11ab", "한"),
    ],
)
def test_names_that_look_equal_are_equal(written: str, name: str) -> None:
    assert normalize_name(written) == name
    assert normalize_name(name) == name


@pytest.mark.parametrize("name", ["Anger", "s03", "\uff14", "ﬁ", "\u0661", "a-b", "ß", "1.0"])
def test_names_that_look_different_stay_as_they_are(name: str) -> None:
    assert normalize_name(name) == name


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "null", "N/A", "NA", "-", "<NA>", " ", "na\u200bn"])
def test_words_for_nothing_are_missing(word: str) -> None:
    assert is_missing(word)


@pytest.mark.parametrize("word", ["0", "no", "neutral", "nana", "unknown", "?"])
def test_other_words_are_not_missing(word: str) -> None:
    assert not is_missing(word)


@pytest.mark.parametrize(
    "names",
    [
        ("Anger", "anger"),
        ("S3", "s3"),
        ("s 3", "s03", "s_3"),
        ("4", "4.0"),
        ("03", "3"),
        ("4", "4,0"),
        ("0.5", "0.50"),
        ("very happy", "very_happy", "veryhappy"),
        ("STRASSE", "straße"),
        ("3", "\uff13"),
        ("3", "\u0663"),
        ("O'Neil", "O\u2019Neil"),
        ("anger", "\u0430nger"),  # Cyrillic a
    ],
)
def test_lookalikes_are_found_in_one_group(names: tuple[str, ...]) -> None:
    assert find_lookalikes([*names, "other"]) == [tuple(sorted(names))]


@pytest.mark.parametrize(
    "names",
    [
        ("1", "-1"),
        ("1.5", "15"),
        ("spk_1_1", "spk_11"),
        ("a", "b"),
        ("José", "Jose"),
        ("10", "1"),
        ("A", "A+"),
    ],
)
def test_names_that_differ_visibly_are_no_lookalikes(names: tuple[str, ...]) -> None:
    assert find_lookalikes(names) == []


def test_digits_of_any_length_are_compared() -> None:
    assert find_lookalikes(["a" + "0" * 5000 + "1", "a1"]) != []
    assert find_lookalikes(["9" * 5000, "9" * 5001]) == []
