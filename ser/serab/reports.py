"""Report of a run of the benchmark, in memory and on disk."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ser.errors import DataError
from ser.files import write_atomic
from ser.serab.published import published
from ser.serab.results import CorpusResults, Result, Select
from ser.serab.scores import Interval

RESULTS, REPORT = "results.json", "report.json"
_TEXTS = ("method", "stamps", "remarks")
_OF_A_CORPUS = ("floors", "utterances", "test_speakers", "is_partial")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Content of all tables of a run.

    Args:
        extractor: Name of the extractor.
        results: Results of one or more corpora.
        select: Split on which the classifiers of the headline are selected.
        method: Sentences that describe the method.
        stamps: Warnings for every reader.
        remarks: Further remarks for readers.
    """

    extractor: str
    results: Sequence[CorpusResults]
    select: Select
    method: Sequence[str] = ()
    stamps: Sequence[str] = ()
    remarks: Sequence[str] = ()

    @property
    def of_the_nine(self) -> list[CorpusResults]:
        """Return the results that count in UM, WM and GM: complete corpora of the published table."""
        return [one for one in self.results if one.name in published().corpora and not one.is_partial]


def write(folder: Path, report: Report) -> None:
    """Write results.json with the scores, and report.json with everything else.

    Raises:
        DataError: A file cannot be written.
    """
    told: dict[str, Any] = {"extractor": report.extractor, "select": report.select}
    told |= {name: [*getattr(report, name)] for name in _TEXTS}
    told["corpora"] = {one.name: {key: getattr(one, key) for key in _OF_A_CORPUS} for one in report.results}
    write_atomic(folder / RESULTS, json.dumps(to_json_values(report.results), indent=2) + "\n")
    write_atomic(folder / REPORT, json.dumps(told, indent=2) + "\n")


def read(folder: Path) -> Report:
    """Read the report that `write` wrote to the folder of a run.

    Raises:
        DataError: There is none, or it is damaged.
    """
    try:
        scores, told = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (RESULTS, REPORT))
        results = [
            CorpusResults(
                name=name,
                by_classifier={key: _result(numbers) for key, numbers in scores[name].items()},
                **facts,
            )
            for name, facts in told.pop("corpora").items()
        ]
        return Report(results=results, **told)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder}: holds no {RESULTS} and {REPORT} of a finished run ({type(error).__name__}: {error}). Give "
            "the hydra.run.dir of ser serab, or run it again."
        ) from error


def to_json_values(results: Sequence[CorpusResults]) -> dict[str, dict[str, dict[str, Any]]]:
    """Convert results to plain values for JSON, by corpus and classifier: scores 0..1, counts, settings, remarks."""
    return {
        one.name: {
            name: asdict(result)
            | {"interval": [*result.interval], "remarks": dict(result.remarks)}
            | {"settings": dict(result.settings), "final_remarks": [*result.final_remarks]}
            for name, result in one.by_classifier.items()
        }
        for one in results
    }


def _result(numbers: Mapping[str, Any]) -> Result:
    final = tuple(numbers["final_remarks"])
    return Result(**{**numbers, "interval": Interval(*numbers["interval"]), "final_remarks": final})
