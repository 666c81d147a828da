import gin
import pytest
from tallyloop.trainer import config as configs
from tallyloop.trainer.config import engine, list_configurables, names, register_keras

keras = pytest.importorskip("keras")


@pytest.fixture(autouse=True, scope="module")
def registered():
    register_keras()
    before = set(engine.configurables())
    register_keras()
    assert set(engine.configurables()) == before


def made(load, *texts: str) -> object:
    load(*texts)
    return gin.get_configurable("TestsTrainer")(task=None).data


class TestKerasClasses:
    @pytest.mark.parametrize("name", ["keras.optimizers.Adam", "Adam"])
    def test_are_configured_by_full_and_short_name(self, load, name):
        adam = made(load, f"TestsTrainer.data = @{name}()\n{name}.learning_rate = 0.25\n")
        assert type(adam) is keras.optimizers.Adam
        assert float(adam.learning_rate) == 0.25
        again = keras.optimizers.Adam.from_config(adam.get_config())
        assert float(again.learning_rate) == 0.25

    @pytest.mark.parametrize("name", ["keras.applications.MobileNetV2", "MobileNetV2"])
    def test_functions_of_applications_are_known_too(self, load, name):
        made(load, f"TestsTrainer.data = @{name}\n{name}.alpha = 0.35\n")
        assert names.resolve(name) == "keras.applications.MobileNetV2"
        assert gin.query_parameter("keras.applications.MobileNetV2.alpha") == 0.35

    def test_called_from_python_take_nothing_from_the_config(self, load):
        made(load, "TestsTrainer.data = @Adam()\nAdam.learning_rate = 0.25\n")
        assert float(keras.optimizers.Adam().learning_rate) == pytest.approx(0.001)

    def test_are_registered_only_if_a_config_names_them(self, load, monkeypatch):
        told = []
        register = gin.external_configurable
        monkeypatch.setattr(
            gin, "external_configurable", lambda target, **names: told.append(target) or register(target, **names)
        )
        register_keras()
        assert type(made(load, "TestsTrainer.data = @keras.optimizers.Adadelta()\n")) is keras.optimizers.Adadelta
        assert type(made(load, "TestsTrainer.data = @Adadelta()\n")) is keras.optimizers.Adadelta
        assert told == [keras.optimizers.Adadelta]

    def test_bindings_reach_references_by_other_names(self, load):
        data = made(
            load,
            "TestsTrainer.data = [@SGD(), @keras.regularizers.l2(), @keras.Sequential()]\n"
            "SGD.learning_rate = @keras.optimizers.schedules.PiecewiseConstantDecay()\n"
            "PiecewiseConstantDecay.boundaries = [10]\nPiecewiseConstantDecay.values = [1.0, 0.5]\n"
            "keras.regularizers.L2.l2 = 0.5\n"
            "Sequential.layers = [@a/Conv2D(), @b/keras.layers.Convolution2D()]\n"
            "Conv2D.kernel_size = 3\na/Conv2D.filters = 4\nb/Convolution2D.filters = 5\n",
        )
        sgd, l2, model = data
        assert float(sgd._learning_rate(11)) == 0.5
        assert l2.l2 == 0.5
        assert [(type(layer), layer.filters) for layer in model.layers] == [
            (keras.layers.Conv2D, 4),
            (keras.layers.Conv2D, 5),
        ]

    def test_configured_layers_are_saved_and_cloned(self, load, tmp_path):
        layer = made(load, "TestsTrainer.data = @keras.layers.Dense()\nDense.units = 3\n")
        model = keras.Sequential([keras.Input((2,)), layer])
        model.save(tmp_path / "m.keras")
        loaded = keras.models.load_model(tmp_path / "m.keras")
        assert type(loaded.layers[0]) is keras.layers.Dense
        assert keras.models.clone_model(model).layers[0].units == 3

    def test_a_typo_is_found_although_keras_takes_kwargs(self, refused, load):
        message = refused("Adam.learnig_rate = 0.1\n")
        assert message.startswith('a.gin:1: Adam has no parameter "learnig_rate": did you mean "learning_rate"?')
        message = refused("Dense.unit = 1\n")
        assert message.startswith('a.gin:1: Dense has no parameter "unit": did you mean "units"?')
        message = refused('keras.optimizers.AdamW.exclude_from_weight_decay = ["bias"]\n')
        assert message.startswith(
            "a.gin:1: AdamW.exclude_from_weight_decay is a method, not a parameter: a config cannot call it"
        )
        load("Dense.input_shape = (3,)\nDense.name = 'd'\n")

    def test_are_listed_by_module(self):
        text = list_configurables()
        assert "\nkeras.optimizers.schedules\n  CosineDecay, CosineDecayRestarts, " in text
        assert text.index("Yours\n") < text.index("keras.constraints\n")

    def test_config_text_with_their_names_loads_again(self, load):
        loaded = load("TestsTrainer.data = @keras.optimizers.Adam()\nkeras.optimizers.Adam.learning_rate = 0.25\n")
        gin.get_configurable("TestsTrainer")(task=None)
        given, operative = configs.as_given(loaded), configs.operative(loaded)
        assert given == "# Bindings\nAdam.learning_rate = 0.25\nTestsTrainer.data = @Adam()\n"
        assert "\nAdam.beta_1 = 0.9\n" in operative
        assert configs.as_given(load(given)) == given
        assert configs.as_given(load(operative)) == operative


class TestAmbiguity:
    def test_a_name_of_two_keras_classes_is_refused(self, refused):
        assert refused("TestsTrainer.data = @MeanSquaredError()\n") == (
            'a.gin:1: "MeanSquaredError" is ambiguous: write keras.losses.MeanSquaredError or '
            "keras.metrics.MeanSquaredError"
        )

    def test_other_names_take_precedence_over_keras(self, monkeypatch):
        both = ["keras.layers.Tests", "tests_config.Tests"]
        monkeypatch.setattr(engine, "matching", lambda selector: both)
        assert names.resolve("Tests") == "tests_config.Tests"

    def test_a_configurable_of_ones_own_hides_a_keras_class(self, load):
        gin.register("Dense", module="tests_config")(lambda: "mine")
        text = "TestsTrainer.data = [@Dense(), @keras.layers.Dense()]\n"
        assert made(load, text + "keras.layers.Dense.units = 1\n")[0] == "mine"
        assert configs.as_given(load(text)) == ("# Bindings\nTestsTrainer.data = [@Dense(), @layers.Dense()]\n")
        engine.gin.config._REGISTRY.pop("tests_config.Dense")
