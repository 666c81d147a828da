"""What the Trainer does before and without training."""

import pytest
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer import Task, Trainer


class TestTrainer:
    def test_construction_writes_nothing(self, tmp_path):
        Trainer(Task(), model_dir=tmp_path / "run" / "deep")
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match=r"model_dir=.*file/run.* is a file, not a folder"):
            Trainer(Task(), model_dir=tmp_path / "file" / "run")

    @pytest.mark.parametrize("name", ["train_dataset", "optimizer"])
    def test_names_what_training_lacks(self, name, make_trainer):
        with pytest.raises(UsageError, match=rf"Trainer.{name} is needed to train"):
            make_trainer(**{name: None}).train()

    def test_nothing_to_evaluate(self, make_trainer):
        with pytest.raises(UsageError, match=r"Trainer.eval_datasets is empty"):
            make_trainer().evaluate()

    def test_batch_smaller_than_the_replicas(self, make_trainer, rows):
        message = r"Trainer.train_dataset: Input.global_batch_size = 3 is smaller than the 4 replicas.*at least 4"
        with pytest.raises(UsageError, match=message):
            make_trainer(replicas=4, data=8, batch=3).train()

    def test_dry_run(self, make_trainer, tmp_path, rows):
        datasets = {"a": Input(rows(20), 8), "b": Input(rows(3), 8)}
        trainer = make_trainer(data=20, replicas=2, eval_datasets=datasets, model_dir=tmp_path / "run")
        summaries = trainer.dry_run()
        assert [(s.split, s.counts["loss"]) for s in summaries] == [("train", 16), ("eval/a", 8), ("eval/b", 3)]
        assert list(tmp_path.iterdir()) == []
