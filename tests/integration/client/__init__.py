"""Integration tests of `tenantry.client`: real servers, real sockets."""
