"""The answers that are most wrong, to look at and to listen to; and answers over time beside their labels."""

from collections.abc import Sequence

import numpy as np

from ser.html_report.answers import Answers, ClassAnswers, ValueAnswers
from ser.html_report.elements import Chart, Charts, Clip, Clips, Element, Mark, Section
from ser.html_report.material import Material, show
from ser.html_report.svg import Axis, Plot, thin

MOST_CLIPS = 12
"""Most utterances of a section; with their recordings, they take 0.5 MB."""
_MOST_SHARES = 4
_MOST_POINTS = 500


def wrong_sections(answers: Answers, material: Material) -> list[Section]:
    """Return a section for each task of utterances; none for answers over time, see `curve_section`.

    Args:
        answers: Answers to the split.
        material: Its recordings and features.
    """
    if answers.is_over_time:
        return []
    silent = f" {answers.unanswered} more have no answer, as they hold no speech." * bool(answers.unanswered)
    found = [_wrong_classes(task, material, silent) for task in answers.classes]
    return [*found, *(_wrong_values(field, material) for field in answers.values)]


def _wrong_classes(task: ClassAnswers, material: Material, silent: str) -> Section:
    """Return the wrong answers with the highest probability."""
    predicted, wrong = task.predicted, np.flatnonzero(~task.correct)
    confidence = task.probabilities.max(1)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_CLIPS]
    clips = []
    for place in order.tolist():
        shares = sorted(
            zip(task.classes, task.probabilities[place].tolist(), strict=True), key=lambda pair: -pair[1]
        )
        title = f"{task.classes[predicted[place]]}, not {task.classes[task.labels[place]]}"
        clips.append(_clip(task.ids[place], task.speakers[place], title, shares[:_MOST_SHARES], material))
    of_task = f" of {task.task}" if task.task else ""
    intro = f"{len(wrong):,} of {len(task.ids):,} answers are wrong; these are the most confident of them.{silent}"
    right = f"All {len(task.ids):,} answers are right.{silent}"
    return Section(f"The most confident wrong answers{of_task}", _shown(clips), intro if clips else right)


def _wrong_values(field: ValueAnswers, material: Material) -> Section:
    """Return the answers with the largest errors."""
    errors = np.abs(field.predicted - field.truth)
    clips = []
    for place in np.argsort(-errors, kind="stable")[:MOST_CLIPS].tolist():
        title = f"{field.predicted[place]:.2f}, not {field.truth[place]:.2f}"
        clips.append(_clip(field.ids[place], field.speakers[place], title, [], material))
    intro = f"These are the largest errors of {len(errors):,}; their mean is {errors.mean():.3f}."
    return Section(f"The largest errors of {field.field}", _shown(clips), intro)


def _shown(clips: Sequence[Clip]) -> list[Element]:
    return [Clips(clips)] if clips else []


def _clip(
    name: str, speaker: str | None, title: str, shares: Sequence[tuple[str, float]], material: Material
) -> Clip:
    """Return an utterance with its picture and recording."""
    facts = [("speaker", speaker)] if speaker else []
    if name not in material.places:
        return Clip(name, title, facts, shares, note="Its features are not at hand.")
    shown = show(material, name)
    facts.append(("length", f"{material.seconds(name):.2f}\u00a0s"))
    return Clip(name, title, facts, shares, shown.picture, shown.audio, shown.note)


def curve_section(answers: Answers, step_s: float) -> list[Section]:
    """Return labels and predictions of some recordings over time, those of the median error first; for steps alone.

    Args:
        answers: Answers to the split.
        step_s: Duration of a step in s.
    """
    if not answers.is_over_time or not answers.values:
        return []
    first = answers.values[0]
    names, groups = np.unique(np.array(first.ids), return_inverse=True)
    errors = np.bincount(groups, np.abs(first.predicted - first.truth)) / np.bincount(groups)
    ranked = names[np.argsort(-errors, kind="stable")].tolist()
    picked = dict.fromkeys([ranked[0], ranked[len(ranked) // 2], ranked[-1]])
    charts = [_draw_curves(field, name, step_s) for name in picked for field in answers.values]
    intro = (
        f"Recordings with the largest, the median and the smallest mean error of {first.field}, of {len(names):,}. "
        "Steps without a label are left out."
    )
    return [Section("Over time", [Charts(charts)], intro)]


def _draw_curves(field: ValueAnswers, name: str, step_s: float) -> Chart:
    own = np.flatnonzero(np.array(field.ids) == name)
    times = step_s * field.steps[own]
    rows = thin(np.stack([times, field.truth[own], field.predicted[own]], 1), _MOST_POINTS).tolist()
    y = Axis.around(field.field, [value for row in rows for value in row[1:]])
    plot = Plot(Axis("seconds", 0, max((row[0] for row in rows), default=0.0) or 1.0), y, height=230)
    plot.line([(time, value) for time, value, _ in rows], "ink", width=1.4)
    plot.line([(time, value) for time, _, value in rows], 0)
    title = f"{field.field} of {name}"
    return Chart(
        title, plot.render(f"{title}: label and prediction"), [Mark("label", "ink"), Mark("prediction", 0)]
    )
