"""Start and end a process: its standard streams, its exit code, and the text of an error."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ser.errors import SerError
from ser.files import REMEDIES

_LOOK_S = 0.5  # between two looks whether the parent of this process is there


def exit_code_of(start: Callable[[], None]) -> int:
    """Call a function, and return the exit code of the process, also after a signal."""
    try:
        start()
    except KeyboardInterrupt:
        return interrupted()
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into sys.exit(1)
            return interrupted()
        if type(error).__name__ == "SIGTERMException":  # Lightning's, whose exit code would be 0
            print("Terminated.", file=sys.stderr)
            return 128 + signal.SIGTERM
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 0


def open_standard_streams() -> None:
    """Replace closed standard streams, whose numbers the next files would get, and print any file name."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    sys.stdin = sys.stdin or Path(os.devnull).open()  # noqa: SIM115
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def piped_to_nobody() -> int:
    """Discard all further output after the reader has closed the pipe, and return the exit code."""
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  Python would complain again at exit
    return 128 + signal.SIGPIPE


def interrupted() -> int:
    """Print that a user interrupted, and return the exit code."""
    print("Interrupted.", file=sys.stderr)
    return 130


def end_with(parent: int) -> None:
    """End this process soon after its parent has ended, however that ended."""

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def wants_traceback() -> bool:
    """Return whether the user asks for tracebacks."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


def is_users_mistake(error: Exception) -> bool:
    """Return whether the user, not the program, made the mistake."""
    lightning = sys.modules.get(
        "lightning.fabric.utilities.exceptions"
    )  # imported if it can have been raised
    is_misuse = lightning is not None and isinstance(error, lightning.MisconfigurationException)
    return (
        isinstance(error, SerError) or is_misuse or (isinstance(error, OSError) and error.errno in REMEDIES)
    )


def describe_error(error: Exception) -> str:
    """Return the text of an error, with a remedy if it comes from the operating system."""
    if not isinstance(error, OSError) or error.errno not in REMEDIES:
        return str(error)
    place = error.filename if error.filename is not None else "A file of this run"
    return f"{place}: {(error.strerror or '').lower()}. {REMEDIES[error.errno]}"
