"""A user's own classes, as docs/extending.md writes them: code outside of ser, named in a config."""

import re
import wave
from pathlib import Path

import numpy as np
import pytest

from ser.errors import ConfigError, DataError
from tests.commands import run
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "extending.md").read_text()
TINY = (
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "trainer.enable_progress_bar=false",
    "trainer.accelerator=cpu",
    "hydra.run.dir=run",
)


def blocks(language: str) -> list[str]:
    return [block.split("```")[0] for block in PAGE.split(f"```{language}\n")[1:]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the code of the page, and a few recordings of noise."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mypackage.py").write_text("\n\n".join(blocks("python")))
    for block in blocks("yaml"):
        path = folder / re.match(r"# (\S+)\n", block)[1]  # type: ignore[index]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.split("\n", 1)[1])
    random = np.random.default_rng(0)
    (folder / "audio").mkdir()
    for speaker in range(6):
        for number, emotion in enumerate(("anger", "sadness") * 2):
            name = folder / "audio" / f"s{speaker}_1_{emotion}_{number}.wav"
            samples = random.normal(0, 3000, 8000 + 800 * number).astype("<i2")
            with wave.open(str(name), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(16000)
                file.writeframes(samples.tobytes())
    return folder


@pytest.mark.parametrize("block", blocks("python"))
def test_each_example_is_short(block: str) -> None:
    code = block[block.index("class ") :].rstrip()
    assert block.startswith("# mypackage.py\n")
    assert code.count("\n") < 20


def test_own_classes_train_and_are_loaded_where_they_are_trusted(folder: Path) -> None:
    own = ["model=tcn", "loss=squared", "target=angry", "features=cube_root", "augment=none"]
    words = ["--config-dir", "conf", "data=interviews", "data.root=audio", *own]
    done = run("train.py", *words, "+callbacks.bell._target_=mypackage.Bell", *TINY, cwd=folder)
    assert "The training has ended." in done.stdout
    predict = ["ckpt=run", "input=audio", "output=answers.csv"]
    refused = run("predict.py", *predict, cwd=folder, code=1)
    assert "code of 'mypackage', not of ser" in refused.stderr
    assert refused.stderr.endswith("If you trust it, add 'trust=[mypackage]'.\n")
    run("predict.py", *predict, "trust=[mypackage]", cwd=folder)
    assert (folder / "answers.csv").read_text().count("\n") == 25
    (folder / "elsewhere").mkdir()
    away = ["ckpt=../run", "input=../audio", "output=answers.csv", "trust=[mypackage]"]
    assert (
        "module 'mypackage' cannot be imported"
        in run("predict.py", *away, cwd=folder / "elsewhere", code=1).stderr
    )
    assert "code of 'mypackage'" in run("train.py", "resume=run", cwd=folder, code=1).stderr
    run("train.py", "--config-dir", "conf", "resume=run", "trust=[mypackage]", cwd=folder)


MINE = """
# @package _global_
defaults:
  - base/recordings
  - override /target: classes
  - override /features: log_mel
data:
  _target_: ser.corpora.PatternCorpus
  root: audio
  pattern: '(?P<speaker>..)_._(?P<emotion>[a-z]+)_.*'
  label: emotion
"""
CAUSAL_CONFIG = """
# @package _global_
defaults: [causal_cnn, _self_]
model: {_target_: own_causal.Own}
"""
CAUSAL = """
from ser.models import CausalCNNEncoder

class Own(CausalCNNEncoder):
    pass
"""


def test_printed_commands_trust_the_package_of_an_own_model(folder: Path) -> None:
    (folder / "own_causal.py").write_text(CAUSAL)
    (folder / "conf" / "model" / "own_causal.yaml").write_text(CAUSAL_CONFIG)
    words = ["data=pattern", "data.root=audio", "data.pattern='(?P<speaker>..)_._(?P<emotion>[a-z]+)_.*'"]
    model = ["--config-dir", "conf", "model=own_causal", "pooling=mean", "frontend.delta_scale=0"]
    place = ["hydra.run.dir=causal", *TINY[:-1]]
    told = run("train.py", *words, *model, "features=log_mel", *place, cwd=folder).stdout
    ckpt = "ckpt=causal/checkpoints/best.ckpt"
    joined = re.sub(r"\s*\\\\\n\s*", " ", told)
    assert f"{ckpt} 'trust=[own_causal]' input=FILE" in joined
    trust = "trust=[own_causal]"
    assert "code of 'own_causal'" in run("ser", "export", ckpt, "output=onnx", cwd=folder, code=1).stderr
    run("ser", "export", ckpt, "output=onnx", trust, cwd=folder)
    assert (folder / "onnx" / "step.onnx").is_file()
    (folder / "conf" / "data" / "mine.yaml").write_text(MINE)
    embed = ["extractor=checkpoint", f"extractor.{ckpt}", "corpora=[mine]", "corpora_root=.", "split=honest"]
    quick = ["classifiers=[lda]", "grid=false", "jobs=1", "hydra.run.dir=serab", "--config-dir", "conf"]
    assert "code of 'own_causal'" in run("ser", "serab", *embed, *quick, cwd=folder, code=1).stderr
    run("ser", "serab", *embed, *quick, trust, cwd=folder)
    assert (folder / "serab" / "results.json").is_file()


def test_mistakes_in_own_settings_are_found_as_in_ours(folder: Path) -> None:
    (folder / "broken.py").write_text("import nowhere_at_all\n")
    (folder / "wrong.py").write_text("class NoEncoder:\n    pass\n")
    words = ["--config-dir", "conf", "data=interviews", "data.root=audio", "model=tcn"]
    mistakes = {
        "model.chanels=3": "unknown key. Did you mean 'model.channels'?",
        "model.channels=many": "expected int (default 64), found a text.",
        "+callbacks.a._target_=broken.Bell": "module 'broken' cannot be imported (ModuleNotFoundError: No module",
        "+callbacks.b._target_=mypackage.Bel": "no class or function 'Bel' in mypackage. Did you mean 'Bell'?",
        "+callbacks.c._target_=wrong.NoEncoder": "is not a callback, which belongs here.",
        "loss=sqared": "no such option. Did you mean 'squared'?",
    }
    done = run("train.py", *words, *mistakes, *TINY, cwd=folder, code=1)
    assert done.stderr.startswith(f"{len(mistakes)} problems in the configuration:")
    for typed, message in mistakes.items():
        assert f"{typed.lstrip('+')}: {message}" in done.stderr


def test_an_encoder_without_a_width_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ser.config.instantiate import build
    from ser.config.slots import trust

    (tmp_path / "widthless.py").write_text(
        "from ser.models import Encoder\nfrom ser.targets import Target\n"
        "class Lacking(Encoder):\n"
        "    def __init__(self, in_dim: int, in_channels: int) -> None:\n        super().__init__()\n"
        "    def forward(self, audio):\n        return audio\n"
        "class Half(Target):\n    out_dim = 1\n"
    )
    monkeypatch.chdir(tmp_path)
    trust(["widthless"])
    with pytest.raises(
        ConfigError, match=r"model\._target_=widthless\.Lacking: has no out_dim, which an encoder"
    ):
        build({"_target_": "widthless.Lacking"}, slot="model", in_dim=1, in_channels=1)
    lacking = r"target\._target_=widthless\.Half: has no describe, encode, .* Write in Half: describe\(self, answer\), "
    with pytest.raises(ConfigError, match=lacking):
        build({"_target_": "widthless.Half"}, slot="target")


def test_a_pattern_reads_speakers_and_labels_from_names(folder: Path) -> None:
    pattern = re.search(r"data\.pattern='([^']+)'", PAGE)[1]  # type: ignore[index]
    (folder / "audio" / "readme_of_all.wav").write_bytes((folder / "audio" / "s0_1_anger_0.wav").read_bytes())
    words = ["data=pattern", "data.root=audio", f"data.pattern={pattern}"]
    done = run("ser", "describe", *words, cwd=folder)
    (folder / "audio" / "readme_of_all.wav").unlink()
    assert "1 of 25 recordings are left out" in done.stdout + done.stderr
    assert "readme_of_all" in done.stdout + done.stderr
    assert "anger" in done.stdout


@pytest.mark.parametrize(
    ("pattern", "error", "words"),
    [
        ("(?P<speaker>..)_.*", ConfigError, r"has no group 'emotion'.*its groups: speaker"),
        ("(?P<emotion>", ConfigError, r"is not a regular expression"),
        ("(?P<emotion>x+)", DataError, r"matches none of 24 recordings"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused(
    folder: Path, pattern: str, error: type[Exception], words: str
) -> None:
    from ser.corpora import PatternCorpus
    from ser.splits import RandomSplit

    with pytest.raises(error, match=words):
        PatternCorpus(
            str(folder / "audio"), pattern=pattern, split=RandomSplit(), label="emotion"
        ).utterances()
