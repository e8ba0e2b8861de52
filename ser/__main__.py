"""The command `ser`: `ser train model=lstm`. `python -m ser train model=lstm` does the same."""

import os
import sys
from importlib import import_module

COMMANDS = {
    "train": "train a model, choose the best epoch on validation, score it, write a report",
    "predict": "predict recordings, a stream or a file of the challenge with a trained model",
    "serve": "open a page for files and the microphone, with an HTTP endpoint",
    "evaluate": "score a trained model on any labelled corpus, folder or table",
    "matrix": "train on each of several corpora and on all of them, test on each",
    "compare": "compare runs and sweeps: 95% intervals, a test for each pair, plots",
    "ensemble": "average finished runs, with weights fitted on validation",
    "describe": "print speakers, classes, leaks and faults of a corpus, and draw some recordings",
    "extract": "compute the features of a corpus into the cache, also in several jobs at once",
    "validate": "check whether the course challenge would accept a file of predictions",
    "align": "find when each word of a transcript is spoken in its recording",
    "export": "write a model as ONNX, with a model card",
    "export-challenge": "write recordings as the course challenge's JSON files",
    "embed": "write embeddings of recordings, by an encoder that was trained before",
    "serab": "score frozen embeddings on the corpora of the SERAB benchmark",
    "serab-compare": "compare runs of the SERAB benchmark in one table",
}
"""Name -> what the command does; `ser a-b` runs the function `a_b` of ser/scripts/a_b.py."""


def main(*entry: str) -> int | None:
    """Run the command that the first argument names, and return its exit code.

    Args:
        entry: Words that called this program, such as `python -m ser`; none for `ser`.
    """
    if not sys.argv[1:] or sys.argv[1] in ("-h", "--help", "help"):
        _print_usage()
        return 0
    name = sys.argv[1]
    if name not in COMMANDS:
        from ser.errors import did_you_mean

        print(f"ser {name}: no such command. {did_you_mean(name, COMMANDS)}", file=sys.stderr)
        return 1
    from ser.runs import environment

    sys.argv = [sys.argv[0], *sys.argv[2:]]
    environment.remember_program([*(entry or ("ser",)), name])
    function = name.replace("-", "_")
    code: int | None = getattr(import_module(f"ser.scripts.{function}"), function)()
    return code


def _print_usage() -> None:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    try:
        print(
            "Usage: ser COMMAND ...",
            "",
            *lines,
            "",
            "ser COMMAND --help prints its settings.",
            sep="\n",
            flush=True,
        )
    except BrokenPipeError:  # as of `ser | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  Python would complain again at exit


if __name__ == "__main__":
    sys.exit(main("python", "-m", "ser"))
