"""A double of the part of Grafana's HTTP API that names things by UID: folders, data sources, dashboards."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Grafana:
    """Holds what it was given, and counts what changed it."""

    token = "glsa_secret"

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, Any]] = {}
        self.sources: dict[str, dict[str, Any]] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.changes: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"grafana": self}))
        self._server.daemon_threads = True
        self.host, self.port = "127.0.0.1", self._server.server_address[1]
        self.url = f"http://{self.host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Status and body of one request."""
        match method, path.removeprefix("/api/").split("/"):
            case "GET", ["folders", uid]:
                return _one(self.folders.get(uid), "folder not found")
            case "POST", ["folders"]:
                self.changes.append(f"folder {body['uid']}")
                self.folders[body["uid"]] = {"id": 1, "uid": body["uid"], "title": body["title"]}
                return 200, self.folders[body["uid"]]
            case "GET", ["datasources", "uid", uid]:
                return _one(self.sources.get(uid), "Data source not found")
            case ("POST", ["datasources"]) | ("PUT", ["datasources", "uid", _]):
                self.changes.append(f"source {body['uid']}")
                secret = set(body.get("secureJsonData", {}))
                shown = {key: value for key, value in body.items() if key != "secureJsonData"}
                shown |= {"id": 7, "secureJsonFields": dict.fromkeys(secret, True)}
                self.sources[body["uid"]] = shown
                return 200, {
                    "datasource": shown,
                    "id": 7,
                    "message": "Datasource added",
                    "name": body["name"],
                }
            case "GET", ["dashboards", "uid", uid]:
                return _one(self.dashboards.get(uid), "Dashboard not found")
            case "POST", ["dashboards", "db"]:
                return self._save(body)
            case _:
                return 404, {"message": "Not found"}

    def _save(self, body: Any) -> tuple[int, Any]:
        model, folder = body["dashboard"], body.get("folderUid", "")
        if folder and folder not in self.folders:
            return 400, {"message": "folder not found"}
        before = self.dashboards.get(model["uid"])
        if before is not None and not body.get("overwrite"):
            return 412, {
                "message": "The dashboard has been changed by someone else",
                "status": "version-mismatch",
            }
        version = 1 if before is None else before["dashboard"]["version"] + 1
        self.changes.append(f"dashboard {model['uid']}")
        held = {**model, "id": 100 + len(self.dashboards), "version": version}
        self.dashboards[model["uid"]] = {"dashboard": held, "meta": {"folderUid": folder}}
        return 200, {"uid": model["uid"], "id": held["id"], "version": version, "status": "success"}


def _one(found: dict[str, Any] | None, missing: str) -> tuple[int, Any]:
    return (404, {"message": missing}) if found is None else (200, found)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    grafana: Grafana

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("authorization") != f"Bearer {self.grafana.token}":
            status, answer = 401, {"message": "Invalid API key"}
        else:
            status, answer = self.grafana.answer(self.command, self.path, json.loads(body) if body else None)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_args: object) -> None:
        return
