"""Describe what a score does not show, in sentences, from the facts about the data."""

import math
from collections.abc import Mapping

from ser.data.summary import SplitSummary
from ser.report.facts import RunReport


def describe_caveats(report: RunReport) -> list[str]:
    """Return sentences on what the headline score does not show."""
    split = report.headline_split
    by_name = {summary.name: summary for summary in report.splits}
    return [
        *(f"The data is {stamp}." for stamp in report.stamps if stamp.startswith("generated speech")),
        *_describe_certainty(report, by_name.get(split)),
        *_suggest_cross_validation(report, by_name.get(split)),
        *["The epoch was chosen by this split, so its score is somewhat too good."]
        * (bool(report.results) and split == "validation"),
        *_describe_last_epoch(report),
        *[_describe_speaker_overlap(report, by_name, split)] * bool(report.results),
        *_describe_imbalance(by_name.get("train")),
        "The scores are about the languages, speakers and recording conditions in this data; others were not tried.",
    ]


def _describe_last_epoch(report: RunReport) -> list[str]:
    """Describe that no epoch was chosen, if there was no validation split."""
    if report.monitor is not None:
        return []
    return [
        "The model was trained on train and validation together, so no epoch was chosen: its last one is kept, and "
        "nothing shows whether fewer epochs would be better."
    ]


def _describe_certainty(report: RunReport, scored: SplitSummary | None) -> list[str]:
    """Describe the standard error of the headline accuracy p: sqrt(p (1 - p) / n) for n predictions.

    Utterances of a speaker are correlated. If all of them were right or wrong together, the number of independent
    predictions would be that of the speakers: the truth lies between both numbers. If all predictions are right, or
    none is, the formula gives 0; then 3 / n bounds the share of the others with 95% certainty.
    """
    split = report.headline_split
    if scored is None or not report.headline_results:
        return []
    main = report.headline_results[0]
    accuracy = report.metrics.get(f"{split}/{main.name}/accuracy" if main.name else f"{split}/accuracy")
    if accuracy is None:
        return []
    scored_units = report.results[split][0].count  # a trial run leaves some out
    # Neighbouring frames are correlated: at best, there are as many independent predictions as recordings.
    independent = scored_units if report.unit == "utterance" else scored.utterances

    is_mixed = 0 < accuracy < 1

    def margin(count: int) -> str:
        share = math.sqrt(accuracy * (1 - accuracy) / count) if is_mixed else min(3 / count, 1)
        return f"{100 * share:.1f} points"

    measure = "a standard error" if is_mixed else "a 95% margin of error"
    each = "each" if report.unit == "utterance" else "each utterance"
    text = f"The {split} accuracy of {accuracy:.1%} over {_count_noun(scored_units, report.unit)} has {measure} of "
    text += f"{margin(independent)} if {each} is independent of the others"
    if scored.speakers is None:
        return [f"{text}, and a larger one if speakers have several of them."]
    return [
        f"{text}, and of up to {margin(scored.speakers)} if those of a speaker are right or wrong together "
        f"({_count_noun(scored.speakers, 'speaker')})."
    ]


def _suggest_cross_validation(report: RunReport, scored: SplitSummary | None) -> list[str]:
    """Suggest cross-validation if only one or two speakers are scored, and more could be."""
    if scored is None or scored.speakers is None or not report.has_few_speakers:
        return []
    return [
        f"{_count_noun(scored.speakers, 'speaker')} cannot stand for others: cross-validate over speakers, and read "
        f"the mean over the folds (-m {' '.join(report.cross_validation)})."
    ]


def _describe_speaker_overlap(report: RunReport, by_name: Mapping[str, SplitSummary], split: str) -> str:
    """Describe whether the scored split has speakers that are not in train."""
    if any(name in by_name and by_name[name].speakers is None for name in ("train", split)):
        return (
            f"The speakers are not known, so {split} may contain speakers of train; then the score is better "
            "than it would be for new speakers."
        )
    shared = [
        leak for leak in report.leaks or () if leak.kind == "speaker" and {*leak.splits} == {"train", split}
    ]
    if shared:
        return (
            f"{_count_noun(shared[0].shared, 'speaker')} of {split} also {'talks' if shared[0].shared == 1 else 'talk'}"
            " in train, so the score is better than it would be for new speakers."
        )
    if report.leaks is None:
        return "It is not recorded whether the splits share speakers."
    return f"No speaker of {split} is in train, so the score is about new speakers."


def _describe_imbalance(train: SplitSummary | None) -> list[str]:
    """Describe how unequal the classes in train are."""
    if train is None or not train.class_counts:
        return []
    ordered = sorted(train.class_counts.items(), key=lambda item: item[1])
    (rare, few), (common, many) = ordered[0], ordered[-1]
    if few == many:
        return ["All classes have equally many training utterances."]
    return [
        f"In train {common} makes up {many / train.utterances:.1%} and {rare} {few / train.utterances:.1%}: accuracy "
        "counts frequent classes more, UAR counts all alike."
    ]


def _count_noun(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
