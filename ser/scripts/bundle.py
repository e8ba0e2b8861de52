"""Write a model that can stream as step.onnx and meta.json.

python -m ser.scripts.bundle ckpt=RUN output=stream_bundle
"""

from pathlib import Path
from typing import Any

from ser.config.main import main


@main("bundle")
def bundle(config: dict[str, Any]) -> None:
    """Write the bundle, and say how far onnxruntime's answers are from torch's."""
    from ser.export.write import write
    from ser.inference import checkpoint  # torch takes 1.4 s: first the config must be right

    found = checkpoint.find_one(config["ckpt"], "ckpt")
    output = Path(config["output"])
    difference = write(checkpoint.load(found), output, overwrite=config["overwrite"])
    print(f"{output}: written; onnxruntime differs from torch by {difference:.1e} at most.")


if __name__ == "__main__":
    bundle()
