"""Tables: the linear part against arithmetic, categories that are new, weights, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_sample_weight
from tallyloop.data import Input, csv
from tallyloop.models import TabularTask, balanced_rows
from tallyloop.trainer import Trainer

TABLE = {
    "age": np.array([1, 2, 3, 6], np.int64),
    "size": np.array([0.0, 1.0, 0.0, 1.0]),
    "kind": np.array(["a", "b", "a", "b"]),
    "code": np.array([7, 7, 9, 9]),
    "weight": np.array([1.0, 2.0, 1.0, 0.0]),
    "price": np.array([10.0, 20.0, 30.0, 40.0]),
}
NAMES = {"target": "price", "numeric": ["age", "size"], "categorical": ["kind", "code"]}


def task(table=TABLE, **arguments):
    return TabularTask(**{"rows": lambda: table, "hidden": (), **NAMES, **arguments})


def tensors(table):
    return {name: tf.constant(column) for name, column in table.items()}


class TestModel:
    def test_linear_part(self):
        """Normalized numbers (mean 3, deviation sqrt(3.5); mean and deviation 0.5), then one place per category, others first."""
        found = task()
        model = found.build_model()
        kernel = np.arange(1, 9, dtype=np.float32)[:, np.newaxis]
        model.get_layer("linear").set_weights([kernel, np.array([0.5], np.float32)])
        batch = {
            "age": np.array([3, 6]),
            "size": np.array([1.0, 0.5]),
            "kind": np.array(["b", "new"]),
            "code": np.array([9, 8]),
        }
        kinds, codes = (model.get_layer(f"categories_{name}").get_vocabulary() for name in ("kind", "code"))
        features = [
            [0, 1, *(each == "b" for each in kinds), *(each == 9 for each in codes)],
            [3 / 3.5**0.5, 0, *(each == "[UNK]" for each in kinds), *(each == -1 for each in codes)],
        ]
        expected = (np.array(features, float) @ kernel + 0.5) * np.std(TABLE["price"]) + 25
        np.testing.assert_allclose(found.predict_step(model, tensors(batch)), expected[:, 0], rtol=1e-5)

    def test_weights_weigh_the_losses(self):
        found = task(sample_weight="weight")
        model = found.build_model()
        losses, predicted = found.loss(model, tensors(TABLE), training=True)
        np.testing.assert_allclose(losses, (predicted - TABLE["price"]) ** 2 * TABLE["weight"], rtol=1e-5)

    def test_rarest_categories_are_one(self):
        kinds = np.array(["a", "a", "b", "c"])
        model = task({**TABLE, "kind": kinds}, most_categories=1).build_model()
        assert model.get_layer("categories_kind").get_vocabulary() == ["[UNK]", "a"]

    def test_learns_and_is_loaded(self, tmp_path):
        keras.utils.set_random_seed(0)
        rng = np.random.default_rng(0)
        a, b = rng.normal(size=(2, 256)).astype("float32")
        table = {"a": a, "b": b, "y": a * b}
        product = TabularTask(lambda: table, "y", ["a", "b"], hidden=(32,))
        trainer = Trainer(
            product,
            keras.optimizers.Adam(0.01),
            train_dataset=Input(table, 32),
            eval_datasets={"same": Input(table, 64)},
            train_steps=300,
        )
        assert trainer.train_and_eval()["same"]["rmse"] < 0.3  # the deviation of a * b is 1
        trainer.model.save(tmp_path / "model.keras")
        columns = {"a": tf.constant(a[:3]), "b": tf.constant(b[:3])}
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(loaded(columns), trainer.model(columns), rtol=1e-5, atol=1e-6)


class TestColumns:
    """Any name of a column can be bound: those of Keras layers must be unique, without spaces and slashes."""

    @pytest.mark.parametrize("place", ["target", "numeric", "categorical"])
    @pytest.mark.parametrize(
        "name",
        ["Sale Price", "a/b", "linear", "network", "normalization", "hidden_0", "dropout_0", "add", "stack", "expand_dims_1",
         "concatenate", "categories_kind", "prix en €", "x\\y", "_x", "", "column_0"],
    )  # fmt: skip
    def test_may_have_any_name(self, name, place, recwarn):
        old = {"target": "price", "numeric": "age", "categorical": "code"}[place]
        table = {name if key == old else key: values for key, values in TABLE.items()}
        columns = {key: name if names == old else names for key, names in NAMES.items()}
        columns |= {key: [name if each == old else each for each in NAMES[key]] for key in ("numeric", "categorical")}
        keras.utils.clear_session(free_memory=False)  # Keras counts the names that it gives: they begin anew
        found = task(table, hidden=(4,), dropout=0.5, **columns)
        model = found.build_model()
        assert model.input.keys() == {*columns["numeric"], *columns["categorical"]}
        losses = tf.function(lambda batch: found.loss(model, batch, training=True)[0])(tensors(table))
        assert losses.shape == 4
        assert not [each for each in recwarn if each.category is UserWarning]

    @pytest.mark.parametrize("names", [("a b", "a_b"), ("a/b", "a_b"), ("€", "_")])
    def test_may_be_alike(self, names, tmp_path):
        table = dict(zip(names, (TABLE["kind"], TABLE["code"]), strict=True)) | {"price": TABLE["price"]}
        found = TabularTask(lambda: table, "price", categorical=names, hidden=())
        model = found.build_model()
        predicted = found.predict_step(model, tensors(table))
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(found.predict_step(loaded, tensors(table)), predicted, rtol=1e-6)

    @pytest.mark.parametrize("constant", [0.1, 0.0, 16777216.0])
    def test_constant_in_training_is_scaled_by_one(self, constant, tmp_path):
        """Keras divides by its least deviation, 1e-7, and a value that is new is ten million deviations away."""
        table = {"a": np.full(10, constant), "b": np.array([-1.0, 1] * 5), "y": np.array([0.0, 2] * 5)}
        found = TabularTask(lambda: table, "y", ["a", "b"], hidden=())
        model = found.build_model()
        model.get_layer("linear").set_weights([np.array([[3.0], [1.0]]), np.zeros(1)])
        batch = tensors({"a": np.array([constant, constant + 2]), "b": np.array([1.0, 0.0])})
        expected = [2, 7]  # the mean 1 and the deviation 1 of the target: 1 + (0 * 3 + 1), 1 + (2 * 3 + 0)
        np.testing.assert_allclose(found.predict_step(model, batch), expected, atol=1e-5)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(found.predict_step(loaded, batch), expected, atol=1e-5)


class TestBalancedRows:
    @pytest.mark.parametrize("column", ["code", "kind"])
    def test_weigh_as_in_scikit_learn(self, column):
        table = {**TABLE, "code": np.array([7, 7, 7, 9]), "kind": np.array(["b", "a", "c", "b"], object)}
        found = balanced_rows(lambda: table, column, weight="balance")
        assert set(found) == {*table, "balance"}
        np.testing.assert_allclose(found["balance"], compute_sample_weight("balanced", table[column]), rtol=1e-6)

    def test_of_a_file(self, tmp_path):
        """Three rows of two kinds: 3 / (2 * 2) and 3 / (2 * 1)."""
        (tmp_path / "t.csv").write_text("kind,price\na,2\nb,3\na,4\n")
        found = balanced_rows(lambda: csv(tmp_path / "t.csv"), "kind")
        assert found["weight"].tolist() == [0.75, 1.5, 0.75]
        assert found["price"].tolist() == [2, 3, 4]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"rows": TABLE}, "balanced_rows.rows = {"),
            (
                {"column": "kinds"},
                "balanced_rows.column: 'kinds' is not a column of the training rows: expected one of ['age',",
            ),
            ({"weight": "price"}, "balanced_rows.weight = 'price': expected a new name"),
        ],
    )
    def test_mistakes_are_refused(self, refused, arguments, message):
        with refused(message):
            balanced_rows(**{"rows": lambda: TABLE, "column": "kind", "weight": "balance", **arguments})


def with_column(name, values):
    return {**TABLE, name: np.array(values)}


class TestRefused:
    @pytest.mark.parametrize(
        ("table", "arguments", "message"),
        [
            (
                TABLE,
                {"target": "cost"},
                "TabularTask.target: 'cost' is not a column of the training rows: expected one of ['age',",
            ),
            (TABLE, {"numeric": ["agee"]}, "TabularTask.numeric: 'agee' is not a column"),
            (TABLE, {"numeric": "age"}, "TabularTask.numeric = 'age': expected a list of columns"),
            (TABLE, {"numeric": [], "categorical": []}, "expected at least one column, got none"),
            (TABLE, {"numeric": ["price"]}, "the column 'price' is named twice"),
            (
                TABLE,
                {"categorical": ["size"], "numeric": []},
                "column 'size' is float64: expected strings or whole numbers",
            ),
            (
                with_column("age", ["1", "2", "x", "6"]),
                {},
                "column 'age', row 2 (counted from 0): expected a number, as",
            ),
            (
                with_column("age", ["1", "2", "3", "6"]),
                {},
                "column 'age', row 0 (counted from 0): expected a number, as TabularTask.numeric has the column, got '1'",
            ),
            (
                with_column("size", [0, np.nan, 0, 1]),
                {},
                "column 'size', row 1 (counted from 0): expected a finite number",
            ),
            (with_column("weight", [1, -1, 1, 1]), {"sample_weight": "weight"}, "'weight' has a weight below 0"),
            (with_column("kind", [["a"]] * 4), {}, "column 'kind' has shape (4, 1): expected one value per row"),
        ],
    )
    def test_mistakes_are_refused(self, refused, table, arguments, message):
        with refused(message):
            task(table, **arguments).build_model()

    @pytest.mark.parametrize(
        ("column", "values", "message"),
        [
            ("age", ["1", "2"], "column 'age' holds strings: expected numbers, as TabularTask.numeric names it"),
            ("price", ["1", "2"], "column 'price' holds strings: expected numbers, as TabularTask.target names it"),
            (
                "weight",
                ["1", "2"],
                "column 'weight' holds strings: expected numbers, as TabularTask.sample_weight names",
            ),
            ("kind", [1, 2], "column 'kind' holds int64: expected strings, as in the training rows; give"),
            ("code", ["7", "9"], "column 'code' holds string: expected whole numbers, as in the training rows; give"),
        ],
    )
    def test_batch_of_other_types_than_the_training_rows(self, refused, column, values, message):
        found = task(sample_weight="weight")
        batch = {name: each[:2] for name, each in TABLE.items()} | {column: np.array(values)}
        with refused(f"The batch: {message}"):
            found.loss(found.build_model(), tensors(batch), training=True)

    def test_batch_without_its_target(self, refused):
        found = task()
        batch = {name: each for name, each in TABLE.items() if name != "price"}
        with refused("expected the key 'price', got ['age', 'code', 'kind', 'size', 'weight']; set TabularTask.target"):
            found.loss(found.build_model(), tensors(batch), training=True)

    def test_source_with_parentheses(self, refused):
        with refused("expected a source without parentheses, such as @train/csv"):
            task(rows=TABLE).build_model()

    def test_cell_of_a_file(self, tmp_path, refused):
        (tmp_path / "t.csv").write_text("age,price\n1,2\ntwo,3\n")
        source = lambda: csv(tmp_path / "t.csv", columns={"age": "float32", "price": "float32"})  # noqa: E731
        with refused("t.csv:3: "):
            task(rows=source, numeric=["age"], categorical=[]).build_model()
