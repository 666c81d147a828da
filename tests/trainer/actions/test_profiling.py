"""A profile of some steps: which ones it has, and where it is."""

from types import SimpleNamespace

import pytest
from tallyloop.metrics import UsageError
from tallyloop.trainer.actions import Profile
from tensorflow.tsl.profiler.protobuf import xplane_pb2


def profiles(folder):
    """The names of all events, of each profile that TensorBoard finds."""
    found = []
    for path in (folder / "train" / "plugins" / "profile").glob("*/*.xplane.pb"):
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
        found.append(
            [p.event_metadata[e.metadata_id].name for p in space.planes for line in p.lines for e in line.events]
        )
    return found


class TestProfile:
    def test_has_the_steps(self, twins):
        (_, folder), (_, without) = twins
        (events,) = profiles(folder)
        assert [event for event in events if event.startswith("train")].count("train") == 2
        assert profiles(without) == []

    def test_of_a_run_that_ends_meanwhile(self, make_trainer, tmp_path):
        def stop(trainer, summary):
            trainer.stop("enough")

        actions = [stop, Profile(after=2, steps=3)]
        make_trainer(actions=actions, summary_interval=4, model_dir=tmp_path).train()
        (events,) = profiles(tmp_path)
        assert events.count("train") == 3  # the third one had begun

    def test_needs_so_many_steps(self):
        with pytest.raises(
            UsageError, match=r"Profile.after = 4, Profile.steps = 3: expected steps up to .*_steps = 6"
        ):
            Profile(4, 3).check(SimpleNamespace(train_steps=6))

    @pytest.mark.parametrize(("arguments", "message"), [((0, 3), "Profile.after = 0"), ((3, 0), "Profile.steps = 0")])
    def test_wrong_arguments_are_refused(self, arguments, message):
        with pytest.raises(UsageError, match=message):
            Profile(*arguments)
