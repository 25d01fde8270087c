"""Statuses at the end of an answer."""

from hpack import Decoder

from tenantry_server.grpc_v2.statuses import Status, trailers


def read(block: bytes) -> dict[str, str]:
    return {str(name): str(value) for name, value in Decoder().decode(block)}


def test_words_are_percent_encoded() -> None:
    found = read(trailers(Status.NOT_FOUND, "no 'naïve' model\r\n100 %", [("tenantry-reason", "X")]))
    assert found["grpc-status"] == "5"
    assert found["grpc-message"] == "no 'na%C3%AFve' model%0D%0A100 %25"
    assert found["tenantry-reason"] == "X"


def test_long_words_are_cut_between_two_encoded_bytes() -> None:
    for before in range(4):
        message = read(trailers(Status.INTERNAL, "x" * before + "é" * 5000))["grpc-message"]
        assert len(message) <= 4096
        assert message[before:].replace("%C3%A9", "").replace("%C3", "") == ""
