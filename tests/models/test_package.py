"""What the package offers."""

from tallyloop import models


def test_every_name_is_a_function_or_a_class():
    for name in models.__all__:
        assert callable(getattr(models, name)), name
