"""Two towers: the loss, recall and masks beside NumPy, and the same weights however the batch is cut."""

import keras
import numpy as np
import pytest
from tallyloop.data import Input
from tallyloop.models import TwoTowerTask, dense_tower, embedding_tower
from tallyloop.trainer import Trainer

RNG = np.random.default_rng(3)
QUERY, ITEM = (RNG.normal(size=(10, 4)).astype(np.float32) for _ in range(2))
IDS = np.array([0, 1, 2, 3, 4, 0, 1, 7, 8, 9])


def linear():
    return dense_tower(hidden=(), width=3)


def trainer(data, batch, strategy=None, steps=0, **task):
    keras.utils.set_random_seed(0)
    given = {"query_tower": linear, "item_tower": linear, "recall_at": [1, 3]} | task
    return Trainer(
        TwoTowerTask(**given),
        keras.optimizers.SGD(0.5),
        strategy,
        Input(data, batch),
        {"test": Input(data, batch)},
        train_steps=max(steps, 1),
    )


def expected(model, query, item, ids=None, temperature=0.05):
    """Loss of each example and rank of its item, in float64."""
    vectors = []
    for tower, rows in ((model.query, query), (model.item, item)):
        kernel, bias = (each.numpy().astype(np.float64) for each in tower.weights)
        found = rows @ kernel + bias
        vectors.append(found / np.linalg.norm(found, axis=1, keepdims=True))
    logits = vectors[0] @ vectors[1].T / temperature
    if ids is not None:
        logits[(ids[:, None] == ids) & ~np.eye(len(ids), dtype=bool)] = -np.inf
    own = np.diag(logits)
    losses = np.log(np.exp(logits - own[:, None]).sum(1))
    return losses, (logits > own[:, None]).sum(1)


class TestNumbers:
    @pytest.mark.parametrize("ids", [None, IDS], ids=["all", "masked"])
    def test_of_batches_of_6_and_4(self, ids):
        data = {"query": QUERY, "item": ITEM} | ({} if ids is None else {"id": ids})
        run = trainer(data, 6, item_id=None if ids is None else "id")
        found = run.evaluate()["test"]
        parts = [
            expected(run.model, QUERY[rows], ITEM[rows], None if ids is None else ids[rows])
            for rows in (slice(0, 6), slice(6, 10))
        ]
        losses, ranks = (np.concatenate(each) for each in zip(*parts, strict=True))
        wanted = {"loss": losses.mean(), "recall_at_1": (ranks < 1).mean(), "recall_at_3": (ranks < 3).mean()}
        assert found == pytest.approx(wanted, rel=1e-5)

    def test_where_all_vectors_are_one_nothing_is_found(self):
        run = trainer({"query": QUERY, "item": ITEM}, 10)
        for tower in (run.model.query, run.model.item):
            kernel, bias = tower.weights
            kernel.assign(np.zeros(kernel.shape))
            bias.assign([1.0, 0.0, 0.0])
        found = run.evaluate()["test"]
        assert (found["recall_at_1"], found["recall_at_3"]) == (0, 0)
        assert found["loss"] == pytest.approx(np.log(10))

    def test_items_by_number_mask_themselves(self):
        towers = {"query_tower": lambda: embedding_tower(10, 3), "item_tower": lambda: embedding_tower(2, 3)}
        run = trainer({"query": np.arange(4), "item": np.array([0, 1, 0, 1])}, 4, **towers)
        q, v = (each.numpy() for each in (run.model.query.weights[0], run.model.item.weights[0]))
        cosine = (q[:4] / np.linalg.norm(q[:4], axis=1, keepdims=True)) @ (
            v / np.linalg.norm(v, axis=1, keepdims=True)
        ).T
        own, other = cosine[range(4), [0, 1, 0, 1]], cosine[range(4), [1, 0, 1, 0]]
        losses = np.log(1 + 2 * np.exp((other - own) / 0.05))  # two rows have the other item
        assert run.evaluate()["test"]["loss"] == pytest.approx(losses.mean(), rel=1e-5)


