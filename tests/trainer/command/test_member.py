import os
import subprocess
import sys

from tallyloop.trainer.command import member

CODE = """
import os
from tallyloop.trainer.command import member
print(member.is_member(), member.is_first(), *[name for name in os.environ if name.startswith("TALLYLOOP")])
"""


def printed(variables: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


class TestMembership:
    def test_a_process_without_a_launcher_is_alone_and_first(self):
        assert printed({}) == ["False", "True"]

    def test_only_worker_0_is_first_and_children_inherit_nothing(self):
        assert printed(member.environment(launcher=1, index=0)) == ["True", "True"]
        assert printed(member.environment(launcher=1, index=1)) == ["True", "False"]
