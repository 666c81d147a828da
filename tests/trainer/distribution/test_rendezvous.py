"""Workers wait for each other, and report for whom."""

import socket
import threading
import time

import pytest
from tallyloop.trainer import ClusterError
from tallyloop.trainer.distribution import rendezvous
from tallyloop.trainer.distribution.membership import Membership
from tallyloop.trainer.distribution.rendezvous import wait_for_workers


@pytest.fixture
def places():
    """places(n): the places of n workers on free ports of this machine."""

    def make(count):
        servers = [socket.create_server(("localhost", 0)) for _ in range(count)]
        addresses = tuple(f"localhost:{server.getsockname()[1]}" for server in servers)
        for server in servers:
            server.close()
        return [Membership(addresses, index, "TF_CONFIG") for index in range(count)]

    return make


def _server_of(place):
    """What TensorFlow's server does once it has the port: it stays."""
    return socket.create_server(("localhost", place.port))


class TestRendezvous:
    def test_all_meet(self, places):
        servers, errors = [], []

        def worker(place, delay):
            time.sleep(delay)
            try:
                wait_for_workers(place, 20)
                servers.append(_server_of(place))
            except Exception as error:
                errors.append(error)

        workers = [threading.Thread(target=worker, args=(place, 0.3 * place.index)) for place in places(3)]
        for each in workers:
            each.start()
        for each in workers:
            each.join(30)
        assert errors == []
        assert len(servers) == 3
        for server in servers:
            server.close()

    def test_one_worker_alone(self, places):
        wait_for_workers(places(1)[0], 1)

    def test_reports_who_is_missing(self, places, monkeypatch, capsys):
        monkeypatch.setattr(rendezvous, "_REPORT_SECONDS", 0.2)
        first, second, third = places(3)
        with _server_of(second), pytest.raises(ClusterError) as error:
            wait_for_workers(first, 0.6)
        missing = f"1 of 3 workers: worker 2 ({third.addresses[2]})"
        lines = capsys.readouterr().err.splitlines()
        assert lines
        assert lines[0].startswith(f"Waiting for {missing}, ")
        assert lines[0].endswith(" s of 1 s")
        assert missing in str(error.value)
        assert "start_timeout" in str(error.value)
        assert second.addresses[1] not in str(error.value)

    def test_unknown_host(self, places):
        place = Membership((places(1)[0].addresses[0], "no-such-host.invalid:2222"), 0, "TF_CONFIG")
        with pytest.raises(ClusterError, match=r"worker 1 \(no-such-host.invalid:2222\)"):
            wait_for_workers(place, 0.1)

    def test_port_in_use(self, places):
        place = places(2)[1]
        with (
            socket.create_server(("", place.port)),
            pytest.raises(ClusterError, match=rf"worker 1 \({place.addresses[1]}, from TF_CONFIG\) is in use"),
        ):
            wait_for_workers(place, 5)
