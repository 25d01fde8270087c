"""TenantModel specs that must be accepted, and ones that must be refused, with the field to blame."""

from typing import Any

URI = "s3://models/store-042/7.joblib"


def document(spec: Any, **over: Any) -> dict[str, Any]:
    """A manifest around a spec."""
    return {
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "TenantModel",
        "metadata": {"name": "store-042", "namespace": "default"},
        "spec": spec,
        **over,
    }


def _spec(**over: Any) -> dict[str, Any]:
    return {"userId": "store-042", "model": {"uri": URI}, **over}


def _model(**over: Any) -> dict[str, Any]:
    return _spec(model={"uri": URI, **over})


ACCEPTED: dict[str, Any] = {
    "the least": _spec(),
    "everything": _spec(
        model={
            "uri": "s3://a.b-c/x y/é.joblib",
            "format": "sklearn",
            "method": "predict_proba",
            "compile": "off",
            "extraColumns": "ignore",
            "sha256": "0" * 64,
            "versionId": "3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo=",
            "card": {"uri": "s3://a.b-c/x y/é.joblib.card.json", "sha256": "0" * 64},
        },
        refreshInterval="1h30m5s",
        prewarm=True,
        replicas=3,
        isolation="dedicated",
        limits={
            "requestsPerSecond": 0.5,
            "burst": 2,
            "concurrency": 1,
            "rows": 1000,
            "cacheBytes": 1 << 53,
        },
    ),
    "limits without any": _spec(limits={}),
    "two methods": _model(method=["predict", "predict_proba"]),
    "all methods": _model(method=["predict_proba", "decision_function", "predict"]),
    "a list of one method": _model(method=["predict_proba"]),
    "extra columns are refused": _model(extraColumns="refuse"),
    "a hundred replicas": _spec(replicas=100),
    "a file": _spec(model={"uri": "file:///models/a%20b.pkl"}),
    "a user of one character": _spec(userId="7"),
    "a user of 253 characters": _spec(userId="a" * 253),
    "a user with every allowed sign": _spec(userId="Ann.B_C~d@e:f+g-h"),
    "leading zeros in a duration": _spec(refreshInterval="005m"),
    "null for what is optional": _model(sha256=None, format=None),
    "the longest uri": _spec(model={"uri": "file:///" + "a" * 1092}),
}

