"""Build the parts of a run from its settings: splits, data and task; write what the run started from."""

import json
import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from rich.console import Console
from torch import nn

from ser.batching.annotation_delay import compensate_store, resolve_delay
from ser.batching.datamodule import SpeechData
from ser.checkpoints import checkpoint
from ser.checkpoints.initialize import initialize
from ser.checkpoints.resume import check_same_data
from ser.config.instantiate import build, find_class
from ser.config.settings import Spec, Train, option_of
from ser.data import summary
from ser.data.class_labels import complete_target
from ser.data.store import Store
from ser.errors import ConfigError
from ser.evaluation.inherited import describe_inherited, inherited_rows
from ser.features.extractors import Extractor
from ser.features.on_the_fly import OnTheFlyFeatures
from ser.files import short, write_atomic
from ser.runs import environment, ranks
from ser.runs.run_folder import RunFolder
from ser.splits.base import SpeechSize, Splits, compare_splits
from ser.splits.speaker_normalize import group_splits, normalize_splits, uses_speaker_normalization
from ser.splits.utterances_file import INHERITED, read_rows, write_utterances
from ser.targets.base import Target
from ser.targets.losses import Objective
from ser.trackers.run_trackers import watch_commands
from ser.training.consistency import (
    NO_VALIDATION,
    check_encoder_input,
    check_frames,
    check_monitor,
    check_needed,
    monitors,
)
from ser.training.task import Task

COMPILE_OPTIONS = {"triton.coalesce_tiling_analysis": False}
"""Of torch.compile: this analysis fails in torch 2.11 where lengths are dynamic (pytorch/pytorch#181563)."""


def prepare(settings: Train) -> None:
    """Seed the weights, flush denormal numbers to zero on the CPU, and silence Lightning's messages.

    Padding causes denormal numbers in LSTM gradients: without flushing, a backward pass took 8.6 s instead of 1.1 s.
    """
    L.seed_everything(settings.seed, verbose=False)
    torch.set_flush_denormal(True)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", r".*LeafSpec.*", FutureWarning)  # Lightning 2.6 beside torch 2.13
    warnings.filterwarnings("ignore", r".*does not have many workers.*")  # a batch is one copy: none is best
    warnings.filterwarnings("ignore", r".*could not find the monitored key.*")  # `fit` refuses it
    warnings.filterwarnings("ignore", r".*exists and is not empty.*")  # as in a resumed run
    warnings.filterwarnings("ignore", r".*sync_dist=True.*")  # processes are summed over before logging
    warnings.filterwarnings("ignore", r".*in eval mode at the start.*")  # frozen layers of an encoder
    warnings.filterwarnings("ignore", r".*smaller than the logging interval.*")  # epochs are logged, too
    warnings.filterwarnings("ignore", r".*`srun` command is available.*")  # a run on a login node is meant
    warnings.filterwarnings("ignore", module=r"torch\._inductor\..*")  # advice of torch.compile about the GPU
    warnings.filterwarnings("ignore", r".*Detected call of `lr_scheduler.*")  # 16-mixed skips a step


def announce(settings: Train, run: RunFolder) -> None:
    """Print the run folder, and the commands that show the curves."""
    print(f"Run folder: {short(run.path)}")
    for command in watch_commands(settings, run.path):
        print(f"Watch the curves: {' '.join(command)}")


def read_splits(settings: Train) -> Splits:
    """Read the corpus: its features, or its waveforms if features are computed in every step.

    Raises:
        SerError: The files cannot be used.
    """
    check_needed(settings)
    check_frames(settings)
    check_encoder_input(settings)
    target = example_target(settings.target)
    check_target(settings, target)
    logged = logged_names(target)
    for monitor in monitors(settings):
        names = logged if monitor.mode else [name for name in logged if name.endswith("loss")]
        check_monitor(monitor.name, names, key=monitor.key("monitor"))
    corpus = build_corpus(settings, target)
    if settings.waveform_augment:
        splits: Splits = replace(corpus.splits(waveforms_of(settings)), hold_waveforms=True)
    else:
        splits = corpus.splits(settings.features)
    splits = group_splits(compare_splits(splits), settings.head)
    if not settings.has_validation:
        remarks = [*splits.facts.remarks, NO_VALIDATION]
        splits = replace(splits, facts=replace(splits.facts, remarks=remarks))
    if not splits.hold_waveforms:
        return normalize_splits(splits, settings.frontend)
    if uses_speaker_normalization(settings.frontend):
        raise ConfigError(
            f"frontend.normalize={settings.frontend['normalize']}: features that are computed in every step, as with "
            "waveform_augment, have no statistics of a speaker or corpus. Use frontend.normalize=utterance or global."
        )
    return splits


