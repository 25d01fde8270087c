"""Commands that go on until they are ended: the whole on one machine, a server, an operator."""
