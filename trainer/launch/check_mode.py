"""`--mode=check`: the user's own task, on one replica and cut over three."""

from __future__ import annotations

from ..trainer import Trainer


def check(trainer: Trainer) -> bool:
    """Prints a line a number: one replica, three uneven replicas, difference, verdict. Returns whether all agree."""
    comparisons = trainer.check()
    width = max(len(each.name) for each in comparisons)
    print(f"{'':{width}}  {'1 replica':>14}  {'cut over 3':>14}  {'difference':>10}  verdict")
    for each in comparisons:
        verdict = "same" if each.same else "DIFFERENT"
        difference = abs(each.one - each.cut)
        print(f"{each.name:{width}}  {each.one:14.8g}  {each.cut:14.8g}  {difference:10.2g}  {verdict}")
    hints = [each.hint for each in comparisons if not each.same]
    print("\n" + ("\n".join(hints) if hints else "All numbers are the same however the data is cut."))
    return not hints
