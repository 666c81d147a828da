"""Random tasks: constructs x metrics x cuts, each number compared with that of NumPy or of one plain pass.

python -m benchmarks.metamorphic                # all cases and the negative control, in two processes
python -m benchmarks.metamorphic --cases 300    # fewer
python -m benchmarks.metamorphic --program 123  # one program, metric by metric
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
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from ..harness.report import DOCS, LINE, aligned, machine, progress
from . import TESTED
from .defects import DEFECTS
from .keras_metrics import RandomKerasMetric
from .program import ADDED, Program, Recorded, make, problems, wrong_cases

PAGE = DOCS / "metamorphic.md"
ALL_CASES = 5000
_REPLICAS = 4
_PER_PROCESS = 12  # programs, after which a process makes room for a new one: TensorFlow keeps their graphs

_TOP = """# Metamorphic tests

For users who want to know what the promise "the number is right" was tested on, and for anyone who changes how a number is made.

A generator composes random tasks. A *program* is a task with a random loss and {metrics} random metrics, added within random
constructs, and a random *cut*: how the rows are divided over batches, replicas, steps and summaries. A *case* is one metric
in one summary, of training or of an evaluation. Each is compared with what NumPy, scikit-learn or one pass of Keras makes of
the rows of that summary; the loss, and at the end the weights, with a training on one device, written out in NumPy.

```bash
python -m benchmarks.metamorphic
python -m benchmarks.metamorphic --program {shown} # one of them, metric by metric
```

Program {shown} has these metrics, among others:

"""
_CONTROL = """## Negative control

Would it notice? Each of these defects was once found by hand. Each is planted again, by a patch, and programs run until a number
is wrong.

"""
_COVERED = """
## What was covered

Cases per kind; programs, for cuts. A case in two constructs, one within the other, counts for both. The fast tests run {tested}
of the cases.

"""


class Outcome(NamedTuple):
    """The result of a program.

    Attributes:
      number: of the program.
      wrong: the cases that are wrong.
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
            return Outcome(number, program.cases, [f"{type(error).__name__}: {error}"])
    wrong = wrong_cases(program, found)
    titles = {each.name: str(each) for each in program.recorded}
    texts = [f"{path}: {text} ({_title(path, titles) or program.loss.name})" for path, text in found.items()]
    return Outcome(number, wrong, texts)


def _title(path: str, titles: Mapping[str, str]) -> str | None:
    return next((titles[part] for part in path.split("/") if part in titles), None)


def cases_until_found(title: str, programs: int) -> int | None:
    """Plant a defect; return after how many cases a number is wrong, or None."""
    before = 0
    with DEFECTS[title]():
        for number in range(programs):
            found, cases = outcome(number), make(number).cases
            if found.wrong:
                return before + cases.index(found.wrong[0]) + 1
            before += len(cases)
    return None


def programs_of(cases: int) -> list[Program]:
    """Return the first programs that together have so many cases."""
    found: list[Program] = []
    while cases > 0:
        found.append(make(len(found)))
        cases -= len(found[-1].cases)
    return found


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
    """Return what the page counts: heading -> name -> cases (programs, for cuts)."""
    headings = "construct", "finisher", "values", "weights", "Keras metric", "loss", "cut"
    counts: dict[str, collections.Counter[str]] = {heading: collections.Counter() for heading in headings}
    for program in programs:
        cases = len(program.cut.summaries)
        counts["cut"].update(program.cut.traits)
        counts["loss"][program.loss.name] += cases
        for each in program.recorded:
            for heading, name in _kinds(each):
                counts[heading][name] += cases
    return counts


def _kinds(recorded: Recorded) -> list[tuple[str, str]]:
    """Return (heading, name) of all that a metric is counted under."""
    found = [("construct", name) for name in {*recorded.construct.split(" > ")}]
    if isinstance(recorded.metric, RandomKerasMetric):
        return [*found, ("Keras metric", recorded.metric.kind)]
    kind = recorded.metric.kind
    return [*found, ("finisher", kind.finisher), ("values", kind.dtype), ("weights", kind.weighted)]


def page(programs: Sequence[Program], wrong: int, control: Mapping[str, int | None]) -> str:
    """Return the page of the docs.

    Args:
      programs: that were run.
      wrong: how many of their cases are wrong.
      control: title of a planted defect -> the number of cases until it was found, or None.
    """
    cases, metrics = sum(len(each.cases) for each in programs), sum(len(each.recorded) for each in programs)
    ran = f"{cases:,} cases of {metrics:,} metrics in {len(programs)} programs"
    result = textwrap.fill(f"**{ran}: {wrong} wrong.** On {machine()}.", LINE)
    shown = programs[TESTED[-1] % len(programs)]
    rows = [[title, "not found" if after is None else f"{after:,}"] for title, after in control.items()]
    table = aligned([["planted defect", "found after so many cases"], *rows])
    tested = sum(len(make(number).cases) for number in TESTED)
    covering = [f"| {heading} | {_listed(each)} |" for heading, each in covered(programs).items()]
    top = _TOP.format(metrics=len(shown.recorded), shown=shown.number)
    examples = [f"- {each}" for each in shown.recorded[::ADDED]]
    parts = [top, *_lines([*examples, "", result, ""]), _CONTROL, *_lines(table)]
    return "".join([*parts, _COVERED.format(tested=tested), *_lines(["| | |", "|---|---|", *covering])])


def _lines(lines: Sequence[str]) -> list[str]:
    return [f"{line}\n" for line in lines]


def _listed(counts: collections.Counter[str]) -> str:
    return "; ".join(f"{name} {count}" for name, count in counts.most_common())


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metamorphic", description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=ALL_CASES, help="how many, rounded up to whole programs")
    parser.add_argument("--program", type=int, help="run this one alone, and list its cases")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--write", action="store_true", help=f"also write docs/{PAGE.name}")
    chosen = parser.parse_args(arguments)
    if chosen.program is not None:
        return _report_one(chosen.program)
    return _report(programs_of(chosen.cases), chosen.jobs, chosen.write)


def _report_one(number: int) -> int:
    set_up()
    program = make(number)
    found = outcome(number)
    print(program.cut, program.loss, *(f"{each.name}  {each}" for each in program.recorded), sep="\n")
    print(*(found.texts or ["All numbers are right."]), sep="\n")
    return 1 if found.wrong else 0


def _report(programs: list[Program], jobs: int, write: bool) -> int:
    started = time.monotonic()
    wrong = 0
    for each in _in_processes(outcome, range(len(programs)), jobs):
        wrong += len(each.wrong)
        for text in each.texts:
            progress(f"program {each.number}: {text}")
    progress(f"{len(programs)} programs: {time.monotonic() - started:.0f} s")
    control = dict(_in_processes(_control, [(title, len(programs)) for title in DEFECTS], jobs))
    text = page(programs, wrong, control)
    print(text)
    if write:
        PAGE.write_text(text, encoding="utf-8")
    return 1 if wrong or None in control.values() else 0


if __name__ == "__main__":
    # Under its real name, by which the processes can import it, too.
    from benchmarks.metamorphic.__main__ import main as run

    sys.exit(run(sys.argv[1:]))
