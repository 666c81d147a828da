"""Random tasks: constructs x metrics x cuts, each number compared with that of NumPy or of one plain pass.

python -m benchmarks.metamorphic                # 5,000 cases and the negative control, in two processes
python -m benchmarks.metamorphic --cases 300    # fewer
python -m benchmarks.metamorphic --program 123  # one program, case by case
python -m benchmarks.metamorphic --write        # also writes docs/metamorphic.md

The exit code is 1 if any number is wrong, or a planted defect is not found.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import gc
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from ..harness.report import DOCS, aligned, machine, progress
from .defects import DEFECTS
from .keras_metrics import RandomKerasMetric
from .program import CASES, Program, make, problems, wrong_cases

PAGE = DOCS / "metamorphic.md"
ALL_CASES = 5000
TESTED = 9  # programs that the tests run
_REPLICAS = 4
_PER_PROCESS = 12  # programs, after which a process makes room for a new one: TensorFlow keeps their graphs

_TOP = """# Metamorphic tests

For users who want to know what the promise "the number is right" was tried on, and for whoever changes how a number is made.

A generator composes random tasks. A *case* is one number: a random metric, added within a random construct, in training and in
evaluation. A *program* is a task of {size} cases and one random *cut*: how the rows are divided over batches, replicas and steps.
Each number is compared with what NumPy, scikit-learn or one pass of Keras makes of all rows; the loss and the weights with a
training on one device, written out in NumPy.

```bash
python -m benchmarks.metamorphic
python -m benchmarks.metamorphic --program 123 # one of them, case by case
```

"""
_CONTROL = """## Negative control

Would it notice? Each of these defects was once found by hand. Each is planted again, by a patch, and programs run until a number
is wrong. The tests run the first {tested} cases.

"""
_COVERED = """

## What was covered

Cases per kind; programs, for losses and cuts. A case in two constructs, one within the other, counts for both.

"""


class Outcome(NamedTuple):
    """What a program gave.

    Attributes:
      number: of the program.
      wrong: the names of the cases that are wrong.
      texts: what is wrong.
    """

    number: int
    wrong: list[str]
    texts: list[str]


def outcome(number: int) -> Outcome:
    """Run a program, without its console output. An error is wrong, too: no case should raise one."""
    program = make(number)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            found = problems(program)
        except Exception as error:
            return Outcome(number, [case.name for case in program.cases], [f"{type(error).__name__}: {error}"])
    wrong = wrong_cases(program, found)
    titles = {case.name: str(case) for case in program.cases}
    texts = [f"{path}: {text} ({_title(path, titles) or program.loss.name})" for path, text in found.items()]
    return Outcome(number, wrong, texts)


def _title(path: str, titles: Mapping[str, str]) -> str | None:
    return next((titles[part] for part in path.split("/") if part in titles), None)


def cases_until_found(title: str, programs: int) -> int | None:
    """Plant a defect; return after how many cases a number is wrong, or None."""
    with DEFECTS[title]():
        for number in range(programs):
            found = outcome(number)
            if found.wrong:
                names = [*(case.name for case in make(number).cases), "loss", "kernel", "bias"]
                return number * CASES + names.index(found.wrong[0]) + 1
    return None


def set_up() -> None:
    """Give this process the devices that programs need, and no warnings."""
    for name in ("tensorflow", "absl"):  # which warn of new traces, and of metrics without examples
        logging.getLogger(name).setLevel(logging.ERROR)
    gc.freeze()  # tracing makes many objects, and a collection would look at TensorFlow's each time
    gc.set_threshold(50_000, 20, 100)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * _REPLICAS)


def _in_processes(function, arguments: Iterable, jobs: int) -> Iterable:
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, initializer=set_up, maxtasksperchild=_PER_PROCESS) as pool:
        yield from pool.imap(function, arguments)


def _control(arguments: tuple[str, int]) -> tuple[str, int | None]:
    return arguments[0], cases_until_found(*arguments)


def covered(programs: Sequence[Program]) -> dict[str, collections.Counter[str]]:
    """Return what the page counts: heading -> name -> cases (programs, for cuts and losses)."""
    counts = {
        heading: collections.Counter()
        for heading in ("construct", "finisher", "values", "weights", "Keras metric", "loss", "cut")
    }
    for program in programs:
        counts["cut"].update(program.cut.traits)
        counts["loss"][program.loss.name] += 1
        for case in program.cases:
            counts["construct"].update(set(case.construct.split(" > ")))
            if isinstance(case.metric, RandomKerasMetric):
                counts["Keras metric"][case.metric.kind] += 1
                continue
            kind = case.metric.kind
            counts["finisher"][kind.finisher] += 1
            counts["values"][kind.dtype] += 1
            counts["weights"][kind.weighted] += 1
    return counts


def page(
    counts: Mapping[str, collections.Counter[str]],
    found: Sequence[Outcome],
    control: Mapping[str, int | None],
    seconds: float,
) -> str:
    """Return the page of the docs.

    Args:
      counts: of `covered`.
      found: the programs.
      control: title of a planted defect -> the number of cases until it was found, or None.
      seconds: that the programs took.
    """
    wrong = sum(len(each.wrong) for each in found)
    result = f"**{len(found) * CASES:,} cases in {len(found)} programs: {wrong} wrong.** In {seconds:.0f} seconds on {machine()}."
    rows = [[title, "not found" if cases is None else f"{cases:,}"] for title, cases in control.items()]
    table = aligned([["planted defect", "found after so many cases"], *rows])
    covering = [[heading, _listed(each)] for heading, each in counts.items()]
    control_top = _CONTROL.format(tested=TESTED * CASES)
    return (
        "\n".join(
            [_TOP.format(size=CASES) + result + "\n", control_top + "\n".join(table) + _COVERED + "| | |", "|---|---|"]
            + [f"| {heading} | {listed} |" for heading, listed in covering]
        )
        + "\n"
    )


def _listed(counts: collections.Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metamorphic", description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=ALL_CASES, help=f"how many, rounded up to programs of {CASES}")
    parser.add_argument("--program", type=int, help="run this one alone, and list its cases")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--write", action="store_true", help=f"also write docs/{PAGE.name}")
    chosen = parser.parse_args(arguments)
    if chosen.program is not None:
        return _report_one(chosen.program)
    return _report(-(-chosen.cases // CASES), chosen.jobs, chosen.write)


def _report_one(number: int) -> int:
    set_up()
    program = make(number)
    found = outcome(number)
    print(program.cut, program.loss, *(f"{case.name}  {case}" for case in program.cases), sep="\n")
    print(*(found.texts or ["All numbers are right."]), sep="\n")
    return 1 if found.wrong else 0


def _report(programs: int, jobs: int, write: bool) -> int:
    started = time.monotonic()
    found = []
    for each in _in_processes(outcome, range(programs), jobs):
        found.append(each)
        for text in each.texts:
            progress(f"program {each.number}: {text}")
    seconds = time.monotonic() - started
    progress(f"{programs} programs: {seconds:.0f} s")
    control = dict(_in_processes(_control, [(title, programs) for title in DEFECTS], jobs))
    text = page(covered([make(number) for number in range(programs)]), found, control, seconds)
    print(text)
    if write:
        PAGE.write_text(text, encoding="utf-8")
    return 1 if any(each.wrong for each in found) or None in control.values() else 0


if __name__ == "__main__":
    # Under its real name, by which the processes can import it, too.
    from benchmarks.metamorphic.__main__ import main as run

    sys.exit(run(sys.argv[1:]))
