"""The lines of several files."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tallyloop.data.sources.files.lines import Lines


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("aé\n", max_size=12), min_size=1, max_size=4))
def test_lines_are_those_of_python(tmp_path, contents):
    files = [str(tmp_path / str(i)) for i in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        with open(file, "w", encoding="utf-8", newline="") as opened:
            opened.write(content)
    expected = [line.rstrip("\n") for file in files for line in open(file, encoding="utf-8", newline="\n")]  # noqa: SIM115
    if expected:
        lines = Lines(files, (0.0, 1.0))
        assert lines.__getitems__(np.arange(len(lines)))["text"].tolist() == expected


def test_long_lines_are_cut_into_parts(tmp_path, by_number):
    (tmp_path / "a").write_text("".join(f"{i}\n" for i in range(10)))
    parts = [by_number(Lines([str(tmp_path / "a")], split))["text"].tolist() for split in ((0, 0.8), (0.8, 1))]
    assert parts == [list("01234567"), ["8", "9"]]


def test_a_line_that_is_not_utf_8_is_named(tmp_path, refused):
    (tmp_path / "a").write_bytes(b"good\nb\xff\n")
    lines = Lines([str(tmp_path / "a")], (0, 1))
    assert lines.__getitems__(np.array([0]))["text"].tolist() == ["good"]
    with refused("a:2 isn't UTF-8 (invalid start byte)"):
        lines.__getitems__(np.array([1]))


def test_an_error_names_file_and_line(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text("" if name == "b" else "0\n1\n2\n")
    lines = Lines([str(tmp_path / name) for name in "abc"], (0.5, 1))
    assert [lines.named(row) for row in (0, 2)] == [f"row 0, {tmp_path}/c:1", f"row 2, {tmp_path}/c:3"]
    assert Lines([str(tmp_path / name) for name in "abc"], (0, 1)).named(1) == f"row 1, {tmp_path}/a:2"


@pytest.mark.parametrize("content", [b""])
def test_an_empty_file_has_no_lines(tmp_path, refused, content):
    (tmp_path / "a").write_bytes(content)
    with refused("text.path: expected lines, got none in "):
        Lines([str(tmp_path / "a")], (0, 1))
    with refused("no' cannot be read (No such file or directory); correct text.path"):
        Lines([str(tmp_path / "no")], (0, 1))