def build_corpus(settings: Train, target: Target) -> Any:
    """Build the corpus of a run; one that can read several label fields gets those of the target."""
    data = settings.data
    if data.get("fields", ()) is None and target.requested_fields:
        data = {**data, "fields": [*target.requested_fields]}
    return build(data, slot="data")


def waveforms_of(settings: Train) -> Spec:
    """Return the spec of raw waveforms, for runs that compute features in every step."""
    rate = build(settings.features, slot="features").sample_rate
    return {"_target_": "ser.features.Waveform", "sample_rate": rate, "normalize": "none"}


def make_data(settings: Train, splits: Splits, *, member: tuple[int, int] | None = None) -> SpeechData:
    """Build the data module of a run.

    Args:
        settings: Settings of the run.
        splits: Splits of its corpus.
        member: Index of the ensemble member and number of members; None for the whole training split.

    Raises:
        SerError: The labels are not those of the target.
    """
    spec = resolve_delay(complete_target(settings.target, splits.stores), splits.stores["train"])
    target: Target = build(spec, slot="target")
    stores = splits.stores
    if target.delay_s:
        assert target.delay_s != "estimate"
        if settings.batching.overfit is not None:
            raise ConfigError(
                f"target.delay_s={target.delay_s:g}: moves the labels of train, which batching.overfit also scores. "
                "Set target.delay_s=0"
            )
        stores = {**stores, "train": compensate_store(stores["train"], target.delay_s)}
        remark = f"Labels of train are moved back by {target.delay_s:g} s, predictions forth by as much."
        splits = replace(splits, facts=replace(splits.facts, remarks=[*splits.facts.remarks, remark]))
    if splits.hold_waveforms and target.resolution == "frame":
        raise ConfigError(
            f"target={option_of('target', type(target))}: this data is stored as waveforms, whose features are "
            "computed in every step, but silence is detected once. Use recordings: data=folder, data=manifest or a "
            "corpus."
        )
    if splits.hold_waveforms and settings.batching.cut_frames is not None:
        raise ConfigError(
            "batching.cut_frames: this data is stored as waveforms, whose features are computed in every step. "
            "Set batching.cut_frames=null and, to train on segments, set batching.crop_frames."
        )
    extractor = build(settings.features, slot="features")
    step_s = 1 / extractor.sample_rate if splits.hold_waveforms else extractor.frame_shift_s
    data = SpeechData(
        stores,
        target,
        settings.batching,
        seed=settings.seed,
        member=member,
        extractor=extractor if splits.hold_waveforms else None,
        holds_waveforms=splits.hold_waveforms or extractor.is_waveform,
        steps_per_frame=round(extractor.batching_frame_s / step_s),
    )
    is_overfit = settings.batching.overfit is not None  # then validation holds training utterances, too
    sources = {name: "train" if is_overfit else name for name in data.datasets}
    if settings.resume is not None and member is None:
        check_same_data(data, RunFolder(Path(settings.resume)))
    speech = {
        name: _size_of_part(splits, source, data.datasets[name].store)
        for name, source in sources.items()
        if source in splits.facts.speech
    }
    data.facts = replace(splits.facts, speech=speech, target=spec)
    known = {name: splits.manifests[source] for name, source in sources.items() if source in splits.manifests}
    data.manifests = known
    for column in ("speaker", "corpus"):
        named = {
            name: {each.id: getattr(each, column) for each in manifest if getattr(each, column) is not None}
            for name, manifest in known.items()
        }
        setattr(data, {"speaker": "speakers", "corpus": "corpora"}[column], named)
    if settings.init is not None:
        add_inherited(data, settings)
    return data


def add_inherited(data: SpeechData, settings: Train) -> None:
    """Add the utterances on which the run was trained that `init=` names, and warnings about those of other splits.

    A resumed run has them in its own folder.
    """
    assert settings.init is not None
    if settings.resume is None:
        data.inherited = inherited_rows(settings.init)
    else:
        data.inherited = [row for row in read_rows(Path(settings.resume)) if row[0] == INHERITED]
    stores = {name: dataset.store for name, dataset in data.datasets.items()}
    stamps = describe_inherited(
        data.inherited, settings.init, stores, data.speakers, data=settings.data, named=data.manifests
    )
    data.facts = replace(data.facts, stamps=[*data.facts.stamps, *stamps])


def _size_of_part(splits: Splits, split: str, part: Store) -> SpeechSize:
    """Count the speakers and minutes of a split after the target has left out classes."""
    size = splits.facts.speech[split]
    share = float(part.lengths.sum()) / float(splits.stores[split].lengths.sum())
    if share == 1:
        return size
    kept = {*part.ids, *(str(name).rpartition("#")[0] for name in part.ids)}  # cut ones are `<id>#<number>`
    speakers = {utterance.speaker for utterance in splits.manifests[split] if utterance.id in kept}
    assert size.minutes is not None
    return SpeechSize(None if None in speakers else len(speakers), round(size.minutes * share, 2))


