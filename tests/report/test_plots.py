import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from ser.errors import DataError
from ser.report import figures, model_summary, plots, sound_plots, stream_plot
from ser.report.palette import PALETTE
from ser.splits.assignment import SPLITS
from ser.targets.quadrants import QUADRANTS

COUNTS = np.array([[812, 120, 30, 2], [60, 2500, 14, 400], [200, 100, 300, 80], [0, 0, 0, 0]])
CLASSES = {
    "train": {"sadness": 16, "anger": 41, "pleasure": 13, "joy": 30},
    "test": {"sadness": 2, "anger": 5, "pleasure": 1, "joy": 2},
}
CURVES = {
    "train/loss": {1: 1.3, 2: 1.0, 3: 0.8},
    "validation/loss": {1: 1.2, 2: 1.1, 3: 1.15},
    "validation/accuracy": {1: 0.4, 2: 0.6, 3: 0.55},
    "train/padding_ratio": {1: 1.04, 2: 1.04, 3: 1.04},
}


def lengths(count: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).lognormal(5.2, 0.6, count)
    return np.clip(drawn, 30, 1707).astype(np.int64)


def losses(points: int) -> np.ndarray:
    steps = np.arange(1, points + 1) * 10.0
    noise = np.random.default_rng(0).normal(0, 0.1, points)
    return np.stack([steps, 2 * np.exp(-steps / 500) + noise, 2 * np.exp(-steps / 600)], 1)


def scattered(classes: int, *, on_a_line: bool = False) -> Figure:
    drawn = np.random.default_rng(0).integers(0, classes, 200)
    angles = 2 * np.pi * drawn / classes
    points = np.random.default_rng(1).normal(size=(200, 2)) + 5 * np.stack(
        [np.cos(angles), np.sin(angles)], 1
    )
    points[:, 1] *= not on_a_line
    names = [f"language {index}" for index in range(classes)]
    return plots.output_space(
        points, drawn, names, shares=(0.6124, 0.2), title="Logits of test: 200 utterances"
    )


def streamed(classes: int, word: str = "emotion") -> Figure:
    scores = np.random.default_rng(0).dirichlet(np.ones(classes), 300)
    running = np.cumsum(scores, 0) / np.arange(1, 301)[:, None]
    names = [f"{word} {index}" for index in range(classes)]
    silence = np.arange(300) % 100 > 80
    return stream_plot.probabilities(
        np.arange(300) * 0.01, scores, running, silence, class_names=names, title="call.wav"
    )


BOXES = [
    ("input", "", "[24,000, 1]", ""),
    ("encoder.stages.0", "Stage: " + ", ".join(["Conv1d 80 / 16"] * 12), "[375, 32]", "2,624 parameters"),
    ("head", "Head: Norm, Linear", "[6]", "396 parameters"),
]


def scatter(fields: int) -> Figure:
    """Prediction against truth of several fields, the last one without labels."""
    truth = np.random.default_rng(0).normal(size=(300, fields))
    predicted = truth / 2
    truth[:, -1] = np.nan
    names = ["arousal", "valence", "dominance", "liking"][:fields]
    ccc = [*[0.5] * (fields - 1), None]
    return plots.scatter(truth, predicted, names, ccc=ccc, title="ravdess: CNNEncoder\ntest: 300 utterances")


def spoken(seconds: float, *, letters: int = 5) -> Figure:
    """Values over time, and two words a second, with tags among them."""
    values = np.random.default_rng(0).normal(size=(round(10 * seconds), 3)).cumsum(0) / 30
    texts = ["w" * letters, "<laughter>", "a$b$"]
    words = [(0.5 * index, 0.5 * index + 0.4, texts[index % 3]) for index in range(int(2 * seconds))]
    others = np.arange(len(values)) % 100 > 80
    names = ["arousal", "valence", "liking"]
    return stream_plot.values_over_time(
        values, names, step_s=0.1, words=words, others=others, title="talk $1 and $2"
    )


