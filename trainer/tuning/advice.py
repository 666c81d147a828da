"""The advice: what to take of what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from .measured import WORTH, Measured
from .table import brief

_EQUAL = 0.97  # of the time: what is as close differs by noise


def advice(given: Measured, found: Sequence[Measured], train_steps: int) -> str:
    """Return what to take of what was measured.

    Args:
      given: the config as given.
      found: the others.
      train_steps: of the config.
    """
    faster = [each for each in found if each.is_faster]
    same = [each for each in faster if not each.setting.changes]
    best = fastest(given, same, train_steps)
    parts = [_chosen("Fastest", best, given, train_steps)] if best else [_nothing(bool(same), train_steps)]
    changing = [each for each in faster if each.setting.changes]
    for each in _by_what_they_change(given, changing, best, train_steps):
        parts.append(_chosen("Faster, but trains differently", each, given, train_steps))
    parts += [_late(each, given, train_steps) for each in same if is_late(each, given, train_steps)]
    return "\n\n".join(parts)


def fastest(given: Measured, found: Sequence[Measured], train_steps: int) -> Measured | None:
    """Return what ends first, its start included, if that is before the config as given; of equals, what sets the least."""
    paying = [each for each in found if not is_late(each, given, train_steps)]
    first = min((each.seconds_for(train_steps, given) for each in paying), default=0.0)
    equal = [each for each in paying if each.seconds_for(train_steps, given) * _EQUAL <= first]
    return min(equal, key=lambda each: (each.setting.size, each.seconds_for(train_steps, given)), default=None)


def is_late(measured: Measured, given: Measured, train_steps: int) -> bool:
    """Return whether the config ends before a setting pays."""
    return measured.seconds_for(train_steps, given) >= given.seconds_for(train_steps, given)


def _by_what_they_change(
    given: Measured, found: Sequence[Measured], best: Measured | None, train_steps: int
) -> list[Measured]:
    """Return the fastest of those that change the same thing, where it is faster than what changes nothing."""
    most = (best or given).ratio * WORTH
    kinds = dict.fromkeys(each.setting.changes for each in found if each.ratio <= most)
    chosen = [fastest(given, [each for each in found if each.setting.changes == kind], train_steps) for kind in kinds]
    return [each for each in chosen if each is not None and each.ratio <= most]


def _nothing(is_faster_later: bool, train_steps: int) -> str:
    if is_faster_later:
        return f"Keep the config as it is: nothing that is faster pays within its {train_steps:,} steps."
    return f"Keep the config as it is: no setting that trains the same gains {1 - WORTH:.0%} and more than the noise."


def _chosen(title: str, measured: Measured, given: Measured, train_steps: int) -> str:
    low, high = measured.spread
    gains = (
        f"{title}: {measured.setting.name}. {measured.ratio:.2f} ({low:.2f} to {high:.2f}) times the time per example, "
        f"{brief(measured.step)} per step."
    )
    notes = [f"  Note: {each}." for each in (measured.setting.changes, measured.setting.remark) if each]
    return "\n".join([gains, *notes, *(f"  {line}" for line in measured.setting.lines)])


def _late(measured: Measured, given: Measured, train_steps: int) -> str:
    return (
        f"{measured.setting.name} takes {measured.ratio:.2f} times the time, but {measured.pays_after(given):,} steps to make up "
        f"for its start; this config trains {train_steps:,}."
    )
