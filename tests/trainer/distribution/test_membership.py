"""One process among the workers of a cluster."""

import pytest
from tallyloop.trainer.distribution.membership import Membership, split_address


class TestMembership:
    def test_port_and_peers(self):
        member = Membership(("a:1", "b.example:22", "[fe80::1]:333"), 1, "TF_CONFIG")
        assert member.port == 22
        assert member.peers == {0: ("a", 1), 2: ("fe80::1", 333)}

    def test_one_worker_alone(self):
        assert Membership(("a:1",), 0, "TF_CONFIG").peers == {}


class TestSplitAddress:
    @pytest.mark.parametrize(
        ("address", "parts"),
        [
            ("a:1", ("a", 1)),
            ("10.0.0.1:65535", ("10.0.0.1", 65535)),
            ("[::1]:2222", ("::1", 2222)),
        ],
    )
    def test_host_and_port(self, address, parts):
        assert split_address(address) == parts

    @pytest.mark.parametrize("address", ["", "a", "a:", ":1", "a:0", "a:65536", "a:-1", "a:http", "a:１"])  # noqa: RUF001
    def test_anything_else(self, address):
        with pytest.raises(ValueError, match="isn't host:port"):
            split_address(address)
