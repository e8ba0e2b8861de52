"""Write a model as a folder that needs neither this project nor torch, or an encoder alone as model.safetensors.

ser export ckpt=RUN output=DIR
"""

from pathlib import Path
from typing import Any

from ser.config.main import main
from ser.config.settings import Export
from ser.errors import program, shell_word


@main("export")
def export(settings: Export) -> None:
    """Write the folder, and print what is in it."""
    from ser.checkpoints import checkpoint  # torch takes 1.4 s: first the config must be right

    output = Path(settings.output)
    if settings.format == "encoder":
        from ser.export.encoder import find_checkpoint, write_encoder_of

        source = find_checkpoint(settings.ckpt)
        files = write_encoder_of(source, output, overwrite=settings.overwrite)
        print(f"{output}: written; the encoder of {source} is in {', '.join(files)}.")
        return
    from ser.export.bundle import write_bundle

    found = checkpoint.find_one(settings.ckpt, "ckpt")
    bundle = write_bundle(
        found, output, takes=settings.takes, quantize=settings.quantize, overwrite=settings.overwrite
    )
    print(*describe_bundle(output, bundle), sep="\n")


def describe_bundle(output: Path, bundle: Any) -> list[str]:
    """Return the lines for the console: files with their sizes, differences, and the command that tries the folder."""
    files = ", ".join(f"{name} ({_size(size)})" for name, size in bundle.sizes.items())
    lines = [
        f"{output}: written: {files}.",
        f"onnxruntime differs from torch by {bundle.onnx['largest_difference']:.1e} at most.",
    ]
    if "int8_difference" in bundle.onnx:
        lines.append(
            f"Answers of the weights of 8 bits differ by {bundle.onnx['int8_difference']:.1e} at most, on noise."
        )
    example = "speech.wav" if bundle.onnx["reads_recordings"] else "frames.json"
    command = f"{program('python')} {shell_word(str(output / 'predict.py'))} {example}"
    return [*lines, *bundle.remarks, f"Try it: {command}"]


def _size(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1e4 else f"{size / 1e3:.1f} kB"