REFUSED: dict[str, tuple[Any, str]] = {
    "no spec fields": ({}, "spec.userId"),
    "no user": ({"model": {"uri": URI}}, "spec.userId"),
    "no model": ({"userId": "a"}, "spec.model"),
    "no uri": (_spec(model={}), "spec.model.uri"),
    "a card without a digest": (_model(card={"uri": URI}), "spec.model.card.sha256"),
    "a card without a uri": (_model(card={"sha256": "0" * 64}), "spec.model.card.uri"),
    "a card from the web": (_model(card={"uri": "http://a/b", "sha256": "0" * 64}), "spec.model.card.uri"),
    "a card is text": (_model(card=URI), "spec.model.card"),
    "spec is a list": ([], "spec"),
    "spec is null": (None, "spec"),
    "model is text": (_spec(model=URI), "spec.model"),
    "user is a number": (_spec(userId=42), "spec.userId"),
    "user is null": (_spec(userId=None), "spec.userId"),
    "user is empty": (_spec(userId=""), "spec.userId"),
    "user of 254 characters": (_spec(userId="a" * 254), "spec.userId"),
    "user with a space": (_spec(userId="a b"), "spec.userId"),
    "user with a slash": (_spec(userId="a/b"), "spec.userId"),
    "user that begins with a dot": (_spec(userId=".a"), "spec.userId"),
    "user with a letter beyond ASCII": (_spec(userId="é"), "spec.userId"),
    "user that ends with a line break": (_spec(userId="a\n"), "spec.userId"),
    "uri of another scheme": (_spec(model={"uri": "https://x/y"}), "spec.model.uri"),
    "uri without key": (_spec(model={"uri": "s3://bucket/"}), "spec.model.uri"),
    "uri with a short bucket": (_spec(model={"uri": "s3://ab/k"}), "spec.model.uri"),
    "uri with a capital bucket": (_spec(model={"uri": "s3://Bucket/k"}), "spec.model.uri"),
    "uri with a host": (_spec(model={"uri": "file://host/k"}), "spec.model.uri"),
    "uri with a query": (_spec(model={"uri": URI + "?versionId=1"}), "spec.model.uri"),
    "uri with a fragment": (_spec(model={"uri": URI + "#x"}), "spec.model.uri"),
    "uri with a line break": (_spec(model={"uri": URI + "\n"}), "spec.model.uri"),
    "uri that is too long": (_spec(model={"uri": "file:///" + "a" * 1093}), "spec.model.uri"),
    "format in capitals": (_model(format="SKLEARN"), "spec.model.format"),
    "format is empty": (_model(format=""), "spec.model.format"),
    "method that is unknown": (_model(method="transform"), "spec.model.method"),
    "no method at all": (_model(method=[]), "spec.model.method"),
    "a method twice": (_model(method=["predict", "predict"]), "spec.model.method"),
    "a list with an unknown method": (_model(method=["predict", "transform"]), "spec.model.method"),
    "methods in one text": (_model(method="predict,predict_proba"), "spec.model.method"),
    "a method that is a number": (_model(method=1), "spec.model.method"),
    "a list of lists of methods": (_model(method=[["predict"]]), "spec.model.method"),
    "extra columns as a boolean": (_model(extraColumns=True), "spec.model.extraColumns"),
    "extra columns that are dropped": (_model(extraColumns="drop"), "spec.model.extraColumns"),
    "compile is a boolean (YAML's off)": (_model(compile=False), "spec.model.compile"),
    "digest that is too short": (_model(sha256="0" * 63), "spec.model.sha256"),
    "digest in capitals": (_model(sha256="A" * 64), "spec.model.sha256"),
    "version with a space": (_model(versionId="a b"), "spec.model.versionId"),
    "interval of zero": (_spec(refreshInterval="0s"), "spec.refreshInterval"),
    "interval without a unit": (_spec(refreshInterval="5"), "spec.refreshInterval"),
    "interval is a number": (_spec(refreshInterval=5), "spec.refreshInterval"),
    "interval in days": (_spec(refreshInterval="1d"), "spec.refreshInterval"),
    "prewarm is text": (_spec(prewarm="yes"), "spec.prewarm"),
    "prewarm is a number": (_spec(prewarm=1), "spec.prewarm"),
    "isolation that there is not": (_spec(isolation="private"), "spec.isolation"),
    "isolation is a boolean": (_spec(isolation=True), "spec.isolation"),
    "no replica at all": (_spec(replicas=0), "spec.replicas"),
    "more replicas than anybody needs": (_spec(replicas=101), "spec.replicas"),
    "half a replica": (_spec(replicas=1.5), "spec.replicas"),
    "replicas as text": (_spec(replicas="2"), "spec.replicas"),
    "replicas as a boolean": (_spec(replicas=True), "spec.replicas"),
    "limits as a number": (_spec(limits=5), "spec.limits"),
    "a rate of nothing": (_spec(limits={"requestsPerSecond": 0}), "spec.limits.requestsPerSecond"),
    "a rate as text": (_spec(limits={"requestsPerSecond": "5"}), "spec.limits.requestsPerSecond"),
    "a rate as a boolean": (_spec(limits={"requestsPerSecond": True}), "spec.limits.requestsPerSecond"),
    "half a row": (_spec(limits={"rows": 1.5}), "spec.limits.rows"),
    "no request at all": (_spec(limits={"concurrency": 0}), "spec.limits.concurrency"),
    "a burst below zero": (_spec(limits={"burst": -1}), "spec.limits.burst"),
    "more bytes than JSON can count": (
        _spec(limits={"cacheBytes": (1 << 53) + 2}),
        "spec.limits.cacheBytes",
    ),
    "misspelt limit": (_spec(limits={"row": 1}), "spec.limits.row"),
    "misspelt field": (_spec(modle={}), "spec.modle"),
    "misspelt field below": (_model(metod="predict"), "spec.model.metod"),
}
