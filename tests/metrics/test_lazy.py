"""The lazy front pages: the table, `__all__` and the imports that editors see name the same things."""

import ast
import importlib
import inspect
import subprocess
import sys

import gin
import pytest
from tallyloop.metrics.lazy import lazy_exports

PACKAGES = ("tallyloop.metrics", "tallyloop.metrics.writers", "tallyloop.trainer", "tallyloop.trainer.actions")


def _type_checking_imports(package):
    """name -> submodule, of the `if TYPE_CHECKING` block of a package."""
    (block,) = (
        node
        for node in ast.parse(inspect.getsource(package)).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    return {alias.name: f".{each.module}" for each in block.body for alias in each.names}


def _table(package):
    """The table that the package passes to `lazy_exports`."""
    (call,) = (
        node
        for node in ast.walk(ast.parse(inspect.getsource(package)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_exports"
    )
    return ast.literal_eval(call.args[1])


@pytest.mark.parametrize("name", PACKAGES)
class TestFrontPage:
    def test_type_checkers_see_the_table(self, name):
        package = importlib.import_module(name)
        assert _type_checking_imports(package) == _table(package)

    def test_all_is_the_table(self, name):
        package = importlib.import_module(name)
        assert sorted(package.__all__) == sorted(_table(package)) == dir(package)

    def test_every_export_resolves(self, name):
        package = importlib.import_module(name)
        with gin.unlock_config():  # a config that another test has loaded; some modules register what is in them
            assert {export for export in package.__all__ if getattr(package, export).__name__ != export} == set()

    def test_importing_it_loads_no_tensorflow(self, name):
        code = f"import sys, {name}; assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error():
    get_attribute, names = lazy_exports("tallyloop.metrics", {"join": ".paths", "flatten": ".paths"})
    assert get_attribute("join")("a", "b") == "a/b"
    assert names() == ["flatten", "join"]
    with pytest.raises(AttributeError, match=r"module 'tallyloop.metrics' has no attribute 'jion'"):
        get_attribute("jion")
