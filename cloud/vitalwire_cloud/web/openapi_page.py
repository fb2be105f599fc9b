"""The OpenAPI description as a plain page: no script, nothing from the network."""

from html import escape
from typing import Any

from litestar import Request
from litestar.enums import MediaType
from litestar.openapi.plugins import OpenAPIRenderPlugin

_METHODS = ("get", "post", "put", "patch", "delete")


class PlainPage(OpenAPIRenderPlugin):
    """Renders operations, parameters and schemas as headings and tables."""

    def __init__(self) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page for `openapi_schema`."""
        info = openapi_schema["info"]
        title = escape(f"{info['title']} {info['version']}")
        operations = "".join(
            _operation(method, path, item[method])
            for path, item in sorted(openapi_schema["paths"].items())
            for method in _METHODS
            if method in item
        )
        schemas = openapi_schema.get("components", {}).get("schemas", {})
        structs = "".join(_struct(name, schema) for name, schema in sorted(schemas.items()))
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>{title}</title><link rel="icon" href="/static/icon.svg">'
            '<link rel="stylesheet" href="/static/css/schema.css"></head><body>'
            f"<header><h1>{title}</h1><p>{escape(info.get('description', ''))}</p>"
            f'<p>For programs: <a href="{escape(self.get_openapi_json_route(request))}">openapi.json</a></p></header>'
            f"<main><h2>Requests</h2>{operations}<h2>Structures</h2>{structs}</main></body></html>"
        ).encode()


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows: list[tuple[str, ...]] = [
        (
            parameter["name"],
            parameter["in"],
            _type(parameter.get("schema", {})),
            parameter.get("description", ""),
        )
        for parameter in operation.get("parameters", [])
    ]
    bodies = operation.get("requestBody", {}).get("content", {}).values()
    rows += [("body", "body", _type(content.get("schema", {})), "") for content in bodies]
    answers = [
        _type(content.get("schema", {}))
        for status, answer in operation.get("responses", {}).items()
        if status.startswith("2")
        for content in answer.get("content", {}).values()
    ]
    return (
        f"<section><h3><code><b>{method.upper()}</b> {escape(path)}</code></h3>"
        f"<p>{escape(operation.get('summary', ''))}</p>{_table(('name', 'in', 'type', ''), rows)}"
        f"<p>Answers <code>{escape(', '.join(answers) or 'nothing')}</code>; errors are "
        "<code>application/problem+json</code>.</p></section>"
    )


def _struct(name: str, schema: dict[str, Any]) -> str:
    rows: list[tuple[str, ...]] = [
        (field, _type(inner), "" if field in schema.get("required", []) else "optional")
        for field, inner in schema.get("properties", {}).items()
    ]
    return (
        f'<section id="{escape(name)}"><h3><code>{escape(name)}</code></h3>'
        f"<p>{escape(schema.get('description', ''))}</p>{_table(('field', 'type', ''), rows)}</section>"
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "oneOf" in schema:
        return " | ".join(_type(inner) for inner in schema["oneOf"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        return f"{_type(schema.get('items', {}))}[]"
    kind = schema.get("type", "any")
    return " | ".join(kind) if isinstance(kind, list) else str(kind)
