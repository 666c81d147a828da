"""The book of a search; what optuna's private names are needed for stands in TestKilled."""

import math
import shutil
import sys

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.study.search import Search
from tallyloop.trainer.study.space import read

RANGES = [
    "rate=%search.loguniform(1e-4, 1e-1)",
    "width=%search.int(10, 45, 10)",
    "model=%search.choice(@mlp, 'x', (1, 2))",
]


def space(*ranges, mode="max"):
    return read([], ["Trainer.best_metric=accuracy", f"Trainer.best_mode={mode}", *(ranges or RANGES)], [])


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The file of a study without trials: to make one takes long."""
    folder = tmp_path_factory.mktemp("begun")
    Search(folder, "s", space(), 3, False, False)
    return folder / "study.db"


@pytest.fixture
def book(tmp_path, begun):
    shutil.copy(begun, tmp_path)

    def make(count=3, of=None, prune=False):
        return Search(tmp_path, "s", of or space(), count, prune, in_parallel=False)

    return make


class TestValues:
    def test_are_of_their_ranges_as_gin_reads_them(self, book):
        found = book(8)
        trials = [found.next() for _ in range(8)]
        assert found.next() is None
        assert all(1e-4 <= float(trial.values["rate"]) <= 1e-1 for trial in trials)
        assert any(float(trial.values["rate"]) < math.sqrt(1e-5) for trial in trials)  # half of them, by logarithm
        assert {trial.values["width"] for trial in trials} <= {"10", "20", "30", "40"}
        assert {trial.values["model"] for trial in trials} <= {"@mlp", "'x'", "(1, 2)"}
        assert len({trial.choice for trial in trials}) == 8


class TestKilled:
    def test_a_trial_is_taken_up_with_its_values(self, book):
        before = book().next()
        again = book()
        assert again.trials() == [before]
        assert not again.report(0, [(1, 0.5)])
        again.finish(0, "done", 0.5, "")
        assert book().trials()[0].value == 0.5

    def test_one_without_values_gets_those_that_it_would_have_had(self, book, tmp_path, begun):
        expected = book().next().values
        other = tmp_path / "other"
        other.mkdir()
        shutil.copy(begun, other)
        first = Search(other, "s", space(), 3, False, False)
        first._study.ask()
        assert Search(other, "s", space(), 3, False, False).trials()[0].values == expected

    def test_points_are_reported_once(self, book):
        first = book()
        first.next()
        first.report(0, [(1, 0.5)])
        again = book()
        again.report(0, [(1, 0.5), (2, 0.25)])
        assert again._study.trials[0].intermediate_values == {1: 0.5, 2: 0.25}


class TestPruning:
    @pytest.mark.parametrize(("mode", "hopeless"), [("max", 0.1), ("min", 0.9)])
    def test_is_by_the_median_of_at_least_five(self, book, mode, hopeless, tmp_path):
        if mode == "min":
            (tmp_path / "study.db").unlink()
        found = book(7, of=space(mode=mode), prune=True)
        for number in range(5):
            found.next()
            assert not found.report(number, [(1, 0.3 + number / 10)])
            found.finish(number, "done", 0.5, "")
        found.next()
        assert found.report(5, [(1, hopeless)])
        found.next()
        assert not found.report(6, [(1, 0.51 if mode == "max" else 0.49)])


class TestMistakes:
    def test_optuna_is_missing(self, book, monkeypatch):
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(
            UsageError, match=r'expected optuna to be installed, as with: pip install "tallyloop\[study\]"'
        ):
            book()

    def test_another_metric(self, book):
        book()
        with pytest.raises(UsageError, match="begun with, maximize accuracy, got minimize accuracy"):
            book(of=space(mode="min"))

    def test_other_choices(self, book):
        book(of=space("a=%search.choice(1, 2)")).next()
        with pytest.raises(
            UsageError, match=r"a = %search.choice\(1, 3\): expected the kind of range, and the same choices"
        ):
            book(of=space("a=%search.choice(1, 3)"))

    def test_a_damaged_file(self, book, tmp_path):
        (tmp_path / "study.db").write_bytes(b"no database at all, but long enough to be one" * 9)
        with pytest.raises(UsageError, match=r"study\.db cannot be read"):
            book()
