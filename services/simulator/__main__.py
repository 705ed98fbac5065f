"""Run the simulated microscope on its own: ``python -m services.simulator DIR``."""

import argparse
import sys
from pathlib import Path
from typing import get_args

from services.runtime.clock import SystemClock
from services.simulator.microscope import ImageFormat
from services.simulator.simulate import simulate, spec_for


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.simulator", description=__doc__)
    parser.add_argument("directory", type=Path, help="slices/ and truth/ are written here")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same bytes")
    parser.add_argument("--voxel-nm", type=float, default=16.0)
    parser.add_argument("--nuclei", type=int, default=3, help="whole nuclei in the field")
    parser.add_argument("--slices", type=int, help="default: as many as hold the nuclei with their caps")
    parser.add_argument("--period-s", type=float, help="seconds per slice; default: as fast as possible")
    parser.add_argument("--artefact", action="append", default=[], metavar="NAME[=VALUE]", help="repeatable; `all`")
    parser.add_argument("--format", choices=get_args(ImageFormat), default="grey8")
    return parser.parse_args(words)


def _show(done: int, total: int) -> None:
    sys.stderr.write(f"\r{done} of {total} slices" + ("\n" if done == total else ""))


def main(words: list[str] | None = None) -> int:
    """Simulate one acquisition; a spec that cannot be is told and ends with status 2."""
    arguments = _arguments(sys.argv[1:] if words is None else words)
    clock = SystemClock()
    try:
        spec = spec_for(arguments.seed, arguments.voxel_nm, arguments.nuclei, arguments.slices, arguments.artefact)
        simulate(
            arguments.directory,
            spec,
            period_s=arguments.period_s,
            progress=_show,
            wait=clock.wait,
            image_format=arguments.format,
        )
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
