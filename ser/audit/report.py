"""Describe an audit for the console, and write it as audit.csv and audit.json."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from ser.audit.confounding import Association
from ser.audit.differences import QUANTITIES, compare_groups, concentrated
from ser.audit.measures import Measures
from ser.audit.recordings import Audit, Audited
from ser.files import write_atomic
from ser.runs.tables import write_csv

MEANINGS = {
    "unreadable": "cannot be read",
    "digital_silence": "hold nothing but zeros",
    "clipped": "are clipped: peaks are cut off",
    "dc_offset": "have a DC offset",
    "noisy": "are noisy",
    "narrow_band": "lack the upper band, as after a telephone or a strong compression",
    "mostly_silent": "are silence for three quarters of the time or more",
    "short": "are unusually short",
    "long": "are unusually long",
    "duplicate": "are equal to an earlier one",
    "near_duplicate": "are nearly equal to an earlier one: other gain, encoding or ends",
}
"""Flag -> what its recordings do, for the console."""
_EXAMPLES = 3
_GROUPS = ("label", "speaker")


def groups_of(audit: Audit) -> dict[str, list[str | None]]:
    """Return the label and the speaker of each recording."""
    return {
        "label": [each.label for each in audit.recordings],
        "speaker": [each.utterance.speaker for each in audit.recordings],
    }


def measure_table(audit: Audit) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: each quantity with its median, its range, and classes and speakers that differ."""
    groups = groups_of(audit)
    rows = []
    for quantity in QUANTITIES:
        known = [quantity.value(each.measures) for each in audit.recordings if each.measures is not None]
        values = np.array([value for value in known if np.isfinite(value)])
        if not len(values):
            continue
        low, middle, high = (
            f"{value:.{quantity.digits}f}" for value in np.quantile(values, (0.05, 0.5, 0.95))
        )
        found = [compare_groups(quantity, audit.recordings, groups[kind]) for kind in _GROUPS]
        rows.append(
            [
                quantity.name,
                middle,
                f"{low} to {high}",
                *("alike" if each is None else each.show(quantity.digits) for each in found),
            ]
        )
    return ["", "median", "5 % to 95 %", *(f"by {kind}" for kind in _GROUPS)], rows


def describe_faults(audit: Audit) -> list[str]:
    """Return a line for each kind of fault: how many recordings have it, the first ones, and where they are many."""
    counts = Counter(flag for each in audit.recordings for flag in each.flags)
    total, groups = len(audit.recordings), groups_of(audit)
    lines = []
    for flag, meaning in MEANINGS.items():
        if not (count := counts[flag]):
            continue
        first = [each.utterance.id for each in audit.recordings if flag in each.flags][:_EXAMPLES]
        listed = ", ".join([*first, *["..."] * (count > len(first))])
        many = [
            f"{kind} {group}: {own} of {size}"
            for kind in _GROUPS
            for group, own, size in concentrated(flag, audit.recordings, groups[kind])[:_EXAMPLES]
        ]
        where = f" ({'; '.join(many)})" if many else ""
        lines.append(f"{count} of {total} recordings {meaning}{where}: {listed}")
    return lines or ["No faults were found."]


def describe_pairs(audit: Audit, split_of: Mapping[str, str]) -> list[str]:
    """Return lines about equal recordings that have different labels or speakers, or are in different splits.

    Args:
        audit: Audit.
        split_of: Split of each utterance, by id.
    """
    kinds = {"labels": 0, "speakers": 0, "splits": 0}
    for pair in audit.pairs:
        one, other = audit.recordings[pair.first], audit.recordings[pair.second]
        kinds["labels"] += one.label != other.label
        kinds["speakers"] += one.utterance.speaker != other.utterance.speaker
        kinds["splits"] += split_of.get(one.utterance.id) != split_of.get(other.utterance.id)
    return [
        f"{count} of {len(audit.pairs)} pairs of equal or nearly equal recordings have different {kind}."
        for kind, count in kinds.items()
        if count
    ]


def write_audit(folder: Path, audit: Audit, associations: Sequence[Association]) -> None:
    """Write audit.csv, a row for each recording, and audit.json, a summary, into a folder."""
    partner = {pair.second: pair for pair in reversed(audit.pairs)}
    names = [field.name for field in fields(Measures)]
    rows = []
    for index, each in enumerate(audit.recordings):
        pair = partner.get(index)
        equal = audit.recordings[pair.first].utterance.id if pair else None
        similarity = round(pair.similarity, 4) if pair else None
        rows.append([*_about(each), *_cells(each, names), equal, similarity, each.error])
    header = ["id", "path", "speaker", "label", "flags", *names, "equal_to", "similarity", "error"]
    write_csv(folder / "audit.csv", header, rows)
    write_atomic(folder / "audit.json", json.dumps(summarize(audit, associations), indent=2) + "\n")


def summarize(audit: Audit, associations: Sequence[Association]) -> dict[str, Any]:
    """Return the audit as plain values for JSON."""
    groups = groups_of(audit)
    ids = [each.utterance.id for each in audit.recordings]
    quantities = {}
    for quantity in QUANTITIES:
        known = [quantity.value(each.measures) for each in audit.recordings if each.measures is not None]
        values = np.array([value for value in known if np.isfinite(value)])
        found = {kind: compare_groups(quantity, audit.recordings, groups[kind]) for kind in _GROUPS}
        quantities[quantity.name] = {
            "quantiles_5_50_95": np.quantile(values, (0.05, 0.5, 0.95)).round(3).tolist()
            if len(values)
            else None,
            **{f"by_{kind}": None if each is None else each._asdict() for kind, each in found.items()},
        }
    return {
        "recordings": len(ids),
        "quantities": quantities,
        "flags": {
            flag: [each.utterance.id for each in audit.recordings if flag in each.flags] for flag in MEANINGS
        },
        "equal": [
            asdict(pair) | {"first": ids[pair.first], "second": ids[pair.second]} for pair in audit.pairs
        ],
        "associations": [each.to_dict() for each in associations],
    }


def _about(each: Audited) -> list[str | None]:
    utterance = each.utterance
    return [utterance.id, str(utterance.path), utterance.speaker, each.label, " ".join(each.flags)]


def _cells(each: Audited, names: Sequence[str]) -> list[float | None]:
    if each.measures is None:
        return [None] * len(names)
    values = [getattr(each.measures, name) for name in names]
    return [round(value, 5) if np.isfinite(value) else None for value in values]
