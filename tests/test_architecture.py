"""The rooms: which modules there are, how large, who may import whom, and where their tests are. Reads the sources only."""

import ast
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("metrics", "data", "trainer", "models")
# Each package may import itself and those that stand here. Of `trainer`, `models` imports the front page and the Task.
MAY_IMPORT = {
    "metrics": set(),
    "data": {"metrics"},
    "trainer": {"metrics", "data"},
    "models": {"metrics", "data", "trainer"},
}
# The rooms of the trainer, from the top: each may import those below it.
ROOMS = (
    "trainer.__main__",
    "trainer.command",
    "trainer.tuning",
    "trainer.compiled",
    "trainer.actions",
    "trainer.trainer",
    "trainer.study",
    "trainer.replay",
    "trainer.prediction",
    "trainer.arguments",
    "trainer.loop",
    "trainer.step",
    "trainer.checkpointing",
    "trainer.model",
    "trainer.user_code",
    "trainer.report",
    "trainer.project",
    "trainer.distribution",
    "trainer.task",
    "trainer.dashboard",
    "trainer.config",
    "trainer.errors",
    "trainer.export",
)
# Modules with behaviour that need no test file of their own, and why.
TESTED_ELSEWHERE = {
    "trainer/__main__.py": "starts the command, which the tests in tests/e2e run",
}

# Test files of a package that mirror no module of it, and what they test.
OF_SEVERAL_MODULES = {
    "data/rows/test_properties.py": "any plan of rows, by hypothesis",
    "data/rows/test_seeking.py": "all feeds of rows by number",
    "data/rows/test_two_workers.py": "what two workers read together",
    "data/sources/libraries/test_as_they_are.py": "objects of libraries without a source of ours",
    "data/test_docs.py": "the guide to data",
    "data/test_first_bad.py": "the example that all feeds name",
    "data/test_package.py": "the front page",
    "metrics/test_end_to_end.py": "from a layer to the files",
    "metrics/test_properties.py": "any cut of the examples, by hypothesis",
    "models/test_mixed_precision.py": "all bundled tasks",
    "models/test_package.py": "the front page",
    "trainer/actions/test_real_runs.py": "all actions in a run",
    "trainer/test_several_losses.py": "a task with several losses, from its gradients to its checkpoint",
    "trainer/test_writers.py": "a user's writers in a run",
}


def modules(folder: str) -> list[Path]:
    """The modules of a folder and of the folders in it, without the files that only describe a folder."""
    return sorted(path for path in (ROOT / folder).rglob("*.py") if path.name != "__init__.py")


