"""The `tallyloop-report` command."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Literal, NoReturn, get_args

from ...metrics.errors import UsageError, did_you_mean
from ..errors import DONE, FAILED, WRONG_USAGE
from . import comparing, folders, page, plotting, run, tables

Format = Literal["table", "csv", "json", "markdown", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)

_USAGE = """tallyloop-report RUN [RUN ...] [--format=table|csv|json|markdown|html] [--metric=NAME] [--plot=NAME] [--watch]

Compares runs: how each ended, final and best metrics, what differs in their configs, where the time went.

  tallyloop-report runs                           every run below the folder
  tallyloop-report 'runs/lr*' --metric=accuracy   a pattern; these columns
  tallyloop-report runs --plot=loss               curves in the terminal
  tallyloop-report runs --format=html > runs.html one file to send
"""
_METRICS_SHOWN = 4
_SECONDS_BETWEEN_LOOKS = 5.0
_CLEAR = "\033[H\033[2J"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"tallyloop-report: {message} (tallyloop-report --help shows the usage)")


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code.

    Args:
      argv: the name of the program, then its arguments.
    """
    try:
        options = _options(argv[1:])
        if options.watch:
            _watch(options)
        else:
            print(_report(options, run_folders(options))[0])
        sys.stdout.flush()
        return DONE
    except UsageError as error:
        print(f"Error: {error}", file=sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt:
        return DONE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever reads has seen enough
        return FAILED


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser("tallyloop-report", usage=_USAGE, add_help=True, allow_abbrev=False)
    parser.add_argument("runs", metavar="RUN", nargs="*", help="a run folder, a folder with runs, or a pattern")
    parser.add_argument("--format", default="table", help=f"one of {', '.join(FORMATS)}")
    parser.add_argument("--metric", action="append", default=[], help="a metric to show; repeatable")
    parser.add_argument("--plot", action="append", default=[], help="a metric to draw in the terminal; repeatable")
    parser.add_argument("--watch", action="store_true", help="again every few seconds, until no run is running")
    options = parser.parse_args(arguments)
    if not options.runs:
        raise UsageError(
            "tallyloop-report: expected at least one RUN, such as runs/digits, a folder of runs, or a pattern."
        )
    if options.format not in FORMATS:
        hint = did_you_mean(options.format, FORMATS) or "."
        raise UsageError(f"--format={options.format}: expected one of {', '.join(FORMATS)}{hint}")
    if options.format != "table" and (options.watch or options.plot):
        flag = "--watch" if options.watch else f"--plot={options.plot[0]}"
        raise UsageError(
            f"{flag}: expected --format=table, which is for a terminal, got {options.format}; remove one of them."
        )
    if options.metric and options.format not in ("table", "markdown"):
        raise UsageError(
            f"--metric={options.metric[0]}: expected --format=table or markdown, got {options.format}, which has all metrics."
        )
    return options


def run_folders(options: argparse.Namespace) -> list[run.Run]:
    """Return the runs that the options name, as they are now."""
    return comparing.ordered([run.read(name, folder) for name, folder in folders.find(options.runs).items()])


def _report(options: argparse.Namespace, runs: Sequence[run.Run]) -> tuple[str, bool]:
    """Return the report, and whether a run is still running."""
    is_running = any(each.ending.state == "running" for each in runs)
    if options.plot:
        metrics = comparing.chosen(runs, options.plot, "--plot")
        is_colored = plotting.colors_wanted(sys.stdout.isatty())
        return plotting.plot(runs, metrics, _width(), is_colored), is_running
    whole = {"csv": tables.to_csv, "json": tables.to_json, "html": page.page}
    if options.format in whole:
        return whole[options.format](runs), is_running
    return _tables(options, runs), is_running


def _tables(options: argparse.Namespace, runs: Sequence[run.Run]) -> str:
    every = comparing.metrics_of(runs)
    shown = comparing.chosen(runs, options.metric, "--metric") if options.metric else every[:_METRICS_SHOWN]
    found = [comparing.results(runs, shown), comparing.differences(runs), comparing.time(runs)]
    is_text = options.format == "table"
    parts = [
        tables.text(table, _width()) if is_text else tables.markdown(table)
        for table in found
        if len(table.columns) > 1 and table.rows
    ]
    remarks = comparing.remarks(runs)
    if not options.metric and len(every) > len(shown):
        left = len(every) - len(shown)
        more = "1 more metric" if left == 1 else f"{left} more metrics"
        remarks.append(f"{more}: --metric=NAME shows one, --format=csv, json or html all")
    return "\n\n".join([*parts, "\n".join(remarks if is_text else [f"- {remark}" for remark in remarks])]).rstrip()


def _width() -> int:
    return shutil.get_terminal_size((100, 24)).columns


def _watch(options: argparse.Namespace) -> None:
    is_running = True
    while is_running:
        text, is_running = _report(options, run_folders(options))
        clear = _CLEAR if sys.stdout.isatty() else ""
        print(f"{clear}{time.strftime('%H:%M:%S')}\n{text}\n", flush=True)
        if is_running:
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def run_command() -> None:
    """Run the command line, and exit with its code."""
    sys.exit(main(sys.argv))


if __name__ == "__main__":
    run_command()
