import json

import pytest
from tallyloop.metrics.writers import run_files


class TestReadRecord:
    def test_returns_what_it_says(self, tmp_path):
        (tmp_path / "run.json").write_text(json.dumps({"exit_reason": "done"}))
        assert run_files.read_record(tmp_path) == {"exit_reason": "done"}

    def test_of_no_run(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            run_files.read_record(tmp_path)

    @pytest.mark.parametrize("text", ["{", "[]"])
    def test_of_a_damaged_one(self, tmp_path, text):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(ValueError):  # noqa: PT011 - JSON's own, too
            run_files.read_record(tmp_path)
