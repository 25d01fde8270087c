"""An OpenAPI document as one page of plain HTML: no script, and nothing from another host."""

import shlex
from html import escape
from typing import Any

import orjson

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881 }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .5rem .8rem }
summary { cursor: pointer }
summary code { font-weight: 600 }
.get, .post { display: inline-block; width: 3.2rem; font: 600 .8rem system-ui }
.get { color: #2a7f4f } .post { color: #2563c9 }
pre { background: var(--soft); padding: .7rem; overflow-x: auto; border-radius: 6px; font-size: .85rem }
table { border-collapse: collapse; font-size: .9rem }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .8rem .25rem 0; text-align: left;
  vertical-align: top }
"""
_PLACE = "$SERVER"
_PATH_EXAMPLES = {"user_id": "ann", "version": "9f86d081"}


def render(document: dict[str, Any]) -> str:
    """The page: operations by tag, each with a curl line that works, and the schemas of all bodies."""
    title, about = escape(document["info"]["title"]), escape(document["info"]["description"])
    sections = "".join(_section(tag, document) for tag in document["tags"])
    schemas = "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"{_block(schema)}</details>"
        for name, schema in document["components"]["schemas"].items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style><body><h1>{title} {escape(document['info']['version'])}</h1>"
        f'<p>{about} For programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{sections}<h2>Schemas</h2>{schemas}</body></html>"
    )


def _section(tag: dict[str, str], document: dict[str, Any]) -> str:
    operations = "".join(
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if tag["name"] in operation["tags"]
    )
    return f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>{operations}"


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = operation.get("parameters", [])
    named = "".join(
        f"<tr><td><code>{escape(each['name'])}</code><td>{each['in']}"
        f"<td>{escape(each.get('description', ''))}"
        for each in parameters
    )
    responses = "".join(
        f"<tr><td>{status}<td>{escape(response['description'])}<td>{_schemas(response)}"
        for status, response in operation["responses"].items()
    )
    example = _example(operation["responses"]["200"])
    return (
        f'<details><summary><span class="{method}">{method.upper()}</span><code>{escape(path)}</code> '
        f"{escape(operation['summary'])}</summary>"
        + (f"<table>{named}</table>" if named else "")
        + f"<pre>{escape(_curl(method, path, operation))}</pre>"
        + (_block(example) if example is not None else "")
        + f"<table><tr><th>Status<th>Meaning<th>Body{responses}</table></details>"
    )


def _curl(method: str, path: str, operation: dict[str, Any]) -> str:
    filled = path
    for name, value in _PATH_EXAMPLES.items():
        filled = filled.replace(f"{{{name}}}", value)
    words = [f"curl {_PLACE}{filled}"]
    example = _example(operation.get("requestBody", {}))
    if example is not None:
        words.append(f"-d {shlex.quote(orjson.dumps(example).decode())}")
    elif method == "post":
        words.append("-X POST")
    return " ".join(words)


def _example(holder: dict[str, Any]) -> Any:
    return holder.get("content", {}).get("application/json", {}).get("example")


def _schemas(response: dict[str, Any]) -> str:
    words = []
    for kind, content in response.get("content", {}).items():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        words.append(f'<a href="#{name}">{name}</a>' if name else kind)
    return ", ".join(words)


def _block(value: Any) -> str:
    return f"<pre>{escape(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())}</pre>"