def name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@functools.cache
def imports(path: Path) -> list[tuple[str, int]]:
    """(imported module of ours, line) of each relative import, those inside functions included."""
    return list(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.relative_to(ROOT).parent.parts
            base = base[: len(base) - node.level + 1]
            target = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                inner = ".".join([*target, alias.name])
                place = ROOT / inner.replace(".", "/")
                yield (inner if place.is_dir() or place.with_suffix(".py").exists() else ".".join(target)), node.lineno


def room(module: str) -> str:
    """A folder below a package is a room; a module that stands directly in a package is one of its own."""
    parts = module.split(".")
    return ".".join(parts[:2])


def cycle(edges: dict[str, dict[str, str]]) -> list[str] | None:
    """One cycle as lines that say where each import stands; None if there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str] | None:
        if node in path:
            loop = [*path[path.index(node) :], node]
            return [f"{a} -> {b} ({edges[a][b]})" for a, b in itertools.pairwise(loop)]
        if node in done:
            return None
        for following in edges.get(node, {}):
            if found := visit(following, [*path, node]):
                return found
        done.add(node)
        return None

    return next((found for node in sorted(edges) if (found := visit(node, []))), None)


def edges(unit) -> dict[str, dict[str, str]]:
    """Importer -> imported -> an example "file:line", between different units."""
    found: dict[str, dict[str, str]] = {}
    for package in PACKAGES:
        for path in modules(package):
            for target, line in imports(path):
                a, b = unit(name(path)), unit(target)
                if a != b and b not in PACKAGES:
                    found.setdefault(a, {}).setdefault(b, f"{path.relative_to(ROOT)}:{line}")
    return found


class TestImports:
    def test_packages_point_one_way(self):
        wrong = [
            f"{path.relative_to(ROOT)}:{line} imports {target}"
            for package in PACKAGES
            for path in modules(package)
            for target, line in imports(path)
            if (other := target.split(".")[0]) != package and other not in MAY_IMPORT[package]
        ]
        assert wrong == []

    def test_models_import_only_the_front_page_and_the_task(self):
        found = {target for path in modules("models") for target, _ in imports(path) if target.startswith("trainer")}
        assert found <= {"trainer", "trainer.task"}

    def test_we_import_ourselves_relatively(self):
        """An absolute import would be seen by none of these tests."""
        absolute = [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for package in PACKAGES
            for path in (ROOT / package).rglob("*.py")
            if "template" not in path.parts  # which becomes a user's
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            and not getattr(node, "level", 0)
            and any(each.split(".")[0] == "tallyloop" for each in _absolute_targets(node))
        ]
        assert absolute == []

    @pytest.mark.parametrize("unit", [room, str], ids=["rooms", "modules"])
    def test_no_cycle(self, unit):
        assert cycle(edges(unit)) is None

    def test_rooms_of_the_trainer_point_one_way(self):
        """A room imports from those below it only."""
        known = {name for one, others in edges(room).items() for name in (one, *others) if name.startswith("trainer")}
        assert known - {"trainer"} == set(ROOMS)
        place = {name: i for i, name in enumerate(ROOMS)}
        found = {
            f"{name} -> {target} ({where})"
            for name, targets in edges(room).items()
            for target, where in targets.items()
            if name in place and target in place and place[target] <= place[name]
        }
        assert found == set()

    def test_a_cycle_is_found(self):
        there_and_back = {"a": {"b": "a.py:1"}, "b": {"c": "b.py:2"}, "c": {"b": "c.py:3"}}
        assert cycle(there_and_back) == ["b -> c (b.py:2)", "c -> b (c.py:3)"]


def _absolute_targets(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


class TestConstructors:
    def test_take_at_most_8_arguments(self):
        """But those whose arguments are bindings of a config, which each have a page in the docs."""
        found = {
            f"{path.relative_to(ROOT)}: {node.name}"
            for package in PACKAGES
            for path in modules(package)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ClassDef)
            for method in node.body
            if isinstance(method, ast.FunctionDef) and method.name == "__init__"
            if len([*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]) > 9  # with self
        }
        assert found == {"data/input.py: Input", "models/tabular.py: TabularTask", "trainer/trainer.py: Trainer"}


class TestSize:
    @pytest.mark.parametrize("folder", [*PACKAGES, "benchmarks"])
    def test_a_package_holds_at_most_8_modules_beside_its_rooms(self, folder):
        found = [path.name for path in (ROOT / folder).glob("*.py") if path.name not in ("__init__.py", "__main__.py")]
        assert len(found) <= 8, found

    def test_few_crumbs_and_no_giant(self):
        lines = {
            name(path): len(path.read_text().splitlines()) for top in (*PACKAGES, "benchmarks") for path in modules(top)
        }
        crumbs = [module for module, count in lines.items() if count < 40]
        assert len(crumbs) < 10, crumbs
        assert [module for module, count in lines.items() if count > 450] == []


def has_behaviour(source: str) -> bool:
    """Whether there is a function or a method, and not only constants, types and exceptions."""
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(ast.parse(source)))


def mirror_of(path: Path) -> Path:
    """The test file that mirrors a module."""
    place = path.relative_to(ROOT)
    return ROOT / "tests" / place.with_name(f"test_{place.name}")


class TestMirror:
    def test_each_module_with_behaviour_has_a_test_file(self):
        untested = {
            str(path.relative_to(ROOT))
            for package in PACKAGES
            for path in modules(package)
            if has_behaviour(path.read_text()) and not mirror_of(path).exists()
        }
        assert untested == TESTED_ELSEWHERE.keys()

    def test_each_test_file_has_a_module(self):
        without = {
            str(path.relative_to(ROOT / "tests"))
            for package in PACKAGES
            for path in (ROOT / "tests" / package).rglob("test_*.py")
            if not (ROOT / path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_"))).exists()
        }
        assert without == OF_SEVERAL_MODULES.keys()

    def test_behaviour(self):
        assert has_behaviour("class A:\n  @property\n  def b(self): ...")
        assert not has_behaviour("class A(Exception):\n  b: int = 1\nC = lambda: 1")


class TestSlowList:
    @pytest.mark.parametrize("name", ["slow.txt", "nightly.txt"])
    def test_names_tests_that_there_are(self, name):
        listed = [line for line in (ROOT / "tests" / name).read_text().splitlines() if line[0] != "#"]
        for case in listed:
            file, *_, name = case.partition("[")[0].split("::")
            assert f"def {name}(" in (ROOT / file).read_text(), case
        assert listed == sorted(set(listed))
