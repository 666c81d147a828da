import threading
from pathlib import Path

import pytest
from tallyloop.metrics.writers import AsyncWriter, MultiWriter, Summary
from tallyloop.metrics.writers.summary import Ending, RunDescription


class Recorder:
    """Remembers what it was told, and raises at the steps in `failing` and at the calls named in it."""

    def __init__(self, failing=()):
        self.calls = []
        self.threads = set()
        self._failing = failing

    def write(self, summary):
        self.threads.add(threading.current_thread())
        self._take(summary.step)

    def flush(self):
        self._take("flush")

    def close(self):
        self._take("close")

    def _take(self, call):
        self.calls.append(call)
        if call in self._failing:
            raise OSError(f"no space at {call}")


class Blocked(Recorder):
    """Writes nothing until `gate` is set, or for so long that a test fails."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()

    def write(self, summary):
        self.gate.wait(5)
        super().write(summary)


def summary(step):
    return Summary(step, "train", {"loss": 1.0}, {"loss": 1.0})


class TestMultiWriter:
    def test_passes_everything_on(self):
        first, second = Recorder(), Recorder()
        writer = MultiWriter([first, second])
        writer.write(summary(1))
        writer.flush()
        writer.close()
        assert first.calls == second.calls == [1, "flush", "close"]

    @pytest.mark.parametrize(
        ("call", "name"),
        [
            (lambda writer: writer.write(summary(1)), 1),
            (lambda writer: writer.flush(), "flush"),
            (lambda writer: writer.close(), "close"),
        ],
    )
    def test_gives_everyone_a_turn_then_raises_the_first_error(self, call, name):
        writers = [Recorder(), Recorder(failing=[name]), Recorder(failing=[name]), Recorder()]
        with pytest.raises(OSError, match=f"no space at {name}") as caught:
            call(MultiWriter(writers))
        assert [writer.calls for writer in writers] == [[name]] * 4
        assert caught.value.__notes__ == [f"Recorder failed too: OSError('no space at {name}')"]


class Described(Recorder):
    def begin(self, run):
        self._take(run.step)

    def end(self, ending):
        self._take(ending.state)


class TestDescription:
    def test_reaches_the_writers_that_take_it_in_order(self):
        plain, described = Recorder(), Described()
        writer = AsyncWriter(MultiWriter([plain, described]))
        writer.begin(RunDescription(Path("run"), 7, {}))
        writer.write(summary(8))
        writer.end(Ending("done", "done"))
        writer.close()
        assert plain.calls == [8, "close"]
        assert described.calls == [7, 8, "done", "close"]


class TestAsyncWriter:
    def test_writes_in_order_on_one_other_thread(self):
        below = Recorder()
        writer = AsyncWriter(below)
        for step in range(200):
            writer.write(summary(step))
        writer.close()
        assert below.calls == [*range(200), "close"]
        assert len(below.threads) == 1
        assert threading.main_thread() not in below.threads

    def test_does_not_wait_for_the_writer_below(self):
        below = Blocked()
        writer = AsyncWriter(below)
        for step in range(10):
            writer.write(summary(step))
        assert below.calls == []
        below.gate.set()
        writer.close()
        assert len(below.calls) == 11

    def test_holds_the_caller_up_rather_than_fill_memory(self):
        below = Blocked()
        writer = AsyncWriter(below)
        producer = threading.Thread(target=lambda: [writer.write(summary(step)) for step in range(1000)])
        producer.start()
        producer.join(0.3)
        assert producer.is_alive()
        below.gate.set()
        producer.join(20)
        writer.close()
        assert below.calls == [*range(1000), "close"]

    def test_flush_waits_for_what_was_written(self):
        below = Blocked()
        writer = AsyncWriter(below)
        writer.write(summary(1))
        threading.Timer(0.1, below.gate.set).start()
        writer.flush()
        assert below.calls == [1, "flush"]
        writer.close()

    def test_raises_an_error_at_the_next_write_which_is_still_taken(self):
        below = Recorder(failing=[1])
        writer = AsyncWriter(below)
        writer.write(summary(1))
        writer._queue.join()
        with pytest.raises(OSError, match="no space at 1"):
            writer.write(summary(2))
        writer.write(summary(3))  # raised once only
        writer.close()
        assert below.calls == [1, 2, 3, "close"]

    @pytest.mark.parametrize("call", ["flush", "close"])
    def test_raises_an_error_at_flush_and_close(self, call):
        below = Recorder(failing=[1, 2, call])
        writer = AsyncWriter(below)
        writer._queue.put(lambda: below.write(summary(1)))
        writer._queue.put(lambda: below.write(summary(2)))
        with pytest.raises(OSError, match="no space at 1") as caught:
            getattr(writer, call)()
        assert below.calls == [1, 2, call]
        assert caught.value.__notes__ == [
            "later: OSError('no space at 2')",
            f"later: OSError('no space at {call}')",
        ]

    def test_closes_once_and_refuses_later_writes(self):
        below = Recorder()
        writer = AsyncWriter(below)
        writer.close()
        writer.close()
        assert below.calls == ["close"]
        with pytest.raises(ValueError, match="closed"):
            writer.write(summary(1))
