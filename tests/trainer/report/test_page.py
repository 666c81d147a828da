import html.parser
import re
import shutil
import subprocess

import pytest
from tallyloop.trainer.report.page import page
from tallyloop.trainer.report.run import read

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "input", "br"}


class Checker(html.parser.HTMLParser):
    """Fails where elements are not closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def runs(make_run):
    evil = "<script>document.title='hacked'</script>"
    return [read("a & b", make_run("a")), read(evil, make_run("b", accuracies=(0.5, 0.6), exit_reason=f"E: {evil}"))]


class TestPage:
    def test_is_well_formed_and_loads_nothing(self, runs):
        checker = Checker()
        checker.feed(page(runs))
        assert checker.open == []
        assert not [names for _, names in checker.seen if {"src", "href"} & names.keys()]
        assert "http" not in page(runs)

    def test_has_a_curve_for_each_run_and_metric(self, runs):
        assert page(runs).count("<polyline") == 2 * 3
        assert page(runs).count("<figure>") == 2  # accuracy, loss

    def test_a_curve_has_its_extremes_at_the_edges(self, runs):
        """0.9 of run a is the greatest accuracy of all, 0.5 of run b the least."""
        points = re.findall(r'<polyline class="eval" data-of="(\d)"[^>]*points="([^"]*)"', page(runs))
        assert points[0] == ("0", "56.0,8.0 420.0,60.5")
        assert points[1] == ("1", "56.0,218.0 420.0,165.5")

    def test_a_long_curve_keeps_its_spike(self, make_run):
        lines = [
            f'{{"step": {step}, "split": "train", "metrics": {{"x": {9 if step == 5001 else 0}}}}}\n'
            for step in range(300, 9000)
        ]
        found = page([read("a", make_run(extra="".join(lines)))])
        (points,) = re.findall(r'<figcaption>x</figcaption>.*?points="([^"]*)"', found)
        assert len(points.split()) <= 300
        assert any(point.endswith(",8.0") for point in points.split())


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: apt-get install chromium")
def test_in_a_browser(runs, tmp_path):
    """Its script runs without an error, the curves are in the DOM, and a click sorts the table."""
    click = "<script>document.title='';document.querySelectorAll('th')[3].click();document.body.dataset.clicked='yes'</script>"
    (tmp_path / "page.html").write_text(page(runs) + click)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [*command, profile, f"file://{tmp_path}/page.html"], capture_output=True, text=True, timeout=60
    )
    dom = done.stdout
    assert 'data-clicked="yes"' in dom
    assert dom.count("<polyline") == 6
    assert "hacked" not in re.findall(r"<title>.*?</title>", dom)[0]
    first = re.search(r"<tbody>\s*<tr><td>(.*?)</td>", dom)[1]
    assert first.startswith("&lt;script")  # run b ends at 0.6, below the 0.8 of run a
