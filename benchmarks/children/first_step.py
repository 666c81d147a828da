"""For `--import_module`: what a config of `benchmarks.startup` names."""

import gin

from benchmarks.children import rows as data

gin.register("random_rows", module="benchmarks")(data.rows)


@gin.register(module="benchmarks")
def say_first_step(trainer, summary) -> None:
    """An action of the Trainer."""
    print(data.FIRST_STEP, flush=True)
