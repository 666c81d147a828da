"""Examples as one stack."""

from tallyloop.data.sources.storage.rows import objects, stack


class TestStack:
    def test_keeps_bytes_whole(self):
        assert stack([{"x": b"a\0"}, {"x": b""}])["x"].tolist() == [b"a\0", b""]
        assert objects([[1], [2]]).tolist() == [[1], [2]]

    def test_refuses_what_differs(self, refused):
        with refused("rows of the source differ in keys: expected ['x'] in each"):
            stack([{"x": 1}, {"y": 1}])
        with refused("rows of the source: 'x' has shapes (2,) and (3,): expected one shape; pad it"):
            stack([{"x": [1, 2, 3]}, {"x": [1, 2]}])
        with refused("expected a dict such as {'x': ..., 'y': ...}, got int"):
            stack([1, 2])
