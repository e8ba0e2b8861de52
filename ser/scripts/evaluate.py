"""Score a trained model on any labelled corpus: report.md, metrics.json, predictions.csv, pictures.

ser evaluate ckpt=RUN data=emodb data.root=DIR
"""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from ser.config.main import main
from ser.config.settings import Evaluate, names_of
from ser.errors import ConfigError, DataError, setting
from ser.files import REMEDIES, short
from ser.runs import environment

_READ = ("data", "split", "label_map", "trust", "ckpt", "output", "overwrite", "subset", "by", "calibrate")
"""Settings and nodes that this command reads; the others of a training come from the checkpoint."""
_ALSO_READ = ("device", "max_frames", "report")


@main("evaluate", existing_paths=["ckpt"])
def evaluate(settings: Evaluate) -> None:
    """Score the models, write the report, and print its scores."""
    job = HydraConfig.get()
    typed = [str(word).lstrip("+~") for word in job.overrides.task]
    refuse_unread(typed)
    paths = [Path(name) for name in names_of(settings.ckpt)]
    output = choose_output(settings, paths, str(job.runtime.choices["data"]))

    from ser.evaluation.evaluate import evaluate_corpus  # torch takes 1.4 s: first the config must be right
    from ser.evaluation.report import ReportFacts, write_evaluation
    from ser.evaluation.score_rows import score_table
    from ser.html_report.evaluation_page import write_evaluation_page
    from ser.inference.mixture import load_mixtures
    from ser.inference.predict import choose_device, require_classes
    from ser.runs.tables import print_table

    mixtures = load_mixtures(paths, calibrate=settings.calibrate)
    models = [model for each in mixtures for model in each.models]
    if settings.calibrate:
        require_classes(models, "calibrate=true")
    is_shown = settings.report.html and not settings.calibrate
    temperature = (
        known_temperature(paths) if is_shown else None
    )  # a damaged file is refused before hours of scoring
    is_strict = any(word == "data.on_error=raise" for word in typed)
    scored = evaluate_corpus(
        mixtures,
        settings.data,
        subset=settings.subset,
        by=names_of(settings.by),
        cache_dir=str(settings.data.get("cache_dir", ".cache/ser")),
        on_error="raise" if is_strict else "skip",
        device=choose_device(settings.device),
        max_frames=settings.max_frames,
    )
    name = output.name if settings.output is None else str(job.runtime.choices["data"])
    facts = ReportFacts(
        title=f"{', '.join(str(short(path)) for path in paths)} on {name}",
        name=name,
        command=environment.typed_line(),
        checkpoints=[model.path for model in models],
        stamps=scored.stamps,
        remarks=scored.remarks,
        unit=models[0].target.resolution,
    )
    make_folder(output)
    reports = [write_evaluation(output, scored.evaluation, scored.corpus, facts)]
    if settings.report.html:
        page = write_evaluation_page(
            output, scored, facts, has_audio=settings.report.audio, temperature=temperature
        )
        reports.append(page)
    print_table(facts.title, *score_table(scored.evaluation))
    print(
        *describe_evaluation(scored), f"Report: {', '.join(str(short(each)) for each in reports)}", sep="\n"
    )


def refuse_unread(typed: list[str]) -> None:
    """Refuse settings of a training that this command would not read.

    Raises:
        ConfigError: There is one; the message names the first.
    """
    for word in typed:
        key = word.partition("=")[0]
        if key.partition(".")[0] not in (*_READ, *_ALSO_READ):
            raise ConfigError(
                f"{word}: is a setting of trainings, and ser evaluate takes the model from the checkpoint. "
                "Leave it out."
            )


def choose_output(settings: Evaluate, paths: list[Path], option: str) -> Path:
    """Return the folder to write.

    Raises:
        ConfigError: It holds an evaluation, a run or an exported model; or it is not set, for several models or an
            exported one.
    """
    if settings.output is not None:
        output = Path(settings.output)
    elif len(paths) > 1:
        raise ConfigError(
            f"output=null: {len(paths)} checkpoints have no folder in common. Set output=FOLDER."
        )
    elif (paths[0] / "config.json").is_file():
        raise ConfigError(
            f"output=null: {paths[0]} is an exported model, in whose folder no evaluation is written. "
            "Set output=FOLDER."
        )
    else:
        is_best = paths[0].parent.name == "checkpoints"
        run = paths[0] if paths[0].is_dir() else paths[0].parents[1] if is_best else paths[0].parent
        output = run / "evaluations" / name_of(settings, option)
    holds = [name for name in ("metrics.json", "config.yaml") if (output / name).is_file()]
    if output.suffix in (".csv", ".json"):
        raise ConfigError(
            f"{setting('output', output)}: is written as a folder. Give one, such as output=FOLDER"
        )
    if (output / "config.json").is_file():
        raise ConfigError(
            f"{setting('output', output)}: is the folder of an exported model. Give another folder."
        )
    if "config.yaml" in holds:
        raise ConfigError(f"{setting('output', output)}: is the folder of a run. Give another folder.")
    if holds and not settings.overwrite:
        raise ConfigError(
            f"{setting('output', output)}: holds an evaluation already. Add overwrite=true, or give another folder."
        )
    return output


def name_of(settings: Evaluate, option: str) -> str:
    """Return the name of the folder: the option of data=, with the name of a folder or table, and the subset."""
    place = settings.data.get("path") or settings.data.get("root")
    is_own = not settings.data.get("corpus") and place
    parts = [option, *[Path(str(place)).resolve().stem] * bool(is_own)]
    return "_".join([*parts, *[settings.subset] * (settings.subset != "all")])


def known_temperature(paths: list[Path]) -> float | None:
    """Return the temperature of a run or an ensemble; None for several models, or if it has none.

    Raises:
        CheckpointError: The file cannot be used.
    """
    from ser.calibration.run import FILE, read_temperature
    from ser.inference.mixture import calibrated_folder

    folder = calibrated_folder(paths[0]) if len(paths) == 1 else None
    if folder is None or not (folder / FILE).exists():
        return None
    return read_temperature(folder, f"set {setting('report.html', False)}")


def make_folder(folder: Path) -> None:
    """Create a folder.

    Raises:
        DataError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        remedy = REMEDIES.get(error.errno or 0, "Give another folder.")
        raise DataError(f"{folder}: cannot be created ({reason}). {remedy}") from error


def describe_evaluation(scored: Any) -> list[str]:
    """Return the lines for the console: warnings, what was scored, what was left out."""
    from ser.evaluation.report import describe_left_out, describe_scored

    lines = [*scored.stamps, " ".join(describe_scored(scored.evaluation)), *scored.remarks]
    for reason, label, count, first in describe_left_out(scored.evaluation):
        lines.append(f"Left out: {count} x {label or 'without a label'}, {reason}; first {first!r}.")
    return lines
