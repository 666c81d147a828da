from pathlib import Path

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import config
from tallyloop.trainer.config import sources


def value(loaded: config.Config, name: str = "tests_input.batch") -> object:
    return {binding.name: binding.value for binding in loaded.effective.values()}[name]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The working folder, a search path and a bundled folder, all empty."""
    for name in ("work", "search", "bundled"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(sources, "BUNDLED", tmp_path / "bundled")
    return tmp_path


def test_the_working_folder_wins_over_search_paths_and_these_over_bundled_configs(folders):
    search = [str(folders / "search")]
    write(folders / "bundled/x.gin", "tests_input.batch = 3\n")
    assert value(config.load(["x.gin"], (), search)) == 3
    write(folders / "search/x.gin", "tests_input.batch = 2\n")
    assert value(config.load(["x.gin"], (), search)) == 2
    write(folders / "work/x.gin", "tests_input.batch = 1\n")
    assert value(config.load(["x.gin"], (), search)) == 1
    assert value(config.load([str(folders / "search/x.gin")])) == 2


def test_an_include_is_searched_beside_the_including_file_first(folders):
    write(folders / "search/deep/main.gin", "include 'part.gin'\n")
    write(folders / "work/part.gin", "tests_input.batch = 1\n")
    write(folders / "search/deep/part.gin", "tests_input.batch = 2\n")
    loaded = config.load(["deep/main.gin"], (), [str(folders / "search")])
    assert value(loaded) == 2
    assert str(loaded.bindings[0].place) == f"{folders}/search/deep/part.gin:1"


def test_the_bundled_folder_is_the_one_beside_the_packages():
    assert (sources.BUNDLED / "digits.gin").is_file()


def test_a_missing_file_lists_the_folders_and_a_name_like_it(folders):
    write(folders / "search/digits.gin", "")
    with pytest.raises(UsageError) as caught:
        config.load(["digit.gin"], (), [str(folders / "search")])
    assert str(caught.value) == (
        '--gin_file: no config file "digit.gin": did you mean "digits.gin"? Searched '
        f"{folders}/work, {folders}/search, {folders}/bundled"
    )


def test_a_missing_include_names_the_line_that_includes_it(folders):
    write(folders / "work/main.gin", "\ninclude 'gone.gin'\n")
    with pytest.raises(UsageError, match=r'^main.gin:2: no config file "gone.gin"'):
        config.load(["main.gin"])


def test_a_file_that_includes_itself_is_refused(folders):
    write(folders / "work/a.gin", "include 'b.gin'\n")
    write(folders / "work/b.gin", "include 'a.gin'\n")
    with pytest.raises(UsageError, match=r'^b.gin:1: "a.gin" includes itself by way of a.gin, b.gin$'):
        config.load(["a.gin"])


def test_later_files_win_over_earlier_ones_and_parameters_over_all(load):
    first, second = "tests_input.batch = 1\n", "tests_input.batch = 2\n"
    assert value(load(first, second)) == 2
    assert value(load(second, first)) == 1
    assert value(load(first, second, params=["tests_input.batch=3"])) == 3


def test_a_line_after_an_include_wins_over_the_included_file(folders):
    write(folders / "work/part.gin", "tests_input.batch = 2\n")
    write(folders / "work/after.gin", "include 'part.gin'\ntests_input.batch = 1\n")
    write(folders / "work/before.gin", "tests_input.batch = 1\ninclude 'part.gin'\n")
    assert value(config.load(["after.gin"])) == 1
    assert value(config.load(["before.gin"])) == 2


def test_an_import_registers_what_later_lines_use(folders, monkeypatch):
    monkeypatch.syspath_prepend(folders / "work")
    write(
        folders / "work/tests_imported.py",
        "import gin\n\n@gin.register\ndef tests_late(x=1):\n    return x\n",
    )
    write(folders / "work/main.gin", "import tests_imported\ntests_late.x = 5\n")
    config.load([], ["tests_input.batch=1"])  # the config is locked now: an import must register all the same
    assert value(config.load(["main.gin"]), "tests_late.x") == 5


def test_an_import_of_nothing_is_refused_and_a_failing_module_speaks_for_itself(folders, monkeypatch):
    monkeypatch.syspath_prepend(folders / "work")
    write(folders / "work/main.gin", "# first\nimport tests_no_such_module.part\n")
    with pytest.raises(UsageError) as caught:
        config.load(["main.gin"])
    assert str(caught.value) == ("main.gin:2: cannot import tests_no_such_module.part: no module tests_no_such_module")
    write(folders / "work/tests_failing.py", "import tests_missing_dependency\n")
    write(folders / "work/main.gin", "import tests_failing\n")
    with pytest.raises(ModuleNotFoundError, match="tests_missing_dependency"):
        config.load(["main.gin"])


def test_dynamic_registration_is_refused(refused):
    message = refused("from __gin__ import dynamic_registration\n")
    assert message.startswith("a.gin:1: Tallyloop does not support gin's dynamic registration: remove this line")
