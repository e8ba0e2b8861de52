"""The answers that are most wrong, to look at and to listen to; and answers over time beside their labels."""

from collections.abc import Sequence

import numpy as np

from ser.html_report.answers import Answers, ClassAnswers, ValueAnswers
from ser.html_report.elements import Chart, Charts, Clip, Clips, Mark, Section
from ser.html_report.material import Material, show
from ser.html_report.svg import Axis, Plot, thin

MOST_CLIPS = 12
"""Most utterances of a page, of all its tasks; with recordings, 0.5 MB of speech of 3 s, 1.8 MB of noise of 8 s."""
_MOST_SHARES = 4
_MOST_POINTS = 500


def wrong_sections(answers: Answers, material: Material | None) -> list[Section]:
    """Return a section for each task of utterances; none for answers over time, see `curve_section`.

    The sections share the utterances that a page shows. One that several show is held once.

    Args:
        answers: Answers to the split.
        material: Its recordings and features; None if they are not read.
    """
    if answers.is_over_time:
        return []
    tasks: list[ClassAnswers | ValueAnswers] = [*answers.classes, *answers.values]
    worst = [(task, _worst(task)) for task in tasks]
    counts = share_clips([len(order) for _, order in worst])
    held: dict[str, str] = {}
    sections = []
    for (task, order), count in zip(worst, counts, strict=True):
        title = _title(task)
        clips = [_clip(task, place, title, material, held) for place in order[:count]]
        intro = _introduce(task, len(order), count)
        if answers.unanswered and task is answers.main:
            intro += f" {answers.unanswered} more have no answer, as they hold no speech."
        sections.append(Section(title, [Clips(clips)] if clips else [], intro))
    return sections


def share_clips(available: Sequence[int]) -> list[int]:
    """Return how many utterances each section shows: they take them in turns, until a page is full.

    Args:
        available: Number of utterances that each section could show.
    """
    counts = [0] * len(available)
    room = min(MOST_CLIPS, sum(available))
    while room:
        for place in [place for place, most in enumerate(available) if counts[place] < most][:room]:
            counts[place] += 1
            room -= 1
    return counts


def _worst(task: ClassAnswers | ValueAnswers) -> list[int]:
    """Return the wrong answers, the most confident first, or all answers by their error."""
    if isinstance(task, ValueAnswers):
        ranked = np.argsort(-np.abs(task.predicted - task.truth), kind="stable")
    else:
        wrong = np.flatnonzero(~task.correct)
        ranked = wrong[np.argsort(-task.probabilities.max(1)[wrong], kind="stable")]
    found: list[int] = ranked.tolist()
    return found


def _title(task: ClassAnswers | ValueAnswers) -> str:
    if isinstance(task, ValueAnswers):
        return f"The largest errors of {task.field}"
    of_task = f" of {task.task}" if task.task else ""
    return f"The most confident wrong answers{of_task}"


def _introduce(task: ClassAnswers | ValueAnswers, wrong: int, count: int) -> str:
    """Describe how many answers are wrong, and which of them are shown."""
    full = f"None is shown: a page shows {MOST_CLIPS} utterances, of its first tasks."
    if isinstance(task, ValueAnswers):
        mean = np.abs(task.predicted - task.truth).mean()
        shown = "These are the largest ones." if count else full
        return f"The mean of {wrong:,} errors is {mean:.3f}. {shown}"
    if not wrong:
        return f"All {len(task.ids):,} answers are right."
    shown = "These are the most confident of them." if count else full
    return f"{wrong:,} of {len(task.ids):,} answers are wrong. {shown}"


def _answer(task: ClassAnswers | ValueAnswers, place: int) -> tuple[str, list[tuple[str, float]]]:
    """Return what was predicted instead of what, and the largest probabilities of classes."""
    if isinstance(task, ValueAnswers):
        return f"{task.predicted[place]:.2f}, not {task.truth[place]:.2f}", []
    predicted, label = (task.classes[index[place]] for index in (task.predicted, task.labels))
    shares = zip(task.classes, task.probabilities[place].tolist(), strict=True)
    return f"{predicted}, not {label}", sorted(shares, key=lambda pair: -pair[1])[:_MOST_SHARES]


def _clip(
    task: ClassAnswers | ValueAnswers,
    place: int,
    section: str,
    material: Material | None,
    held: dict[str, str],
) -> Clip:
    """Return an utterance with its picture and recording.

    Args:
        task: The answers.
        place: Index of the answer.
        section: Title of the section.
        material: Recordings and features; None if they are not read.
        held: Utterance -> section that shows it with its recording already; it is completed.
    """
    name, speaker = task.ids[place], task.speakers[place]
    title, shares = _answer(task, place)
    facts = [("speaker", speaker)] if speaker else []
    if material is None:
        return Clip(name, title, facts, shares)
    if name not in material.places:
        return Clip(name, title, facts, shares, note="Its features are not at hand.")
    facts.append(("length", f"{material.seconds(name):.2f}\u00a0s"))
    if name in held:
        return Clip(name, title, facts, shares, note=f"It is also shown above, in: {held[name]}.")
    held[name] = section
    shown = show(material, name)
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
