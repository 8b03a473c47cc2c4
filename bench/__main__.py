"""Run every benchmark at a small size, each in a process of its own, and print a line for each::

    python -m bench
    python -m bench simulate crash

A benchmark is a module of this package with a ``main``. Its small size is its own ``SMALL``, or stands below. One that
needs recorded data and has no small size is named and left out.
"""

import argparse
import importlib
import pkgutil
import subprocess
import sys

import bench

SMALL: dict[str, tuple[str, ...]] = {
    "crash": ("--kills", "5", "--jobs", "20"),
    "store": (),
    "throughput": ("--jobs", "200", "--slurm-jobs", "0"),
}
"""Small sizes of benchmarks that do not name their own."""


def small(name: str) -> tuple[str, ...] | None:
    """Arguments for a small run; None for one that has none."""
    return getattr(importlib.import_module(f"bench.{name}"), "SMALL", SMALL.get(name))


def benchmarks() -> list[str]:
    """The names of all benchmarks."""
    names = sorted(module.name for module in pkgutil.iter_modules(bench.__path__) if module.name != "__main__")
    return [name for name in names if hasattr(importlib.import_module(f"bench.{name}"), "main")]


def main() -> int:
    """Exit status 1 when a benchmark failed."""
    known = benchmarks()
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(known)}")
    options = parser.parse_args()
    for name in options.names:
        if name not in known:
            parser.error(f"there is no benchmark {name!r}: choose from {', '.join(known)}")
    failed: list[str] = []
    for name in options.names or known:
        arguments = small(name)
        if arguments is None:
            print(f"{name}: needs recorded data; see python -m bench.{name} --help", flush=True)
            continue
        command = [sys.executable, "-m", f"bench.{name}", *arguments, "--json"]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        print(f"{name}: {run.stdout.strip() or '(nothing)'}", flush=True)
        if run.returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
