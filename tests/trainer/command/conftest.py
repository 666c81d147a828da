import gin
import pytest


@pytest.fixture(autouse=True)
def clean_gin():
    """A loaded config is locked, and a module that other tests import later could not register anything."""
    yield
    gin.clear_config()
