"""The membership of a Slurm task, from the variables that `srun` sets.

TensorFlow's SlurmClusterResolver isn't used, because it has bugs (2.21): it orders the hosts alphabetically while Slurm
numbers the tasks in the order of the node list, so that on n9 and n10 each task takes the other's address; it calls
nvidia-smi and crashes where there is none; and without GPUs it divides its work into steps of zero.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping

from ...metrics.errors import UsageError
from .membership import Membership, whole_number_of

_NEEDED = ("SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE")
_BASE_PORT = 8888  # like TensorFlow's resolver; the tasks of a node take the ports above it
PORT = "TALLYLOOP_PORT"


def is_here(environment: Mapping[str, str]) -> bool:
    """Return whether this is one of several tasks of a Slurm step."""
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "")
    return "SLURM_PROCID" in environment and tasks.isdigit() and int(tasks) > 1


def read(environment: Mapping[str, str]) -> Membership:
    """Return the membership of this task: `srun`'s indices, and ports from TALLYLOOP_PORT (8888) up on each node.

    Raises:
      UsageError: a variable is missing or malformed.
    """
    missing = [name for name in _NEEDED if name not in environment]
    if missing:
        raise UsageError(f"Slurm: {', '.join(missing)} is not set: start the workers by `srun tallyloop ...`.")
    port = whole_number_of(environment, PORT, str(_BASE_PORT))
    if environment.get("SLURM_DISTRIBUTION", "block").partition(":")[0] not in ("block", ""):
        raise UsageError(
            f"Slurm: SLURM_DISTRIBUTION={environment['SLURM_DISTRIBUTION']}: expected block, where consecutive tasks "
            "share a node: use srun --distribution=block, or set TF_CONFIG."
        )
    tasks = zip(
        _parsed(environment, "SLURM_STEP_NODELIST", hosts),
        _parsed(environment, "SLURM_STEP_TASKS_PER_NODE", counts),
        strict=False,
    )
    addresses = tuple(f"{host}:{port + i}" for host, count in tasks for i in range(count))
    index, size = whole_number_of(environment, "SLURM_PROCID"), whole_number_of(environment, "SLURM_STEP_NUM_TASKS")
    if len(addresses) != size or index >= size:
        listed = ", ".join(f"{name}={environment[name]}" for name in _NEEDED)
        raise UsageError(f"Slurm: the variables contradict each other: {listed}. Set TF_CONFIG instead.")
    return Membership(addresses, index, "SLURM_STEP_NODELIST")


def hosts(text: str) -> list[str]:
    """Expand a node list: "n[1-2,08],m5" is n1, n2, n08, m5."""
    parts = re.findall(r"((?:[^,\[\]]|\[[^\]]*\])+)(?:,|$)", text)
    if ",".join(parts) != text or not text:
        raise ValueError(text)
    return [host for part in parts for host in _expanded(part)]


def counts(text: str) -> list[int]:
    """Expand tasks per node: "3(x2),1" is 3, 3, 1."""
    parts = text.split(",")
    found = [match for part in parts if (match := re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part))]
    if len(found) < len(parts):
        raise ValueError(text)
    return [int(match[1]) for match in found for _ in range(int(match[2] or 1))]


def _expanded(part: str) -> Iterator[str]:
    """Yield every combination of the ranges in one name."""
    pieces = re.split(r"\[([^\]]*)\]", part)
    choices = [[piece] if i % 2 == 0 else list(_range(piece)) for i, piece in enumerate(pieces)]
    return map("".join, itertools.product(*choices))


def _range(text: str) -> Iterator[str]:
    for span in text.split(","):
        first, _, last = span.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield str(number).zfill(len(first))


def _parsed(environment: Mapping[str, str], name: str, parse):
    try:
        return parse(environment[name])
    except ValueError as error:
        raise UsageError(f"Slurm: {name}={environment[name]} cannot be parsed. Set TF_CONFIG instead.") from error
