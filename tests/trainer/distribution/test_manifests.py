"""The files of the guide on many workers fit each other and the code that reads their variables."""

import re
import subprocess
from pathlib import Path

import yaml
from tallyloop.trainer.distribution import environment, kubernetes

DOCS = Path(__file__).parents[3] / "docs"

JOB = (DOCS / "kubernetes_job.yaml").read_text()


def value(key, text=JOB):
    """The only value of a key, wherever it stands."""
    found = set(re.findall(rf"^[ -]*{key}: *\"?([^\s\"#]+)", text, re.M))
    assert len(found) == 1, (key, found)
    return found.pop()


def variable(name):
    return re.search(rf"name: {name}\n *value: \"?([^\s\"]+)", JOB)[1]


class TestKubernetesJob:
    def test_is_yaml(self):
        service, job = yaml.safe_load_all(JOB)
        assert (service["kind"], service["spec"]["clusterIP"]) == ("Service", "None")
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"

    def test_indents(self):
        lines = JOB.splitlines()
        assert "\t" not in JOB
        assert all((len(line) - len(line.lstrip())) % 2 == 0 for line in lines)
        assert [line.partition(": ")[2] for line in lines if line.startswith("kind: ")] == ["Service", "Job"]
        assert lines.count("---") == 1

    def test_gives_each_pod_its_place(self):
        service, job = JOB.split("---\n")
        count = int(value("completions"))
        assert int(value("parallelism")) == count == int(variable(kubernetes.WORKERS))
        assert variable(kubernetes.SERVICE) == value("subdomain") == value("name", service.partition("spec:")[0])
        assert value("job-name") == value("name", job.partition("spec:")[0])
        assert value("completionMode") == "Indexed"
        pod = {name: variable(name) for name in (kubernetes.WORKERS, kubernetes.SERVICE)}
        place = environment.membership({**pod, kubernetes.INDEX: "2", "HOSTNAME": f"{value('job-name')}-2"})
        assert place.addresses[2] == "digits-2.digits-workers:2222"
        assert place.port == int(value("containerPort")) == int(value("port"))


class TestSlurmScript:
    def test_is_bash(self):
        done = subprocess.run(["bash", "-n", DOCS / "slurm.sh"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
