"""Mutation testing: `python tests/mutation/run.py [MODULE ...] [--jobs=N] [--again]`.

Changes one thing in a module, runs the module's tests, and expects one of them to fail. Each mutant has a process of its
own, forked from this one, which has TensorFlow loaded but has run nothing. The mutant is never written to the disk.

Without MODULE, all modules of `TESTS` are tested. The results are kept in `mutation.json`; `--again` tests only the
mutants that survived there, such as after adding a test. docs/mutation.md explains the survivors.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib.machinery
import importlib.util
import json
import linecache
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mutants import Mutant, mutants_of

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "mutation.json"
PRELOADED = ("tensorflow", "keras", "gin", "sklearn.metrics", "pytest", "xdist.plugin", "hypothesis")
EXTRA_SECONDS = 30  # what a mutant may take beyond three times the tests' usual time: the machine may be busy

TESTS = {  # module -> the tests that must notice; those that are quick and fail often come first
    "metrics/tally.py": ["tests/metrics/test_tally.py"],
    "metrics/device/packing.py": ["tests/metrics/device/test_packing.py", "tests/metrics/device/test_grouped_sums.py"],
    "metrics/device/grouped_sums.py": ["tests/metrics/device/test_grouped_sums.py"],
    "metrics/device/reduction.py": ["tests/metrics/device/test_reduction.py"],
    "metrics/finishers/confusion.py": ["tests/metrics/finishers/test_confusion.py"],
    "metrics/finishers/finish.py": ["tests/metrics/finishers/test_finish.py"],
    "metrics/finishers/finisher.py": [
        "tests/metrics/finishers/test_finish.py",
        "tests/metrics/recording/test_recorder.py",
    ],
    "metrics/finishers/histograms.py": ["tests/metrics/finishers/test_histograms.py"],
    "metrics/finishers/moments.py": ["tests/metrics/finishers/test_moments.py"],
    "metrics/recording/add.py": ["tests/metrics/recording/test_add.py", "tests/metrics/recording"],
    "metrics/recording/call_stack.py": [
        "tests/metrics/recording/test_call_stack.py",
        "tests/metrics/recording/test_add.py",
        "tests/metrics/recording/test_recorder.py",
    ],
    "metrics/recording/composite.py": ["tests/metrics/recording/test_composite.py"],
    "metrics/recording/nested_functions.py": ["tests/metrics/recording/test_nested_functions.py"],
    "metrics/recording/python_calls.py": ["tests/metrics/recording/test_python_calls.py"],
    "metrics/recording/recorder.py": [
        "tests/metrics/recording/test_recorder.py",
        "tests/metrics/recording/test_add.py",
        "tests/metrics/device/test_inner_graph_sums.py",
        "tests/metrics/recording/test_nested_functions.py",
        "tests/metrics/recording/test_call_stack.py",
        "tests/metrics/recording/test_python_calls.py",
    ],
    "metrics/recording/watching.py": ["tests/metrics/recording/test_watching.py"],
    "trainer/step/replica_step.py": [
        "tests/trainer/step/test_replica_step.py",
        "tests/trainer/step/test_objective.py",
        "tests/trainer/test_several_losses.py",
        "tests/trainer/model/test_large_updates.py",
    ],
    "trainer/step/objective.py": ["tests/trainer/step/test_objective.py", "tests/trainer/test_several_losses.py"],
    "trainer/step/gradient_sums.py": ["tests/trainer/step/test_gradient_sums.py"],
    "trainer/step/update.py": [
        "tests/trainer/step/test_update.py",
        "tests/trainer/loop/test_probing.py",
        "tests/trainer/test_several_losses.py",
        "tests/trainer/model/test_large_updates.py",
        "tests/trainer/loop/test_non_finite.py",
    ],
    "trainer/step/gradients.py": ["tests/trainer/step/test_gradients.py", "tests/trainer/model/test_large_updates.py"],
    "trainer/step/choice.py": ["tests/trainer/step/test_choice.py"],
    "trainer/model/large_updates.py": ["tests/trainer/model/test_large_updates.py"],
    "trainer/distribution/reduction.py": ["tests/trainer/distribution/test_reduction.py"],
}


def main(modules: list[str], jobs: int, again: bool) -> None:
    """Test the modules, and print a line per survivor and a table."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for module in modules:
        mutants = {_key(mutant): mutant for mutant in mutants_of((ROOT / module).read_text())}
        before = results.get(module, {}) if again else {}
        due = {key: mutant for key, mutant in mutants.items() if before.get(key) != "killed"}
        found = dict.fromkeys(mutants.keys() - due.keys(), "killed")
        for key, outcome in _outcomes(module, due, jobs):
            found[key] = outcome
            if outcome == "survived":
                print(f"\n{module}:{mutants[key].line} survived\n{mutants[key].change}", flush=True)
        results[module] = found
        RESULTS.write_text(json.dumps(results, indent=0))
    print(_table({module: results[module] for module in modules}))


