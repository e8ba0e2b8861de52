"""Write a model that can stream as step.onnx and meta.json.

python -m ser.bundle ckpt=RUN output=stream_bundle
"""

from pathlib import Path
from typing import Any

from ser.command import main
from ser.errors import ConfigError


@main("bundle")
def bundle(config: dict[str, Any]) -> None:
    """Write the bundle, and say how far onnxruntime's answers are from torch's."""
    from ser import checkpoint  # torch takes 1.4 s: first the config must be right
    from ser.bundle.write import write

    found = checkpoint.find(config["ckpt"])
    if len(found) > 1:
        raise ConfigError(
            f"ckpt={config['ckpt']}: holds {len(found)} models, but a bundle is of one. Give one of its checkpoints, "
            f"such as ckpt={found[0]}"
        )
    output = Path(config["output"])
    difference = write(checkpoint.load(found[0]), output, overwrite=config["overwrite"])
    print(f"{output}: written; onnxruntime differs from torch by {difference:.1e} at most.")


if __name__ == "__main__":
    bundle()