FIGURES = {
    "values_over_time": lambda: spoken(19.3),
    "values_of_minutes": lambda: spoken(75.0, letters=16),
    "confusion": lambda: plots.confusion_matrix(COUNTS, QUADRANTS, "test"),
    "many_classes": lambda: plots.confusion_matrix(np.eye(12, dtype=int), ["language"] * 12, "test"),
    "lengths": lambda: plots.length_histogram({"train": lengths(300), "test": lengths(40)}),
    "classes": lambda: plots.class_shares(CLASSES),
    "scatter": lambda: scatter(2),
    "scatter_of_many": lambda: scatter(4),
    "curves": lambda: plots.learning_curves(CURVES, best_epoch=2),
    "recordings": lambda: sound_plots.recordings(
        {"quiet": np.full(9_000, 0.01), "loud": np.linspace(-0.5, 0.5, 40_000)},
        [np.random.default_rng(0).normal(size=(50, 26)), np.zeros((220, 26))],
        sample_rate=16_000,
        unit="ln energy",
        frequencies=[100 + 300.0 * band for band in range(26)],
    ),
    "of_waveforms": lambda: sound_plots.recordings(
        {"quiet": np.full(9_000, 0.01)}, [np.full((9_000, 1), 1.0)], sample_rate=16_000
    ),
    "streaming": lambda: streamed(12),
    "long_names_streaming": lambda: streamed(12, "a_language_with_a_long_name"),
    "heat_map": lambda: figures.heat_map(
        {"validation": np.arange(12).reshape(4, 3) / 11, "test": np.full((4, 3), np.nan)},
        ["LDA", "SVC", "logistic regression", "majority floor"],
        ["ravdess", "emodb4*", "crema_d"],
        title="byol_s",
    ),
    "many_class_shares": lambda: plots.class_shares(
        {name: {f"emotion {index}": 10 + index for index in range(8)} for name in SPLITS}
    ),
    "waveforms": lambda: sound_plots.waveforms(
        {"quiet": np.full(9_000, 0.01), "a/long/path/" * 12 + "loud.wav: en": np.linspace(-0.5, 0.5, 40_000)},
        sample_rate=8_000,
    ),
    "loss_curve": lambda: plots.loss_curve(losses(200), utterances=256),
    "short_loss_curve": lambda: plots.loss_curve(losses(5), utterances=20),
    "output_space": lambda: scattered(6),
    "output_line": lambda: scattered(2, on_a_line=True),
    "many_outputs": lambda: scattered(20),
    "architecture": lambda: model_summary.plot_architecture(BOXES, "WaveformCNNEncoder: 41,732 parameters"),
}


@pytest.fixture(params=FIGURES)
def figure(request: pytest.FixtureRequest) -> Figure:
    return FIGURES[request.param]()


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_no_text_overlaps_another_or_leaves_the_picture(figure: Figure) -> None:
    figures.to_image(figure)
    shown = [text for axes in figure.axes for text in written(axes) if text.get_text()]
    boxes = [text.get_window_extent() for text in shown]
    legends = [shape.get_window_extent() for shape in figure.legends]
    for box in (*boxes, *legends):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    level = [box for text, box in zip(shown, boxes, strict=True) if text.get_rotation() in (0, 90)]
    for index, box in enumerate(level):
        assert not any(box.overlaps(other) for other in level[index + 1 :])


def written(axes: Axes) -> list[Text]:
    """All texts of the axes but the ticks beyond their limits, which exist and are not drawn."""
    columns = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    rows = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    ticks = [label for tick, label in columns if axes.viewLim.x0 <= tick <= axes.viewLim.x1]
    ticks += [label for tick, label in rows if min(axes.get_ylim()) <= tick <= max(axes.get_ylim())]
    return [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label, *ticks]


def test_an_image_is_what_tensorboard_takes(figure: Figure) -> None:
    image = figures.to_image(figure)
    height, width, channels = image.shape
    assert (width, height) == figure.canvas.get_width_height()
    assert channels == 3
    assert image.dtype == np.uint8
    assert image.flags["C_CONTIGUOUS"]
    assert (image[0, 0] == 255).all()
    assert image.min() < 100


