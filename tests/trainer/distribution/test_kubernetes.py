"""The membership of a pod, and the manifest of the guide, whose variables it reads."""

import re
from pathlib import Path

import pytest
import yaml
from tallyloop.metrics import UsageError
from tallyloop.trainer.distribution import kubernetes

MANIFEST = (Path(__file__).parents[3] / "docs" / "kubernetes_job.yaml").read_text()


class TestRead:
    def test_indexed_job(self, pod):
        member = kubernetes.read(pod)
        assert member.addresses == tuple(f"digits-{i}.digits-workers:2222" for i in range(3))
        assert (member.index, member.source) == (1, "TALLYLOOP_WORKERS")

    def test_port(self, pod):
        assert kubernetes.read({**pod, "TALLYLOOP_PORT": "8000"}).port == 8000

    def test_job_whose_name_has_dashes(self, pod):
        addresses = kubernetes.read({**pod, "HOSTNAME": "my-digits-1-1"}).addresses
        assert addresses[2] == "my-digits-1-2.digits-workers:2222"

    @pytest.mark.parametrize(
        ("change", "fragment"),
        [
            ({"TALLYLOOP_SERVICE": ""}, "TALLYLOOP_SERVICE is not: set it to the name of the Job's headless service"),
            ({"TALLYLOOP_WORKERS": None}, "TALLYLOOP_WORKERS is not: set it to the Job's `completions`"),
            ({"TALLYLOOP_WORKERS": "1"}, "TALLYLOOP_WORKERS=1, and this pod is number 1"),
            ({"TALLYLOOP_WORKERS": "many"}, "TALLYLOOP_WORKERS=many: expected a whole number"),
            ({"HOSTNAME": "digits"}, "HOSTNAME=digits: expected JOB-1"),
        ],
    )
    def test_variables_that_do_not_fit(self, pod, change, fragment):
        changed = {name: value for name, value in {**pod, **change}.items() if value is not None}
        with pytest.raises(UsageError, match=fragment):
            kubernetes.read(changed)

    def test_outside_a_job(self, pod):
        assert kubernetes.is_here(pod)
        assert not kubernetes.is_here({name: value for name, value in pod.items() if name != "JOB_COMPLETION_INDEX"})


def value(key, text=MANIFEST):
    """The only value of a key, wherever it stands."""
    found = set(re.findall(rf"^[ -]*{key}: *\"?([^\s\"#]+)", text, re.M))
    assert len(found) == 1, (key, found)
    return found.pop()


def variable(name):
    return re.search(rf"name: {name}\n *value: \"?([^\s\"]+)", MANIFEST)[1]


class TestManifest:
    def test_is_yaml(self):
        service, job = yaml.safe_load_all(MANIFEST)
        assert (service["kind"], service["spec"]["clusterIP"]) == ("Service", "None")
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"

    def test_indents(self):
        lines = MANIFEST.splitlines()
        assert "\t" not in MANIFEST
        assert all((len(line) - len(line.lstrip())) % 2 == 0 for line in lines)
        assert [line.partition(": ")[2] for line in lines if line.startswith("kind: ")] == ["Service", "Job"]
        assert lines.count("---") == 1

    def test_gives_each_pod_its_membership(self):
        service, job = MANIFEST.split("---\n")
        count = int(value("completions"))
        assert int(value("parallelism")) == count == int(variable(kubernetes.WORKERS))
        assert variable(kubernetes.SERVICE) == value("subdomain") == value("name", service.partition("spec:")[0])
        assert value("job-name") == value("name", job.partition("spec:")[0])
        assert value("completionMode") == "Indexed"
        pod = {name: variable(name) for name in (kubernetes.WORKERS, kubernetes.SERVICE)}
        member = kubernetes.read({**pod, kubernetes.INDEX: "2", "HOSTNAME": f"{value('job-name')}-2"})
        assert member.addresses[2] == "digits-2.digits-workers:2222"
        assert member.port == int(value("containerPort")) == int(value("port"))