class TestReplicas:
    @pytest.fixture(scope="class")
    @classmethod
    def alone(cls):
        return cls.trained(None)

    @staticmethod
    def trained(strategy):
        """Batches of 7 and 3: on 4 replicas, one of the latter is empty."""
        run = trainer({"query": QUERY, "item": ITEM}, 7, strategy, steps=6, temperature=0.5)
        found = run.train_and_eval()["test"]
        return [weight.numpy() for weight in run.model.weights], found

    @pytest.mark.parametrize("replicas", [2, pytest.param(4, marks=pytest.mark.slow)])
    def test_same_weights(self, mirrored_on, alone, replicas):
        weights, found = self.trained(mirrored_on(replicas))
        for mine, one in zip(weights, alone[0], strict=True):
            np.testing.assert_allclose(mine, one, atol=1e-6)
        assert found == pytest.approx(alone[1], abs=1e-6)

    def test_a_step_is_that_of_numpy(self):
        """Of the whole batch: a finite difference of the mean loss in float64 is the gradient that moved the weights."""
        data = {"query": QUERY, "item": ITEM}
        run = trainer(data, 10, steps=1, temperature=1.0)
        kernel = run.model.item.weights[0]
        before = kernel.numpy().astype(np.float64)
        slopes = np.zeros_like(before)
        for place in np.ndindex(before.shape):
            sides = []
            for step in (1e-3, -1e-3):
                changed = before.copy()
                changed[place] += step
                kernel.assign(changed)
                sides.append(expected(run.model, QUERY, ITEM, temperature=1.0)[0].mean())
            slopes[place] = (sides[0] - sides[1]) / 2e-3
        kernel.assign(before)
        run.train()
        np.testing.assert_allclose(kernel.numpy(), before - 0.5 * slopes, atol=1e-4)


def test_predicts_vectors_of_one_side_too():
    run = trainer({"query": QUERY, "item": ITEM}, 4)
    both, items = run.predict(Input({"query": QUERY, "item": ITEM}, 4)), run.predict(Input({"item": ITEM}, 4))
    assert both.keys() == {"query", "item"}
    np.testing.assert_array_equal(items["item"], both["item"])


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"query_tower": 3}, "TwoTowerTask.query_tower = 3: expected a function that makes the model"),
            ({"temperature": 0}, "TwoTowerTask.temperature = 0: expected a number greater than 0"),
            ({"recall_at": 10}, "TwoTowerTask.recall_at = 10: expected a list of whole numbers"),
            ({"recall_at": [0]}, "TwoTowerTask.recall_at = 0: expected"),
        ],
    )
    def test_wrong_arguments_are_refused(self, refused, given, message):
        with refused(message):
            TwoTowerTask(**given)

    @pytest.mark.parametrize(
        ("data", "task", "message"),
        [
            ({"x": QUERY, "item": ITEM}, {}, "expected the key 'query', got ['item', 'x']; set TwoTowerTask.query"),
            (
                {"query": QUERY, "item": ITEM},
                {"item_id": "id"},
                "expected the key 'id', got ['item', 'query']; set TwoTower",
            ),
            (
                {"query": QUERY, "item": ITEM},
                {"item_tower": lambda: dense_tower((), 5)},
                "got vectors of shape (3,) for queries and (5,) for items; set the width of both",
            ),
            (
                {"query": QUERY, "item": np.arange(10)},
                {"item_tower": lambda: embedding_tower(5, 3)},
                "'item' has numbers from 0 to 9: expected numbers from 0 to 4; set embedding_tower.size",
            ),
            (
                {"query": QUERY, "item": ITEM},
                {"item_tower": lambda: embedding_tower(5, 3)},
                "TwoTowerTask.item_tower: expected inputs that it accepts, got float32 of shape (batch, 4): Invalid input shape",
            ),
        ],
        ids=["keys", "ids", "widths", "numbers", "features"],
    )
    def test_data(self, refused, data, task, message):
        with refused(message):
            trainer(data, 5, **task).evaluate()
