"""Run every benchmark, each in a fresh process, and write docs/benchmarks.json and docs/benchmarks.md.

python -m benchmarks                half an hour or more on two cores
python -m benchmarks train lstm     these only; the page keeps the results of the others
python -m benchmarks --quick        a minute or two; the figures are meaningless, and only printed
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, Options, parse_options
from ser.files import write_atomic
from ser.runs.environment import git_commit, has_local_changes
from ser.runs.tables import format_markdown

NAMES = (
    *("ingest", "start", "padding", "features", "train", "lstm", "predict", "streaming", "alignment"),
    *("gpu", "growth", "shards", "audit", "export", "serve"),
)
REPORT = ROOT / "docs" / "benchmarks.md"
RESULTS = REPORT.with_suffix(".json")
_PACKAGES = (
    "torch",
    "lightning",
    "hydra-core",
    "numpy",
    "pysimdjson",
    "orjson",
    "pandas",
    "lhotse",
    "kaldi-native-fbank",
)


def main() -> None:
    """Run the benchmarks; failed ones are named at the end, and the exit code is 1."""
    chosen = [word for word in sys.argv[1:] if word in NAMES] or NAMES
    sys.argv[1:] = [word for word in sys.argv[1:] if word not in NAMES]
    options = parse_options(__doc__)
    results = {name: run(name, sys.argv[1:]) for name in chosen}
    if not options.quick:
        stamp: dict[str, Any] = {
            "commit": f"{git_commit()}{', with changes' if has_local_changes() else ''}",
            "repetitions": options.repetitions,
        }
        stamp |= {"date": datetime.now(UTC).date().isoformat(), "machine": machine(options)}
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        known |= {name: result | stamp for name, result in results.items() if result is not None}
        write_atomic(RESULTS, json.dumps(known, indent=1) + "\n")
        write_atomic(REPORT, report([known[name] for name in NAMES if name in known]))
        print(f"written: {REPORT.relative_to(ROOT)}")
    if failed := [name for name, result in results.items() if result is None]:
        sys.exit(f"failed: {', '.join(failed)}")


def run(name: str, arguments: Sequence[str]) -> dict[str, Any] | None:
    """Run a benchmark and print its output; return its line of JSON, or None if it failed."""
    print(f"python -m benchmarks.{name} {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", *arguments]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(finished.stdout, flush=True)
    if finished.returncode:
        return None
    answer: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return answer


def report(results: Sequence[dict[str, Any]]) -> str:
    """Return the page: machine and date, all goals, then each benchmark."""
    goals = [
        [goal["figure"], f"{goal['value']:.4g}", f"{goal['relation']} {goal['bound']:g}", _verdict(goal)]
        for result in results
        for goal in result["goals"]
    ]
    parts = [
        "# Benchmarks",
        "Written by `python -m benchmarks`. Each figure is one command, on data that it generates itself with the "
        "course's statistics. Contestants take turns within one run; ratios are medians of paired repetitions, with "
        "the smallest and the largest in brackets.",
        format_markdown(["", "measured on"], [*facts(results).items()]),
        "## Goals",
        format_markdown(["figure", "measured", "goal", ""], goals),
        *(section(result) for result in results),
    ]
    return "\n\n".join(parts) + "\n"


def machine(options: Options) -> dict[str, str]:
    """Return processor, memory, and the versions of what is installed."""
    versions = {name: version(name) for name in _PACKAGES}
    return {
        "processor": f"{processor()}, {os.cpu_count()} cores, {options.threads} threads of torch",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    } | {name: found for name, found in versions.items() if found is not None}


def facts(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return what the results were measured on; where they differ, all values."""
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for name, value in result["machine"].items():
            found.setdefault(name, {})[value] = None
    return {name: "; ".join(values) for name, values in found.items()}


def section(result: dict[str, Any]) -> str:
    """Return the section of a benchmark: command, headline, table, notes."""
    made = f"commit {result['commit']}, {result['date']}, {result['repetitions']} repetitions"
    parts = [f"## {result['name']}", f"`python -m benchmarks.{result['name']}`, {made}"]
    if result["ratio"] is not None:
        low, high = result["spread"]
        parts.append(f"{result['headline']}: **{result['ratio']:.3g}** ({low:.3g}..{high:.3g})")
        parts.append(format_markdown(result["columns"], result["rows"]))
    if result["notes"]:
        parts.append("\n".join(f"- {note}" for note in result["notes"]))
    if result["name"] == "growth":
        parts.append("![time and memory as data grows](growth.png)")
    return "\n\n".join(parts)


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def version(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _verdict(goal: dict[str, Any]) -> str:
    return "met" if goal["met"] else "missed"


if __name__ == "__main__":
    main()
