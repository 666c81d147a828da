"""`--mode=check` tells a task that depends on how the data is cut from one that does not."""

TASK = """
import gin, keras, tensorflow as tf
from tallyloop import metrics
from tallyloop.models import ClassifierTask

@gin.register
class CarelessTask(ClassifierTask):
    def loss(self, model, batch, training):
        losses, logits = super().loss(model, batch, training)
        metrics.add("careless", tf.reduce_mean(losses))   # a batch's mean: pieces of other sizes weigh the same
        return losses ** 2 / tf.reduce_mean(losses), logits
"""


def test_a_right_task_passes(command):
    done = command.raw("--gin_file=digits.gin", "--mode=check")
    assert done.returncode == 0, done.stderr
    assert "All numbers are the same" in done.stdout
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.startswith(("eval/", "grad"))}
    assert lines["eval/test/accuracy"][1] == lines["eval/test/accuracy"][2]
    assert {line[-1] for line in lines.values()} == {"same"}
    assert list(command.folder.iterdir()) == []


def test_a_task_that_averages_batches_fails_by_name(command):
    (command.folder / "careless.py").write_text(TASK)
    task = ["--import_module=careless", "--gin_param=Trainer.task=@CarelessTask()"]
    done = command.raw("--gin_file=digits.gin", *task, "--mode=check")
    assert done.returncode == 1, done.stderr
    verdicts = {line.split()[0]: line.split()[-1] for line in done.stdout.splitlines() if line.startswith("eval/")}
    assert verdicts["eval/test/careless"] == "DIFFERENT"
    assert verdicts["eval/test/loss"] == "DIFFERENT"
    assert verdicts["eval/test/accuracy"] == "same"
    assert "eval/test/careless: it depends on how the batch is cut" in done.stdout
    gradient = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("gradient/")]
    assert "DIFFERENT" in gradient
