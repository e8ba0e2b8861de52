"""Write a model that can stream as step.onnx and meta.json, or an encoder alone as model.safetensors.

ser export ckpt=RUN output=DIR
"""

from pathlib import Path

from ser.config.main import main
from ser.config.settings import Export


@main("export")
def export(settings: Export) -> None:
    """Write the folder; with ONNX, print the largest difference between onnxruntime and torch."""
    from ser.checkpoints import checkpoint  # torch takes 1.4 s: first the config must be right

    output = Path(settings.output)
    if settings.format == "encoder":
        from ser.export.encoder import find_checkpoint, write_encoder_of

        source = find_checkpoint(settings.ckpt)
        files = write_encoder_of(source, output, overwrite=settings.overwrite)
        print(f"{output}: written; the encoder of {source} is in {', '.join(files)}.")
        return
    from ser.export.write import write

    found = checkpoint.find_one(settings.ckpt, "ckpt")
    difference = write(checkpoint.load(found), output, overwrite=settings.overwrite)
    print(f"{output}: written; onnxruntime differs from torch by {difference:.1e} at most.")
