"""The membership of a pod in a Kubernetes indexed Job, from its environment.

TensorFlow's KubernetesClusterResolver isn't used: it needs the `kubernetes` package and permission to list the pods
of all namespaces, loads a kubeconfig that no pod has, fails while a pod is still pending, takes the addresses of the
nodes rather than of the pods, and does not know which task it is. An indexed Job behind a headless service
needs none of this: the pods' names are known in advance, JOB-INDEX.SERVICE.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...metrics.errors import UsageError
from .membership import Membership, whole_number_of

INDEX, WORKERS, SERVICE, PORT = "JOB_COMPLETION_INDEX", "TALLYLOOP_WORKERS", "TALLYLOOP_SERVICE", "TALLYLOOP_PORT"
_DEFAULT_PORT = 2222


def is_here(environment: Mapping[str, str]) -> bool:
    """Return whether this is a pod of an indexed Job."""
    return INDEX in environment


def read(environment: Mapping[str, str]) -> Membership:
    """Return the membership of this pod.

    Kubernetes sets JOB_COMPLETION_INDEX and the host name JOB-INDEX; the manifest sets TALLYLOOP_WORKERS (the Job's
    `completions`), TALLYLOOP_SERVICE (the headless service, the pods' `subdomain`) and, if not 2222, TALLYLOOP_PORT.

    Raises:
      UsageError: a variable is missing or malformed.
    """
    service = environment.get(SERVICE)
    if not service:
        raise UsageError(f"{INDEX} is set, and {SERVICE} is not: set it to the name of the Job's headless service.")
    if WORKERS not in environment:
        raise UsageError(f"{INDEX} is set, and {WORKERS} is not: set it to the Job's `completions`.")
    index, workers = whole_number_of(environment, INDEX), whole_number_of(environment, WORKERS)
    if index >= workers:
        raise UsageError(f"{WORKERS}={workers}, and this pod is number {index}: set it to the Job's `completions`.")
    host, suffix = environment.get("HOSTNAME", ""), f"-{index}"
    if not host.endswith(suffix):
        raise UsageError(f"HOSTNAME={host}: expected JOB{suffix}, as Kubernetes names the pods of an indexed Job.")
    job = host.removesuffix(suffix)
    port = whole_number_of(environment, PORT, str(_DEFAULT_PORT))
    return Membership(tuple(f"{job}-{i}.{service}:{port}" for i in range(workers)), index, WORKERS)
