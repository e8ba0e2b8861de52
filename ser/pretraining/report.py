"""Report of a pre-training: metrics.json, curves.json, curves.png, report.md and report.html, and the closing lines."""

import json
from collections.abc import Mapping

from rich.console import Console

from ser.batching.datamodule import SpeechData
from ser.config.settings import Train
from ser.data import summary
from ser.errors import program, setting
from ser.files import short, write_atomic
from ser.pretraining.page import PANELS, write_pretraining_page
from ser.pretraining.task import Pretraining
from ser.report import figures
from ser.report.report import write_metrics
from ser.report.score_table import format_duration
from ser.runs import environment
from ser.runs.run_folder import RunFolder


def write_report(
    settings: Train,
    run: RunFolder,
    task: Pretraining,
    data: SpeechData,
    last: Mapping[str, float],
    *,
    seconds: float,
    console: Console,
) -> None:
    """Write the files of a finished pre-training, and print its last values and the next commands."""
    write_metrics(run.path / "metrics.json", last)
    write_atomic(run.path / "curves.json", json.dumps(task.curves, indent=1) + "\n")
    figures.save(figures.curve_panels(task.curves, PANELS), run.path / "curves.png")
    encoder = short(run.path / "encoder")
    size = sum(parameter.numel() for parameter in task.model.encoder.parameters())
    facts = [
        ("seed", f"{settings.seed}"),
        ("duration", format_duration(seconds)),
        ("epochs", f"{max(task.curves['train/loss'])}"),
        ("encoder", f"{encoder}"),
        ("parameters", f"{size:,}"),
        ("log-mels", f"mean {task.mean:.4f}, deviation {task.std:.4f}"),
    ]
    listed = [f"- command: `{environment.typed_line()}`", *(f"- {name}: {value}" for name, value in facts)]
    listed += [f"- {remark}" for remark in data.facts.remarks]
    train, serab = " ".join(environment.program_words()), f"{program('python')} -m ser serab"
    commands = [
        f"{train} experiment=finetune {setting('model.path', encoder)} data=ravdess data.root=DIR",
        f"{serab} corpora=[ravdess] corpora_root=DIR extractor=pretrained {setting('extractor.path', encoder)}",
    ]
    title = f"{settings.experiment_name}: {type(task.model.encoder).__name__}"
    blocks = [f"# {title}"]
    blocks += [f"> **Note:** {stamp}" for stamp in data.facts.stamps]
    blocks += ["## Last epoch", "\n".join(f"- {name}: {value:.4f}" for name, value in last.items())]
    blocks += ["![Curves](curves.png)", "## Data", summary.markdown(data.summaries())]
    blocks += ["## Training", "\n".join(listed)]
    blocks += ["## Next", "```sh\n" + "\n".join(commands) + "\n```"]
    write_atomic(run.path / "report.md", "\n\n".join(blocks) + "\n")
    if settings.report.html:
        write_pretraining_page(run, title, task, data, facts, commands)
    shown = ", ".join(f"{name} {value:.3f}" for name, value in last.items())
    for line in (f"Last epoch: {shown}", f"Encoder: {encoder}", "Fine-tune it, or score it:", *commands):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
