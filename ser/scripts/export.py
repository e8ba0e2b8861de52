"""Write a model that can stream as step.onnx and meta.json.

ser export ckpt=RUN output=DIR
"""

from pathlib import Path

from ser.config.main import main
from ser.config.settings import Export


@main("export")
def export(settings: Export) -> None:
    """Write the folder, and print the largest difference between onnxruntime and torch."""
    from ser.checkpoints import checkpoint  # torch takes 1.4 s: first the config must be right
    from ser.export.write import write

    found = checkpoint.find_one(settings.ckpt, "ckpt")
    output = Path(settings.output)
    difference = write(checkpoint.load(found), output, overwrite=settings.overwrite)
    print(f"{output}: written; onnxruntime differs from torch by {difference:.1e} at most.")
