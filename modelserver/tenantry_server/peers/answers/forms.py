"""What the body of an answer has to be, by what was asked.

A small body is parsed: that takes less than a microsecond for one row. Of a large one only its type, its
first and its last character are judged, as parsing a megabyte would hold up others for milliseconds; the
client parses it anyway, and where it ends is settled by its length.
"""

import re
from typing import Any

import orjson

from tenantry_server.peers.answers.answer import TYPE, BrokenAnswer, PeerAnswer
from tenantry_server.wire.heads import JSON_LENGTH

_PARSED_BYTES = 16 << 10
_LONGEST_DESCRIPTION = 1 << 20  # of an error, or of tensors that follow as bytes
_JSON = frozenset({b"application/json", b"application/json; charset=utf-8"})
_BYTES = b"application/octet-stream"
_JSON_LENGTH = JSON_LENGTH.lower().encode()
_ENDS = {ord("{"): ord("}"), ord("["): ord("]")}
_LISTS = (  # paths of predictions, and the list that each answers with
    (re.compile(rb"/predict/"), "predictions"),
    (re.compile(rb"/v1/models/[^/]*:predict$"), "predictions"),
    (re.compile(rb"/v2/models/.*/infer$"), "outputs"),
    (re.compile(rb"/v1/timeseries/forecast$"), "outputs"),
    (re.compile(rb"/forecast/"), "forecast"),
)
_NATIVE = b"/predict/"
_EMPTY = re.compile(rb"/v2/repository/models/[^/]*/(?:load|unload)$")


class Form:
    """The form of an answer to one request.

    Args:
        target: path and query of the request.
    """

    __slots__ = ("_path",)

    def __init__(self, target: bytes) -> None:
        self._path = target.partition(b"?")[0]

    def check(self, answer: PeerAnswer) -> None:
        """Refuse an answer of another form.

        Raises:
            BrokenAnswer: no server of ours answers so.
        """
        kind, body = answer.fields.get(TYPE), answer.body
        if answer.status != 200:
            _check_json(kind)
            if "error" not in _object(body):
                raise BrokenAnswer("its error is not described")
        elif not body:
            if _EMPTY.match(self._path) is None:
                raise BrokenAnswer("its answer has no body")
        elif kind == _BYTES:
            self._check_tensors(answer)
        else:
            _check_json(kind)
            self._check_document(body)

    def _check_document(self, body: bytes) -> None:
        if len(body) > _PARSED_BYTES:
            if _ENDS.get(body[0]) != body[-1]:
                raise BrokenAnswer("its answer is not JSON")
            return
        document = _parsed(body)
        if isinstance(document, list) and self._path.startswith(_NATIVE):
            return
        self._check_list(document)

    def _check_list(self, document: Any) -> None:
        if not isinstance(document, dict):
            raise BrokenAnswer("its answer is not an object")
        for pattern, name in _LISTS:
            if pattern.match(self._path) is not None:
                if not isinstance(document.get(name), list):
                    raise BrokenAnswer(f"its answer has no list {name!r}")
                return

    def _check_tensors(self, answer: PeerAnswer) -> None:
        length = int(answer.fields.get(_JSON_LENGTH, b"0"))
        if not 0 < length <= min(len(answer.body), _LONGEST_DESCRIPTION):
            raise BrokenAnswer(f"its answer has a wrong {JSON_LENGTH}")
        if not self._path.endswith(b"/infer"):
            raise BrokenAnswer("it answers with tensors where nobody asked for any")
        self._check_list(_parsed(answer.body[:length]))


def _check_json(kind: bytes | None) -> None:
    if kind not in _JSON:
        raise BrokenAnswer("its answer has another Content-Type")


def _object(body: bytes) -> dict[str, Any]:
    document = _parsed(body) if len(body) <= _LONGEST_DESCRIPTION else None
    if not isinstance(document, dict):
        raise BrokenAnswer("its answer is not an object")
    return document


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        raise BrokenAnswer("its answer is not JSON") from None
