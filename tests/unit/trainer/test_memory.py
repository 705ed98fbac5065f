"""Memory that a container or a batch system does not allow is not counted on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from services.trainer.memory import limits_bytes

MEMORY = "sys/fs/cgroup/memory"
CASES = {
    "of a container": ("0::/\n", {"sys/fs/cgroup/memory.max": "4096\n"}, {4096}),
    "of a batch job and of what holds it": (
        "0::/jobs/7\n",
        {"sys/fs/cgroup/jobs/7/memory.max": "max\n", "sys/fs/cgroup/jobs/memory.max": "8192\n"},
        {8192},
    ),
    "of the first version, with other controllers beside it": (
        "5:devices:/\n4:cpu,memory:/jobs/7\n0::/\n",
        {f"{MEMORY}/jobs/7/memory.limit_in_bytes": "4096\n", f"{MEMORY}/memory.limit_in_bytes": "8192\n"},
        {4096, 8192},
    ),
    "of a container that is named as the machine sees it": (
        "4:memory:/docker/1f\n",
        {f"{MEMORY}/memory.limit_in_bytes": "4096\n"},
        {4096},
    ),
    "none": ("0::/a\n", {"sys/fs/cgroup/a/memory.max": "max\n"}, set()),
}


@pytest.mark.parametrize(("groups", "files", "limits"), CASES.values(), ids=CASES)
def test_limits_of_memory_are_found(tmp_path: Path, groups: str, files: Mapping[str, str], limits: set[int]) -> None:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert set(limits_bytes(tmp_path)) == limits


def test_a_machine_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    assert limits_bytes(tmp_path) == ()
