"""Write a model that can stream as step.onnx and meta.json.

ser export ckpt=RUN output=DIR
"""

from pathlib import Path
from typing import Any

from ser.config.main import main


@main("export")
def export(config: dict[str, Any]) -> None:
    """Write the folder, and print by how much the answers of onnxruntime differ from those of torch."""
    from ser.export.write import write
    from ser.inference import checkpoint  # torch takes 1.4 s: first the config must be right

    found = checkpoint.find_one(config["ckpt"], "ckpt")
    output = Path(config["output"])
    difference = write(checkpoint.load(found), output, overwrite=config["overwrite"])
    print(f"{output}: written; onnxruntime differs from torch by {difference:.1e} at most.")
