"""Importing the package."""

import subprocess
import sys
from pathlib import Path

import pytest
from tallyloop import data, metrics

# Prints which files ask for libraries that only some sources use. Keras asks for pandas, too, and pandas for pyarrow.
ASKED = """
import sys

LIBRARIES = {
    "array_record", "datasets", "grain", "keras_hub", "pandas", "pyarrow", "tensorflow_datasets", "tokenizers", "torch"
}

class Asked:
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        if name.partition(".")[0] in LIBRARIES:
            print(frame.f_code.co_filename, name)

sys.meta_path.insert(0, Asked())
import tallyloop.data
"""


@pytest.mark.slow
def test_asks_for_no_library_that_only_some_sources_use():
    found = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True).stdout
    ours = tuple(f"{Path(package.__file__).parent}/" for package in (data, metrics))
    assert [line for line in found.splitlines() if line.startswith(ours)] == []