def _key(mutant: Mutant) -> str:
    return hashlib.sha256(mutant.source.encode()).hexdigest()[:16]


def _outcomes(module: str, mutants: dict[str, Mutant], jobs: int) -> Iterator[tuple[str, str]]:
    """Yield (key, "killed" or "survived") of each mutant when its tests have ended."""
    limit = 3 * _seconds_unchanged(module) + EXTRA_SECONDS
    waiting, running = list(mutants), {}  # process -> (key, when it is killed)
    while waiting or running:
        while waiting and len(running) < jobs:
            key = waiting.pop(0)
            running[_fork(module, mutants[key].source, os.devnull)] = key, time.monotonic() + limit
        time.sleep(0.02)
        for process, (key, deadline) in list(running.items()):
            if time.monotonic() > deadline:
                os.kill(process, signal.SIGKILL)
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                del running[process]
                yield key, "killed" if status else "survived"
    _seconds_unchanged(module)  # a test that was broken in the meantime has failed for every mutant since


def _seconds_unchanged(module: str) -> float:
    """Return how long the tests of the module take; exit if they do not pass."""
    start = time.monotonic()
    with tempfile.NamedTemporaryFile("r") as output:
        if os.waitpid(_fork(module, (ROOT / module).read_text(), output.name), 0)[1]:
            sys.exit(f"The tests of {module} fail without a mutant:\n{output.read()}")
    return time.monotonic() - start


def _fork(module: str, source: str, output: str) -> int:
    """Start the tests of a module whose source is `source`; return the process, whose exit code is pytest's."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), stream)
        sys.meta_path.insert(0, _Replaced(module, source))
        import pytest

        code = int(
            pytest.main(["-x", "-p", "no:cacheprovider", "-p", "xdist.plugin", "-m", "not benchmark", *TESTS[module]])
        )
    finally:
        os._exit(code)


class _Replaced(importlib.machinery.SourceFileLoader):
    """Finds and loads one module, from this source instead of its file."""

    def __init__(self, module: str, source: str):
        path = str(ROOT / module)
        super().__init__("tallyloop." + module.removesuffix(".py").replace("/", "."), path)
        self._source = source
        # AutoGraph compiles what `inspect.getsource` returns, and has `linecache` read the file again first.
        read, lines = linecache.updatecache, source.splitlines(keepends=True)
        linecache.cache[path] = (len(source), None, lines, path)
        linecache.updatecache = lambda name, *more: lines if name == path else read(name, *more)

    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname):
        return self.source_to_code(self._source, self.path)


def _table(results: dict[str, dict[str, str]]) -> str:
    rows = [(module, list(found.values())) for module, found in results.items()]
    rows.append(("all", [outcome for _, outcomes in rows for outcome in outcomes]))
    lines = ["| module | mutants | killed | survived | killed |", "|---|--:|--:|--:|--:|"]
    for module, outcomes in rows:
        killed = outcomes.count("killed")
        lines.append(
            f"| {module} | {len(outcomes)} | {killed} | {len(outcomes) - killed} | {killed / max(1, len(outcomes)):.1%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # finding the plugins takes longer than most of the tests
    parser = argparse.ArgumentParser()
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(TESTS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--again", action="store_true")
    flags = parser.parse_args()
    os.chdir(ROOT)
    sys.dont_write_bytecode = False  # each fork reads what the first one has compiled
    for library in PRELOADED:
        __import__(library)
    sys.modules["pytest"].main(["--version"])  # imports pytest's own plugins
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would be missing in the forks"
    gc.freeze()  # or a collection would copy the memory that forks share
    main(flags.modules or list(TESTS), flags.jobs, flags.again)