def test_a_saved_picture_is_a_png_of_the_same_size(tmp_path: Path) -> None:
    figure = FIGURES["confusion"]()
    figures.save(figure, tmp_path / "confusion.png")
    content = (tmp_path / "confusion.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    assert struct.unpack(">II", content[16:24]) == figure.canvas.get_width_height()
    assert [path.name for path in tmp_path.iterdir()] == ["confusion.png"]


def test_a_picture_without_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere/lengths.png: cannot be written.*Make the folder"):
        figures.save(FIGURES["lengths"](), tmp_path / "nowhere" / "lengths.png")


def test_every_cell_has_its_count_and_its_share_of_the_row() -> None:
    cells = texts(FIGURES["confusion"]())
    assert len(cells) == 16
    assert cells[0] == "812\n84%"
    assert cells[6] == "14\n0%"
    assert cells[7] == "400\n13%"


def test_a_class_that_does_not_occur_has_no_shares() -> None:
    assert texts(FIGURES["confusion"]())[12:] == ["0"] * 4


def test_an_absent_class_is_marked_beside_its_grey_row() -> None:
    axes = FIGURES["confusion"]().axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["sadness", "anger", "pleasure", "joy\n(absent)"]
    (grey,) = axes.patches
    assert (grey.get_y(), grey.get_height()) == (2.5, 1)


def test_the_confusion_picture_names_accuracy_and_uar() -> None:
    right = (812 + 2500 + 300) / COUNTS.sum()
    recalls = [812 / 964, 2500 / 2974, 300 / 680]
    title = FIGURES["confusion"]().axes[0].get_title()
    assert title == f"test\naccuracy {right:.1%}, UAR {np.mean(recalls):.1%}"
    nothing = plots.confusion_matrix(np.zeros((2, 2), int), "ab", "test").axes[0]
    assert nothing.get_title() == "test\nnothing to score"


def shades_of_confusion() -> Axes:
    shares = np.arange(20) * 5
    counts = np.diag(shares) + np.roll(np.diag(100 - shares), 1, axis=1)
    return plots.confusion_matrix(counts, ["name"] * 20, "test").axes[0]


def shades_of_heat_map() -> Axes:
    cells = np.linspace(0, 1, 24).reshape(4, 6)
    return figures.heat_map({"test": cells}, [*"abcd"], [*"efghij"], title="").axes[0]


@pytest.mark.parametrize("draw", [shades_of_confusion, shades_of_heat_map])
def test_text_can_be_read_on_every_shade(draw: Callable[[], Axes]) -> None:
    axes = draw()
    image = axes.images[0]
    for text, share in zip(axes.texts, np.asarray(image.get_array()).flat, strict=True):
        paper, ink = luminance(image.cmap(image.norm(share))), luminance(to_rgb(text.get_color()))
        contrast = (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05)
        assert contrast >= 7  # what WCAG 2 asks of small text at its stricter level, AAA


def luminance(color: tuple[float, ...]) -> float:
    """Relative luminance of sRGB as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_shares_of_lengths_add_up_to_one_in_every_split() -> None:
    figure = plots.length_histogram({"train": lengths(7800), "test": lengths(229, seed=1)})
    for stairs in figure.axes[0].patches:
        assert stairs.get_data().values.sum() == pytest.approx(1)


def test_short_lengths_leave_no_comb_of_empty_bins() -> None:
    figure = plots.length_histogram({"train": np.arange(1, 13).repeat(5)})
    assert (figure.axes[0].patches[0].get_data().values > 0).all()


def test_one_length_can_be_shown() -> None:
    figure = plots.length_histogram({"train": np.array([7, 7])})
    assert figure.axes[0].patches[0].get_data().values.tolist() == [1]


def test_class_shares_compare_splits_of_different_size() -> None:
    figure = FIGURES["classes"]()
    assert texts(figure) == ["16%", "41%", "13%", "30%", "20%", "50%", "10%", "20%"]
    assert legend(figure)[0] == "train: 100 utterances, majority floor 41.0% (dashed)"
    assert [line.get_ydata()[0] for line in figure.axes[0].lines] == [0.41, 0.5]


def test_a_split_has_the_same_colour_in_every_picture() -> None:
    in_bars = to_hex(FIGURES["classes"]().axes[0].patches[4].get_facecolor())
    in_stairs = to_hex(FIGURES["lengths"]().axes[0].patches[1].get_edgecolor())
    assert in_bars == in_stairs == PALETTE[2].lower()


def test_other_splits_never_take_the_colours_of_the_known_ones() -> None:
    figure = plots.length_histogram({name: np.array([5]) for name in ("test_1", "train", "test_2")})
    colors = [to_hex(stairs.get_edgecolor()) for stairs in figure.axes[0].patches]
    assert colors == [PALETTE[index].lower() for index in (3, 0, 4)]


def test_a_scatter_has_the_labelled_points_and_the_ccc_of_each_field() -> None:
    first, last = scatter(2).axes
    points = first.collections[0].get_offsets()
    assert len(points) == 300
    np.testing.assert_allclose(points[:, 1], points[:, 0] / 2)
    assert (first.get_title(), last.get_title()) == ("arousal: CCC 0.50", "valence: no labels")
    assert not last.collections


def test_curves_show_the_values_and_the_best_epoch() -> None:
    figure = FIGURES["curves"]()
    loss, accuracy = figure.axes
    assert loss.lines[1].get_xydata().tolist() == [[1, 1.2], [2, 1.1], [3, 1.15]]
    assert [line.get_label() for line in loss.lines] == ["train", "validation", "best epoch"]
    assert [line.get_label() for line in accuracy.lines] == ["validation", "best epoch"]
    assert list(loss.lines[2].get_xdata()) == [2, 2]


def test_a_single_epoch_can_be_seen() -> None:
    figure = plots.learning_curves({"train/loss": {1: 0.7}})
    assert figure.axes[0].lines[0].get_marker() == "o"


def test_pictures_are_drawn_without_global_state() -> None:
    code = (
        "import sys, numpy; from ser.report import figures, plots; assert 'matplotlib' not in sys.modules;"
        "figures.to_image(plots.length_histogram({'train': numpy.array([5, 6])}));"
        "print('matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["True", "False"]


def test_waveforms_share_one_axis_so_that_loudness_can_be_compared() -> None:
    quiet, _, loud, _, _ = FIGURES["recordings"]().axes
    assert quiet.get_ylim() == loud.get_ylim() == (-0.5, 0.5)
    assert loud.get_xlim()[1] == pytest.approx(2.5)


def test_features_have_hertz_and_a_colour_bar_with_their_unit() -> None:
    *_, loud, features, bar = FIGURES["recordings"]().axes
    assert loud.get_ylabel() == "amplitude"
    assert features.get_ylabel() == "Hz"
    assert [label.get_text() for label in features.get_yticklabels()] == ["100", "2,500", "5,200", "7,600"]
    assert bar.get_ylabel() == "ln energy"


def test_features_of_all_recordings_share_one_scale_of_colours() -> None:
    _, first, _, second, _ = FIGURES["recordings"]().axes
    assert first.images[0].get_clim() == second.images[0].get_clim()


def test_no_dash_is_bold_where_a_column_has_no_accuracy() -> None:
    texts = FIGURES["heat_map"]().axes[1].texts
    assert {(text.get_text(), text.get_fontweight()) for text in texts} == {("-", "normal")}


def test_ticks_in_percent_are_what_they_say() -> None:
    figure = FIGURES["curves"]()
    figures.to_image(figure)
    axes = figure.axes[1]
    for tick, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
        assert float(label.get_text().rstrip("%")) / 100 == pytest.approx(tick, abs=1e-9)


def test_waveforms_below_each_other_share_both_axes() -> None:
    quiet, loud = FIGURES["waveforms"]().axes
    assert quiet.get_ylim() == loud.get_ylim() == (-0.5, 0.5)
    assert quiet.get_xlim() == loud.get_xlim() == (0, 5)
    assert quiet.lines[0].get_xdata()[-1] == pytest.approx(9_000 / 8_000, abs=1e-3)
    assert quiet.get_title() == "quiet"
    assert loud.get_title().endswith("/loud.wav: en")


def test_a_loss_curve_is_smoothed_without_a_shift() -> None:
    points = losses(200)
    raw, smooth, validation = plots.loss_curve(points, utterances=256).axes[0].lines
    assert raw.get_xydata().tolist() == points[:, :2].tolist()
    assert validation.get_xydata().tolist() == points[:, ::2].tolist()
    assert smooth.get_ydata()[100] == pytest.approx(points[95:106, 1].mean())
    assert smooth.get_ydata()[0] == pytest.approx(points[:6, 1].mean())
    assert legend(FIGURES["loss_curve"]()) == ["train", "train, mean of 11 points", "validation"]
    assert raw.get_color() == smooth.get_color() != validation.get_color()


def test_a_short_loss_curve_is_not_smoothed_and_a_single_point_can_be_seen() -> None:
    assert legend(FIGURES["short_loss_curve"]()) == ["train", "validation"]
    assert {line.get_marker() for line in plots.loss_curve(losses(1), utterances=1).axes[0].lines} == {"o"}


def test_a_loss_that_is_no_number_leaves_a_gap() -> None:
    points = losses(60)
    points[30:, 1:] = np.nan
    figures.to_image(plots.loss_curve(points, utterances=1))


def test_the_output_space_has_all_points_and_tells_the_variance() -> None:
    figure = FIGURES["output_space"]()
    assert len(figure.axes[0].collections[0].get_offsets()) == 200
    assert figure.axes[0].get_title().endswith("PC1 61.2%, PC2 20.0%")
    assert legend(figure) == [f"language {index}" for index in range(6)]


def test_a_point_has_the_colour_of_its_class() -> None:
    points = np.arange(12.0).reshape(6, 2)
    classes = np.array([0, 1, 2, 0, 1, 2])
    axes = plots.output_space(points, classes, "abc", shares=(1, 0), title="test").axes[0]
    drawn = axes.collections[0]
    for place, color in zip(drawn.get_offsets(), drawn.get_facecolors(), strict=True):
        assert to_hex(color) == PALETTE[classes[int(place[0]) // 2]].lower()


def test_more_classes_than_the_palette_has_still_differ() -> None:
    shown = FIGURES["many_outputs"]().axes[0].lines
    assert len({(line.get_color(), line.get_marker()) for line in shown}) == 20


def test_a_stream_of_twelve_classes_has_as_many_colours() -> None:
    frames, decision = streamed(12).axes
    bold = [line.get_color() for line in frames.lines if line.get_label().startswith("emotion")]
    assert len(set(bold)) == 12
    assert [line.get_color() for line in decision.lines] == bold


def test_on_a_line_each_class_is_spread_over_its_own_whole() -> None:
    stairs = FIGURES["output_line"]().axes[0].patches
    assert [patch.get_data().values.sum() for patch in stairs] == pytest.approx([1, 1])


def test_boxes_stand_in_the_order_of_the_data_with_arrows_between() -> None:
    axes = FIGURES["architecture"]().axes[0]
    assert len(axes.patches) == len(BOXES)
    names = [text for text in axes.texts if text.get_fontweight() == "bold"]
    heights = [axes.transData.transform(text.get_position())[1] for text in names]
    assert [text.get_text() for text in names] == [box[0] for box in BOXES]
    assert heights == sorted(heights, reverse=True)
    assert sum(getattr(text, "arrow_patch", None) is not None for text in axes.texts) == len(BOXES) - 1


def test_words_that_do_not_fit_are_counted() -> None:
    short, long = spoken(75.0), spoken(75.0, letters=40)
    assert short.axes[0].get_title() == "talk $1 and $2"
    assert sum(len(axes.texts) for axes in short.axes) == 150
    left_out = 150 - sum(len(axes.texts) for axes in long.axes)
    assert 0 < left_out < 75
    assert long.axes[0].get_title() == f"talk $1 and $2 ({left_out} of 150 words do not fit)"


def test_words_of_an_hour_are_not_shown_in_part() -> None:
    figure = spoken(3600.0)
    assert [len(axes.texts) for axes in figure.axes] == [0] * 12  # rows of 5 minutes
    assert figure.axes[0].get_title() == "talk $1 and $2 (7200 words, too many to be shown)"


@pytest.mark.parametrize(("seconds", "rows"), [(0.3, 1), (30.0, 1), (30.1, 2), (600.0, 20), (601.0, 11)])
def test_long_recordings_have_longer_rows(seconds: float, rows: int) -> None:
    figure = spoken(seconds)
    assert len(figure.axes) == rows
    ends = [axes.get_xlim() for axes in figure.axes]
    assert [end for _, end in ends[:-1]] == [start for start, _ in ends[1:]]
    assert ends[-1][1] >= seconds - 0.1


def test_words_in_a_script_without_a_font_raise_no_warning(tmp_path: Path) -> None:
    figure = stream_plot.values_over_time(
        np.zeros((20, 1)),
        ["arousal"],
        step_s=0.1,
        words=[(0.1, 0.5, "你好")],
        others=np.zeros(20, bool),
        title="x",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.save(figure, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1_000
