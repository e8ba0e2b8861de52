"""Serve a trained model: a page to drop a file on or to speak to, POST /predict, and a WebSocket of streams.

ser serve ckpt=RUN
"""

from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ser.config.main import main
from ser.config.settings import Serve, names_of
from ser.errors import ConfigError, MissingPackageError, install_command

if TYPE_CHECKING:
    from ser.server.answers import ServedModel

_PACKAGES = ("starlette", "uvicorn", "websockets", "python_multipart")


@main("serve", existing_paths=["ckpt"])
def serve(settings: Serve) -> None:
    """Open the port, load the model, and serve until Ctrl-C."""
    _check(settings)
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise MissingPackageError(
            f"serve: {', '.join(missing)} is not installed. Run: {install_command('serve')}"
        )
    from ser.server import run
    from ser.server.limits import Limits

    limits = Limits(**{each.name: getattr(settings, each.name) for each in fields(Limits)})
    with run.open_socket(settings.host, settings.port) as listener:
        from ser.inference import api  # torch takes 1.4 s: first the port must be free
        from ser.server.answers import ServedModel
        from ser.server.app import make_app

        predictor = api.load(settings.ckpt, settings.device, calibrate=settings.calibrate)
        model = ServedModel(predictor, limits, window_s=settings.window_s, hop_s=settings.hop_s)
        print(_describe_streams(model), *run.describe_address(listener, settings.host), sep="\n", flush=True)
        run.serve(make_app(model, limits, names_of(settings.names)), listener, limits)


def _check(settings: Serve) -> None:
    """Refuse numbers that are not more than 0, and windows with gaps.

    Raises:
        ConfigError: See above.
    """
    from ser.server.limits import Limits

    for key in ("window_s", "hop_s", *(each.name for each in fields(Limits))):
        if getattr(settings, key) <= 0:
            raise ConfigError(f"{key}={getattr(settings, key):g}: expected more than 0. Give another number.")
    if settings.hop_s > settings.window_s:
        raise ConfigError(
            f"hop_s={settings.hop_s:g}: is more than window_s={settings.window_s:g}, so that some of the sound would "
            f"not be heard. Use hop_s={settings.window_s:g} or less."
        )


def _describe_streams(model: "ServedModel") -> str:
    """Return a line on what becomes of a stream, such as that of a microphone."""
    return {
        "frames": "A stream gets a decision for each frame.",
        "windows": f"A stream gets an answer every {model.hop_s:g} s, to the last {model.window_s:g} s.",
        "curves": "This model takes files, and recordings of a microphone when they have ended, but no streams.",
    }[model.mode]
