import sys

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.report import plotting
from tallyloop.trainer.report.run import Metric, read

from .conftest import line

ACCURACY = Metric("eval", "accuracy")


class TestPlot:
    def test_draws_a_curve_per_run_with_its_range(self, make_run):
        runs = [read("a", make_run("a")), read("b", make_run("b", accuracies=(0.1, 0.2)))]
        lines = plotting.plot(runs, [ACCURACY], 78, is_colored=False).split("\n")
        assert lines[0] == "accuracy"
        assert any("a a eval" in each for each in lines)
        assert any("b b eval" in each for each in lines)
        assert lines[2].lstrip().startswith("0.90")
        assert max(map(len, lines)) <= 78

    def test_no_escapes_without_colors(self, make_run):
        run = read("a", make_run())
        assert "\033" not in plotting.plot([run], [ACCURACY], 78, is_colored=False)
        assert "\033" in plotting.plot([run], [ACCURACY], 78, is_colored=True)

    def test_leaves_out_what_is_not_finite(self, make_run):
        nan = read("a", make_run(extra=line(300, "eval", width="NaN")))
        assert plotting.plot([nan], [Metric("eval", "width")], 78, False) == "width: no finite value to draw"

    def test_says_how_to_install_it(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "plotext", None)
        with pytest.raises(
            UsageError, match=r"expected plotext to be installed, as with: pip install .tallyloop\[report\]"
        ):
            plotting.plot([], [], 78, False)


def test_no_color(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert (plotting.colors_wanted(True), plotting.colors_wanted(False)) == (True, False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not plotting.colors_wanted(True)
