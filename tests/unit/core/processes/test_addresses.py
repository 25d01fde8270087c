"""Where a process listens."""

import errno
import socket

import pytest

from tenantry.processes import addresses
from tests.support.network.ipv6 import needs_ipv6


def _reaches(listening: socket.socket, host: str) -> bool:
    try:
        socket.create_connection((host, listening.getsockname()[1]), timeout=5).close()
    except OSError:
        return False
    return True


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "ipv4", "ipv6"),
    [("127.0.0.1", True, False), ("::1", False, True), ("::", True, True), ("localhost", True, False)],
)
def test_it_is_reached_where_it_was_asked_to_listen(host: str, ipv4: bool, ipv6: bool) -> None:
    with addresses.bound(host, 0) as own:
        own.listen()
        assert (_reaches(own, "127.0.0.1"), _reaches(own, "::1")) == (ipv4, ipv6)


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_every_address_of_a_machine_without_ipv6_is_of_ipv4(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod says `::` on every cluster."""
    makes = socket.socket

    def without_ipv6(family: int, *args: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(code, "no IPv6 here")
        return makes(family, *args)

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", without_ipv6)
        own = addresses.bound("::", 0)
        with pytest.raises(OSError, match="no IPv6 here"):
            addresses.bound("::1", 0)
    with own:
        own.listen()
        assert _reaches(own, "127.0.0.1")


def test_a_port_that_is_taken_is_refused_and_nothing_stays_open() -> None:
    with addresses.bound("127.0.0.1", 0) as own:
        own.listen()
        with pytest.raises(OSError, match="in use"):
            addresses.bound("127.0.0.1", own.getsockname()[1])
