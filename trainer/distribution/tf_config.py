"""Reads and checks TF_CONFIG, which TensorFlow itself accepts unchecked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from ...metrics.errors import UsageError
from .membership import Membership, split_address

EXAMPLE = (
    'TF_CONFIG=\'{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}\''
)
_JOBS = ("chief", "worker")
_NOT_FOR_MIRRORED = {
    "ps": "parameter servers train asynchronously, so the result would depend on timing; remove them",
    "evaluator": "remove it and start `tallyloop --mode=eval` next to the workers, which follows the checkpoints",
}


def read(text: str) -> Membership:
    """Return the membership that the text of TF_CONFIG describes.

    Raises:
      UsageError: it is malformed; the message names the part, what it is and what is expected.
    """
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        _refuse(f"it isn't JSON ({error}): {_short(text)}")
    if not isinstance(config, dict):
        _refuse(f"expected an object with 'cluster' and 'task', got {_short(config)}")
    jobs = _jobs(config.get("cluster"))
    job, index = _task(config.get("task"), jobs)
    before = len(jobs.get("chief", ())) if job == "worker" else 0
    addresses = [address for name in _JOBS for address in jobs.get(name, ())]
    return Membership(_distinct(addresses), before + index, "TF_CONFIG")


def write(addresses: list[str], index: int) -> str:
    """Return a TF_CONFIG with workers only."""
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


def _jobs(cluster: Any) -> Mapping[str, list[str]]:
    if not isinstance(cluster, dict) or not cluster:
        _refuse(f"'cluster' must give the workers' addresses, {{\"worker\": [...]}}, and is {_short(cluster)}")
    for job, addresses in cluster.items():
        if job not in _JOBS:
            _refuse(_no_such_job("'cluster'", job))
        if not isinstance(addresses, list) or not addresses:
            _refuse(f"'cluster': {job!r} must be a list of addresses, and is {_short(addresses)}")
        for address in addresses:
            _check_address(job, address)
    if len(cluster.get("chief", ())) > 1:
        _refuse(f"'cluster' has {len(cluster['chief'])} chiefs, expected at most one: {_short(cluster['chief'])}")
    return cluster


def _check_address(job: str, address: Any) -> None:
    try:
        split_address(address)
    except (ValueError, AttributeError):
        _refuse(f"'cluster': {job!r} has the address {_short(address)}, expected host:port, such as \"10.0.0.1:2222\"")


def _task(task: Any, jobs: Mapping[str, list[str]]) -> tuple[str, int]:
    if not isinstance(task, dict) or "type" not in task or "index" not in task:
        _refuse(f"'task' must say which worker this process is, by 'type' and 'index', and is {_short(task)}")
    job, index = task["type"], task["index"]
    if job not in _JOBS:
        _refuse(_no_such_job("'task'", job))
    if job not in jobs:
        _refuse(f"'task' has the type {job!r}, and 'cluster' has only {_listed(jobs)}")
    try:
        number = int(index)  # some launchers write it as a string, and TensorFlow takes that
    except (TypeError, ValueError):
        number = -1
    if isinstance(index, bool | float) or not 0 <= number < len(jobs[job]):
        last = len(jobs[job]) - 1
        _refuse(
            f"'task' has the index {_short(index)}, expected a whole number from 0 to {last}: {job!r} has {last + 1}"
        )
    return job, number


def _distinct(addresses: list[str]) -> tuple[str, ...]:
    for address in addresses:
        if addresses.count(address) > 1:
            _refuse(f"'cluster' has {address!r} more than once, expected a different address for each worker")
    return tuple(addresses)


def _no_such_job(where: str, job: Any) -> str:
    reason = _NOT_FOR_MIRRORED.get(job) if isinstance(job, str) else None
    return f"{where} has the type {_short(job)}, expected {_listed(_JOBS)}" + (f": {reason}" if reason else "")


def _listed(names: Any) -> str:
    return " or ".join(map(repr, names))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


def _refuse(what: str) -> NoReturn:
    raise UsageError(f"TF_CONFIG: {what}. A valid example: {EXAMPLE}")
