"""One writer made of several."""

from collections.abc import Callable, Sequence

from .summary import Summary, Writer


class MultiWriter:
    """Passes everything on to each of its writers.

    A writer that raises does not keep the summary from the others; the first error is raised after all of
    them had their turn, and carries the other errors as notes.
    """

    def __init__(self, writers: Sequence[Writer]):
        self._writers = tuple(writers)

    def write(self, summary: Summary) -> None:
        """Writes the summary to every writer."""
        self._each(lambda writer: writer.write(summary))

    def flush(self) -> None:
        """Flushes every writer."""
        self._each(lambda writer: writer.flush())

    def close(self) -> None:
        """Closes every writer."""
        self._each(lambda writer: writer.close())

    def _each(self, call: Callable[[Writer], None]) -> None:
        first = None
        for writer in self._writers:
            try:
                call(writer)
            except Exception as error:
                if first is None:
                    first = error
                else:
                    first.add_note(f"{type(writer).__name__} failed too: {error!r}")
        if first is not None:
            raise first
