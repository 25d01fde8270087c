"""The contact with the registry: every state by its two causes, the clock and the registry."""

import pytest

from tenantry_server.assignments.contact import Contact, RegistryContact


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def contact(clock: Clock) -> RegistryContact:
    return RegistryContact(clock_s=clock)


def state_of(contact: RegistryContact) -> Contact:
    """A call, as mypy takes a property for constant."""
    return contact.state


def age_of(contact: RegistryContact) -> float | None:
    return contact.age_s


def test_a_lease_ends_by_the_clock_alone(contact: RegistryContact, clock: Clock) -> None:
    assert state_of(contact) is Contact.LAPSED, "no lease was granted yet"
    contact.renewed(until_s=109.0)
    assert state_of(contact) is Contact.FRESH
    clock.now_s = 108.9
    assert (state_of(contact), contact.lease_held) == (Contact.FRESH, True)
    clock.now_s = 109.0
    assert (state_of(contact), contact.lease_held) == (Contact.LAPSED, False)


def test_silence_shows_once_the_lease_is_over(contact: RegistryContact, clock: Clock) -> None:
    contact.renewed(until_s=109.0)
    contact.fell_silent()
    assert state_of(contact) is Contact.FRESH, "nothing newer can be Ready without this server"
    clock.now_s = 109.0
    contact.fell_silent()
    assert state_of(contact) is Contact.SILENT
    contact.answered()
    assert state_of(contact) is Contact.LAPSED


def test_silence_is_believed_for_a_moment(contact: RegistryContact, clock: Clock) -> None:
    """A server that slept since then knows nothing of the registry; a lease is 3 s at the shortest."""
    contact.fell_silent()
    clock.now_s += 2.4
    assert state_of(contact) is Contact.SILENT
    clock.now_s += 0.2
    assert state_of(contact) is Contact.LAPSED


def test_a_taken_name_ends_the_lease_for_good(contact: RegistryContact) -> None:
    contact.renewed(until_s=109.0)
    contact.name_taken()
    contact.fell_silent()
    assert (state_of(contact), contact.lease_held) == (Contact.TAKEN, False)


def test_knowledge_has_an_age_while_lookups_go_unanswered(contact: RegistryContact, clock: Clock) -> None:
    contact.looked_up(answered=False)
    assert age_of(contact) is None, "nothing was ever read"
    contact.renewed(until_s=109.0)
    assert age_of(contact) is None, "the lease holds"
    clock.now_s = 125.0
    assert age_of(contact) == 25.0
    contact.looked_up(answered=True)
    assert age_of(contact) is None, "what SQL says now has no age"
