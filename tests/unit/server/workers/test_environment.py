"""What of the server's environment the code of tenants sees."""

from tenantry_server.workers.forking import environment


def test_models_see_no_credential_and_no_setting_of_the_server() -> None:
    """A collector's headers often hold its key."""
    own = {
        "AWS_SECRET_ACCESS_KEY": "1",
        "TENANTRY_REGISTRY_URL": "2",
        "KUBERNETES_SERVICE_HOST": "3",
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=4",
    }
    assert environment({"PATH": "/bin", **own}) == {"PATH": "/bin"}
