"""Random damage to files: `python run.py COUNT KIND ...`, where COUNT is how many of each kind are damaged.

A process of its own, as a crash of the interpreter would end the tests; each seed is told before it is tried.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from data_files import TFRECORDS, idx_check, npz_check, tfrecord_check
from run_files import checkpoint_check, gin_check

CHECKS = {  # kind -> what makes its check, and how many files a case of it damages
    "npz": (npz_check, 1),
    "idx": (idx_check, 1),
    "tfrecord": (tfrecord_check, TFRECORDS),
    "gin": (gin_check, 1),
    "checkpoints": (checkpoint_check, 1),
}
SECONDS_PER_CASE = 30


def main(count: int, kinds: list[str]) -> None:
    """Damages `count` files of each kind; what takes too long is killed."""
    for kind in kinds:
        make, files = CHECKS[kind]
        with tempfile.TemporaryDirectory() as folder:
            check = make(Path(folder))
            for seed in range(count // files):
                print(f"{kind}, seed {seed}", flush=True)
                signal.alarm(SECONDS_PER_CASE)
                check(seed)
                signal.alarm(0)
    print("all done", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
