"""Facts about the splits, as splits.json holds them."""

import json

from ser.data.label_map import LabelCount
from ser.splits.base import SpeechSize, SplitFacts
from ser.splits.leaks import Leak


def test_split_facts_convert_to_plain_json_values():
    facts = SplitFacts(
        labels=[LabelCount("de", "German", 10)],
        leaks=[Leak("speaker", ("train", "test"), 1, 2, 4, ("anna",))],
        skipped=[("a", "is empty")],
        speech={"test": SpeechSize(4, 2.0)},
    )
    plain = json.loads(json.dumps(facts.to_dict()))
    assert plain["labels"] == [{"raw": "de", "mapped": "German", "utterances": 10}]
    assert (plain["leaks"][0]["touched"], plain["leaks"][0]["share"]) == (2, 0.5)
    assert plain["skipped"] == [{"id": "a", "reason": "is empty"}]
    assert plain["speech"] == {"test": {"speakers": 4, "minutes": 2.0}}


def test_split_facts_leave_out_leaks_nobody_looked_for():
    assert "leaks" not in SplitFacts().to_dict()
    assert SplitFacts(leaks=[]).to_dict()["leaks"] == []
