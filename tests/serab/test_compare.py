"""Several runs of the benchmark in one table."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ser.errors import ConfigError, DataError
from ser.scripts.serab_compare import serab_compare
from ser.serab import compare, reports, tables
from tests.serab.test_scores import corpus, report

pytest.importorskip("sklearn")


def save(folder: Path, *names: str, extractor: str = "byol_s", method: str = "so", **settings: Any) -> Path:
    """The folder of a run on some corpora, as the benchmark leaves it."""
    folder.mkdir()
    told = report(*map(corpus, names), extractor=extractor, method=[method], stamps=[f"LEAK of {names[0]}"])
    tables.write(folder, told)
    node = {"_target_": f"ser.embeddings.{extractor}", **settings}
    (folder / "config.yaml").write_text(yaml.safe_dump({"extractor": node}))
    return folder


def joined(*folders: Path) -> list[reports.Report]:
    return compare.merge_runs([run for folder in folders for run in compare.find_runs(folder)])


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    told = report(corpus("ravdess", is_partial=True), corpus("emodb4", total=61), select="test")
    reports.write(tmp_path, told)
    assert tables.markdown(reports.read(tmp_path)) == tables.markdown(told)
    assert [*reports.read(tmp_path).results] == [*told.results]


def test_a_damaged_report_is_refused(tmp_path: Path) -> None:
    run = save(tmp_path / "a", "ravdess")
    scores = json.loads((run / "results.json").read_text())
    del scores["ravdess"]["lda"]["test_total"]
    (run / "results.json").write_text(json.dumps(scores))
    with pytest.raises(
        DataError, match=r"a: holds no results.json and report.json of a finished run \(.*total"
    ):
        joined(run)
    (run / "report.json").write_text('{"corpora": []}')
    with pytest.raises(DataError, match=r"a: holds no results\.json and report\.json of a finished run"):
        joined(run)
    (run / "config.yaml").unlink()
    with pytest.raises(DataError, match=r"config\.yaml: does not name the extractor"):
        joined(run)


def test_a_row_holds_all_corpora_of_an_extractor(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a", "ravdess"), save(tmp_path / "b", "savee", "emodb4")
    (one,) = joined(a, b)
    assert one.extractor == "byol_s"
    assert [result.name for result in one.results] == ["ravdess", "savee", "emodb4"]
    assert one.stamps == ["LEAK of ravdess", "LEAK of savee"]
    with pytest.raises(ConfigError, match="a: another of the runs has byol_s on ravdess, too"):
        joined(a, b, a)


def test_settings_in_which_an_extractor_differs_name_its_rows(tmp_path: Path) -> None:
    a = save(tmp_path / "a", "ravdess", statistics="corpus", weights="w.pth")
    b = save(tmp_path / "b", "ravdess", statistics="published", weights="w.pth")
    c = save(tmp_path / "c", "ravdess", extractor="random", seed=0)
    names = [one.extractor for one in joined(a, b, c)]
    assert names == ["byol_s statistics=corpus", "byol_s statistics=published", "random"]


def test_means_are_over_corpora_that_all_have(tmp_path: Path) -> None:
    several = joined(
        save(tmp_path / "a", "ravdess", "savee"), save(tmp_path / "b", "ravdess", extractor="random")
    )
    head, *rows = tables.comparison(several)
    assert head[-3:] == ["UM, 1 of 9", "WM, 1 of 9", "GM, 1 of 9"]
    ours = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert ours["byol_s, chosen by validation"]["UM, 1 of 9"] == "50.0"
    assert ours["byol_s, chosen by validation"]["savee"] == "50.0"
    assert ours["random, chosen by validation"]["savee"] == "-"
    assert ours["YAMNet"]["UM, 1 of 9"] == "52.3"


def test_runs_without_a_corpus_in_common_have_no_means(tmp_path: Path) -> None:
    several = joined(save(tmp_path / "a", "ravdess"), save(tmp_path / "b", "savee", extractor="random"))
    assert "there are no means" in compare.markdown(several)
    assert not [name for name in tables.comparison(several)[0] if "of 9" in name]


def test_runs_that_were_scored_in_different_ways_do_not_compare(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a", "ravdess"), save(tmp_path / "b", "savee", method="By global z-scores.")
    with pytest.raises(ConfigError, match=r"b: was scored otherwise than .*a: By global z-scores\. Compare"):
        joined(a, b)


def test_the_comparison_is_written_with_notes_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = save(tmp_path / "a", "ravdess", "emodb4")
    b = save(tmp_path / "b", "ravdess", extractor="random")
    assert serab_compare([str(a), str(b), "--output", str(tmp_path / "out")]) == 0
    assert "| byol_s | emodb4 | LDA | 50.0 |" in capsys.readouterr().out
    assert (tmp_path / "out" / "comparison.png").read_bytes().startswith(b"\x89PNG")
    lines = (tmp_path / "out" / "comparison.csv").read_text().splitlines()
    assert [line.endswith("LEAK of ravdess") for line in lines] == [False] * 14 + [True] * 4


def test_a_folder_without_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serab_compare([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path}: holds no results.json, nor does a folder in it.")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file: cannot be made .* Choose another with --output"):
        compare.write(tmp_path / "file", [report(corpus("ravdess"))])
