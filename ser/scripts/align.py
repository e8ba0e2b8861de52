"""Align recordings with their transcripts: when is each word spoken?

ser align audio=a.wav transcript=a.txt language=en output=words.csv
ser align audio=DIR transcript=DIR language=de output=words
"""

from pathlib import Path

from ser.config.main import main
from ser.config.settings import Align
from ser.errors import DataError


@main("align", existing_paths=["audio", "transcript"])
def align(settings: Align) -> None:
    """Write the words of each recording with their times, and print how they were aligned."""
    from rich.console import Console  # torch takes 1.4 s: first the config must be right
    from rich.progress import Progress

    from ser.alignment import recordings, rows

    audio, text = Path(settings.audio), Path(settings.transcript)
    default = f"words_{audio.name}" if audio.is_dir() else f"words_{audio.stem}.csv"
    pairs = recordings.pair_recordings(audio, text, Path(settings.output or default))
    if not settings.overwrite:
        recordings.refuse_existing(pairs)
    aligners = [] if settings.method == "given" else rows.make_aligners(settings.method, settings.language)
    language = settings.language or ("en" if settings.method == "pocketsphinx" else None)
    summary = recordings.Summary()
    with Progress(console=Console(stderr=True)) as progress:
        for pair in progress.track(pairs, description="Aligning"):
            try:
                recordings.align_recording(pair, aligners, summary, language=language, layout=settings.layout)
            except DataError as error:
                if settings.on_error == "raise":
                    raise
                summary.skipped.append(str(error))
    if not summary.recordings:
        raise DataError(f"{audio}: no recording could be aligned. The first one: {summary.skipped[0]}")
    print(*summary.lines(), sep="\n")
    unknown = filter(None, (aligner.describe_unknown_words() for aligner in aligners))
    print(*unknown, f"Word times: {settings.output or default}", sep="\n")
