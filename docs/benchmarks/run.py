"""Runs all benchmarks, or some, and writes what they print to one Markdown file.

Each script also runs by itself, with more options. All of them take days on one core: select some
with --only, or check with --quick that they run. See README.md.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

from _common import header

HERE = Path(__file__).parent
#: Arguments, and arguments of a quick run. Scripts in DATA also take --data.
SCRIPTS = {
    "peers": ("", "--quick --rounds 1 --largest 500"),
    "arithmetic": ("", "--batches 128 --widths 64 --rounds 1 --steps 4"),
    "transform": ("", "--sizes 1 100 --rounds 1 --budget 0.01 --largest 500"),
    "scaling": ("", "--samples 500 1000 --features 10 20 --components 2 4"),
    "overhead": ("", "--epochs 2 --repeats 1 --threads 1"),
    "path": ("", "--sizes 16 --weights 2 --max-iter 2 --repeats 1 --jobs 1"),
    "memory": ("", "--samples 2000 --sparse 500"),
    "steps": ("", "--seeds 1 --limits 2 --only wine --sizes 1000"),
    "small_data": ("", '--seeds 1 --jobs 1 --params {"max_iter":2}'),
    "gaussianity": ("", "--only wine --regularizers moment"),
    "frontier": ("", "--only wine --regularizers moment --weights 1 --max-iter 2 --seeds 1"),
    "gaussianizer": ("", "--only moons --splits 1"),
    "downstream": ("", "--splits 1 --largest 500 --tables unsupervised --only breast_cancer"),
    "likelihood": ("", "--only wine --seeds 1"),
    "two_stages": ("", "--splits 1"),
    "adversarial": ("", "--only --shapes"),
    "labels": ("", "--only iris --splits 1 --betas 1 --rows 300"),
    "power": ("", "--repeats 2 --components 2 --rows 50"),
    "sliced": ("", ""),
}
DATA = {
    "peers", "transform", "steps", "small_data", "gaussianity", "frontier", "gaussianizer",
    "downstream", "likelihood", "two_stages", "adversarial", "labels",
}  # fmt: skip


def main():
    """Run the scripts one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of .npz files with arrays X and y")
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument("--quick", action="store_true", help="check that the scripts run")
    parser.add_argument("--out", type=Path, default=Path("benchmarks.md"))
    args = parser.parse_args()
    failed = []
    with args.out.open("w") as out:
        print(f"# Benchmarks\n\n{header()}", file=out, flush=True)
        for name in args.only:
            options = shlex.split(SCRIPTS[name][args.quick], posix=False)
            if args.data and name in DATA and not args.quick:
                options += ["--data", str(args.data.resolve())]
            command = [sys.executable, str(HERE / f"{name}.py"), *options]
            print(f"\n## {name}\n\n`{name}.py {' '.join(options)}`\n", file=out, flush=True)
            start = time.perf_counter()
            code = subprocess.run(command, stdout=out).returncode
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
            if code:
                failed.append(name)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
