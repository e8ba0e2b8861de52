"""Scores of a run as rows of text, which every report shows alike."""

from ser.report.facts import RunReport
from ser.splits.assignment import SPLITS
from ser.targets.metrics import Result

METRICS = {
    "accuracy": "accuracy",
    "majority_floor": "majority floor",
    "uar": "UAR",
    "macro_f1": "macro-F1",
    "valence_accuracy": "valence accuracy",
    "activation_accuracy": "activation accuracy",
    "ccc": "CCC",
    "pcc": "PCC",
    "mse": "MSE",
    "mse_floor": "MSE of the training mean",
    "mae": "MAE",
    "mae_floor": "MAE of the training mean",
    "file_accuracy": "accuracy of whole utterances",
    "file_uar": "UAR of whole utterances",
    "loss": "loss",
}
"""Titles of the metrics of a split, in the order of every table."""
NUMBERS = ("ccc", "ccc_floor", "pcc", "mse", "mse_floor", "mae", "mae_floor", "loss")
"""Metrics that are not percentages."""


def tabulate_scores(report: RunReport) -> list[list[str]]:
    """Return one column per split, and one row per metric that any split has."""
    splits = scored_splits(report)
    rows = [["", *splits]]
    tasks = dict.fromkeys(result.name for results in report.results.values() for result in results)
    prefixes = dict.fromkeys([*(f"{task}/" * bool(task) for task in tasks), ""])
    for name in (f"{prefix}{metric}" for prefix in prefixes for metric in METRICS):
        values = [report.metrics.get(f"{split}/{name}") for split in splits]
        if any(value is not None for value in values):
            rows.append(
                [metric_title(name), *("-" if value is None else show_score(value, name) for value in values)]
            )
    return rows


def tabulate_fields(report: RunReport) -> list[list[str]]:
    """Return one row per label field, of tasks that have several: its headline metric in each split."""
    rows: dict[str, list[str]] = {}
    splits = scored_splits(report)
    for result in (result for results in report.results.values() for result in results):
        fields = getattr(result, "fields", ())
        for field in fields if len(fields) > 1 else ():
            prefix = f"{result.name}/" if result.name else ""
            values = [report.metrics.get(f"{split}/{prefix}{result.headline}_{field}") for split in splits]
            rows[title_of_field(result, field)] = [
                "-" if value is None else show_score(value, result.headline) for value in values
            ]
    return [[title, *cells] for title, cells in rows.items()]


def title_of_field(result: Result, field: str) -> str:
    """Return the title of the headline metric of a label field, such as `values: CCC of arousal`."""
    prefix = f"{result.name}/" if result.name else ""
    return f"{metric_title(prefix + result.headline)} of {field}"


def scored_splits(report: RunReport) -> list[str]:
    headline = headline_metric(report)
    return [split for split in SPLITS if split in report.results or f"{split}/{headline}" in report.metrics]


def metric_title(name: str) -> str:
    """Return the title of a metric, after the name of its task if it has one."""
    task, _, metric = name.rpartition("/")
    return f"{task}: {METRICS[metric]}" if task else METRICS[metric]


def show_score(value: float, name: str) -> str:
    return f"{value:.3f}" if name.rpartition("/")[2] in NUMBERS else f"{value:.1%}"


def metrics_of(report: RunReport, split: str, result: Result) -> dict[str, float]:
    """Select the metrics of a task in a split, by their names within the task."""
    prefix = f"{split}/{result.name}/" if result.name else f"{split}/"
    return {
        name.removeprefix(prefix): value for name, value in report.metrics.items() if name.startswith(prefix)
    }


def headline_metric(report: RunReport) -> str:
    """Return the name, within a split, of the main metric of the main task."""
    if not report.headline_results:
        return "loss"
    main = report.headline_results[0]
    return f"{main.name}/{main.headline}" if main.name else main.headline


def describe_choice(report: RunReport) -> str:
    if report.monitor is None:
        return f"{report.best_epoch} of {report.epochs}, the last one, as there is no validation split"
    which = {"max": "highest", "min": "lowest"}[report.mode]
    if report.best_epoch is None:
        return f"of each member, chosen by its {which} {report.monitor}"
    return f"{report.best_epoch} of {report.epochs}, chosen by the {which} {report.monitor}"


def format_duration(seconds: float) -> str:
    """Format a duration, such as `1 h 4 min`, `4 min 12 s` or `7 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