def example_target(spec: Spec) -> Target:
    """Build a target before the data is read; the names that it logs do not depend on open settings."""
    target: Target = build(find_class(spec, slot="target").example(spec), slot="target")
    return target


def check_target(settings: Train, target: Target) -> None:
    """Refuse settings that do not fit the target.

    Raises:
        ConfigError: A setting does not fit; the message names the first one.
    """
    target.check_loss(build(settings.loss, slot="loss"), mixup=bool(settings.augment.get("mixup")))
    if target.class_names:
        return
    balance = settings.batching.balance
    needs_classes = {
        f"batching.balance={balance}": (balance not in ("none", "corpora"), "batching.balance=none"),
        f"ensemble={settings.ensemble}": (settings.ensemble is not None, "ensemble=null"),
        "callbacks.output_space": (
            bool(settings.callbacks.get("output_space")),
            "callbacks.output_space=null",
        ),
    }
    for setting_name, (is_set, remedy) in needs_classes.items():
        if is_set:
            raise ConfigError(f"{setting_name}: needs a target that predicts classes only. Set {remedy}.")


def logged_names(target: Target) -> list[str]:
    """Return the names that can be monitored: scores of the validation split, and losses."""
    names = [name for name in target.metrics().names if not name.endswith("majority_floor")]
    accuracies = [f"train/{name}" for name in target.accuracy_names]
    return [*(f"validation/{name}" for name in names), "validation/loss", "train/loss", *accuracies]


def make_task(settings: Train, data: SpeechData) -> Task:
    """Build model, loss and augmentation, and fit the normaliser to the training split."""
    extractor: Extractor = build(settings.features, slot="features")
    config = {**settings.config, "target": data.facts.target or settings.target}
    config["model"] = find_class(settings.model, slot="model").complete(settings.model, extractor)
    config["features"] = dict(extractor.portable(settings.features))
    description = checkpoint.describe(config, feature_dim=data.feature_dim, words=data.facts.words)
    model, target = checkpoint.assemble(description)
    description["model"] = dict(model.encoder.portable(description["model"]))
    if frozen := extractor.frozen_weights():
        description["frozen"] = dict(frozen)
    init = settings.init
    if init is not None and settings.resume is None:
        processes = ranks.current_ranks()
        processes.run_first(lambda: print(initialize(model, target, description, init)))
        model.load_state_dict(processes.share(model.state_dict()))
    model.frontend.fit(data.train_frames())
    model.encoder.fit(data.train_batches())
    if settings.compile:
        compile_in_place(model)
    return Task(
        model,
        target,
        objective=Objective(target, build(settings.loss, slot="loss"), data.class_counts()),
        augment=build(settings.augment, slot="augment"),
        to_features=make_on_the_fly_features(settings, data),
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        description=description,
        seed=settings.seed,
    )


def compile_in_place(model: nn.Module) -> None:
    """Compile a model without renaming its parameters; lengths stay dynamic.

    Raises:
        ConfigError: It has recurrent layers, for which torch.compile has no effect.
    """
    recurrent = [type(module).__name__ for module in model.modules() if isinstance(module, nn.RNNBase)]
    if recurrent:
        raise ConfigError(
            f"compile=true: torch.compile skips {recurrent[0]} layers, so it would have no effect. "
            "Use compile=false, or model=cnn or model=transformer."
        )
    model.compile(dynamic=True, options=COMPILE_OPTIONS)


def make_on_the_fly_features(settings: Train, data: SpeechData) -> OnTheFlyFeatures:
    """Build the feature extraction of training steps: waveforms are augmented and extracted, features unchanged."""
    augment = settings.waveform_augment
    return OnTheFlyFeatures(data.extractor, build(augment, slot="waveform_augment") if augment else None)


def record(settings: Train, run: RunFolder, data: SpeechData) -> None:
    """Print the table of splits, and write config.yaml, splits.json, utterances.csv and environment.json."""
    summaries = data.summaries()
    console = Console()
    console.print(summary.table(summaries))
    for remark in data.facts.remarks:
        console.print(remark, soft_wrap=True, highlight=False)
    fingerprints = {name: dataset.store.fingerprint for name, dataset in data.datasets.items()}
    write_atomic(run.config, yaml.safe_dump(dict(settings.config), sort_keys=False))
    splits = {"splits": [split.to_dict() for split in summaries], **data.facts.to_dict()}
    write_atomic(run.path / "splits.json", json.dumps(splits, indent=2) + "\n")
    stores = {name: dataset.store for name, dataset in data.datasets.items()}
    write_utterances(run.path, stores, data.speakers, data.inherited)
    environment.Environment(
        command=environment.typed_line(),
        seed=settings.seed,
        data=fingerprints,
        overrides=environment.typed_overrides(run.path),
        inputs=environment.hash_inputs(settings.config),
    ).write(run.path)
