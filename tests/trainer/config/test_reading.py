from pathlib import Path

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import config
from tallyloop.trainer.config import reading


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
    monkeypatch.setattr(reading, "BUNDLED", tmp_path / "bundled")
    return tmp_path


class TestFind:
    def test_working_folder_then_search_paths_then_bundled(self, folders):
        search = [str(folders / "search")]
        write(folders / "bundled/x.gin", "tests_input.batch = 3\n")
        assert value(config.load(["x.gin"], (), search)) == 3
        write(folders / "search/x.gin", "tests_input.batch = 2\n")
        assert value(config.load(["x.gin"], (), search)) == 2
        write(folders / "work/x.gin", "tests_input.batch = 1\n")
        assert value(config.load(["x.gin"], (), search)) == 1
        assert value(config.load([str(folders / "search/x.gin")])) == 2

    def test_an_include_is_searched_beside_its_file_first(self, folders):
        write(folders / "search/deep/main.gin", "include 'part.gin'\n")
        write(folders / "work/part.gin", "tests_input.batch = 1\n")
        write(folders / "search/deep/part.gin", "tests_input.batch = 2\n")
        loaded = config.load(["deep/main.gin"], (), [str(folders / "search")])
        assert value(loaded) == 2
        assert str(loaded.bindings[0].location) == f"{folders}/search/deep/part.gin:1"

    def test_the_bundled_folder_is_beside_the_packages(self):
        assert (reading.BUNDLED / "digits.gin").is_file()

    def test_a_missing_file_lists_the_folders_and_a_similar_name(self, folders):
        write(folders / "search/digits.gin", "")
        with pytest.raises(UsageError) as caught:
            config.load(["digit.gin"], (), [str(folders / "search")])
        assert str(caught.value) == (
            '--gin_file: no config file "digit.gin": did you mean "digits.gin"? Searched '
            f"{folders}/work, {folders}/search, {folders}/bundled"
        )


class TestIncludes:
    def test_a_missing_one_names_the_line(self, folders):
        write(folders / "work/main.gin", "\ninclude 'gone.gin'\n")
        with pytest.raises(UsageError, match=r'^main.gin:2: no config file "gone.gin"'):
            config.load(["main.gin"])

    def test_a_file_that_includes_itself_is_refused(self, folders):
        write(folders / "work/a.gin", "include 'b.gin'\n")
        write(folders / "work/b.gin", "include 'a.gin'\n")
        with pytest.raises(UsageError, match=r'^b.gin:1: "a.gin" includes itself through a.gin, b.gin$'):
            config.load(["a.gin"])

    def test_a_line_after_an_include_overrides_the_included_file(self, folders):
        write(folders / "work/part.gin", "tests_input.batch = 2\n")
        write(folders / "work/after.gin", "include 'part.gin'\ntests_input.batch = 1\n")
        write(folders / "work/before.gin", "tests_input.batch = 1\ninclude 'part.gin'\n")
        assert value(config.load(["after.gin"])) == 1
        assert value(config.load(["before.gin"])) == 2

    def test_a_file_included_twice_has_no_duplicates(self, folders):
        write(folders / "work/part.gin", "tests_input.batch = 2\n")
        write(folders / "work/main.gin", "include 'part.gin'\ninclude 'part.gin'\n")
        assert config.load(["main.gin"]).warnings == ()

    def test_a_file_that_is_not_text_is_refused(self, load, refused, tmp_path):
        load("")
        (tmp_path / "bad.gin").write_bytes(b"\xff\xfe\x00")
        assert refused("include 'bad.gin'\n").startswith('a.gin:1: cannot read "bad.gin": ')


class TestImports:
    def test_register_what_later_lines_use(self, folders, monkeypatch):
        monkeypatch.syspath_prepend(folders / "work")
        write(
            folders / "work/tests_imported.py",
            "import gin\n\n@gin.register\ndef tests_late(x=1):\n    return x\n",
        )
        write(folders / "work/main.gin", "import tests_imported\ntests_late.x = 5\n")
        config.load([], ["tests_input.batch=1"])  # locks the config: an import must register all the same
        assert value(config.load(["main.gin"]), "tests_late.x") == 5

    def test_of_a_missing_module_is_refused(self, folders):
        write(folders / "work/main.gin", "# first\nimport tests_no_such_module.part\n")
        with pytest.raises(UsageError) as caught:
            config.load(["main.gin"])
        assert str(caught.value) == (
            "main.gin:2: cannot import tests_no_such_module.part: no module tests_no_such_module"
        )

    def test_of_a_failing_module_keep_its_own_error(self, folders, monkeypatch):
        monkeypatch.syspath_prepend(folders / "work")
        write(folders / "work/tests_failing.py", "import tests_missing_dependency\n")
        write(folders / "work/main.gin", "import tests_failing\n")
        with pytest.raises(ModuleNotFoundError, match="tests_missing_dependency"):
            config.load(["main.gin"])

    def test_dynamic_registration_is_refused(self, refused):
        message = refused("from __gin__ import dynamic_registration\n")
        assert message.startswith("a.gin:1: Tallyloop does not support gin's dynamic registration. Remove this line")


class TestReadParam:
    @pytest.mark.parametrize(
        ("param", "problem"),
        [
            ("tests_input.batch", "expected NAME=VALUE; write --gin_param=tests_input.batch=VALUE"),
            ("=3", "expected NAME=VALUE; write --gin_param=Trainer.train_steps=VALUE"),
            ("a b.c=3", '"a b.c" is not a name; write --gin_param=scope/Name.parameter=VALUE'),
        ],
    )
    def test_a_malformed_one_is_refused(self, refused, param, problem):
        assert refused(params=[param]) == f'--gin_param "{param}": {problem}'
