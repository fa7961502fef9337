"""A stand-in for the Hugging Face Hub on the loopback: making repositories, commits with large files, downloads.

Only what huggingface_hub asks for in these tests. Large files travel by LFS, as the Hub offers beside its own Xet.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TOKEN = "hf_standin"  # the one token that may write


class Hub:
    """Repositories in memory: name -> list of commits, each file name -> bytes."""

    def __init__(self) -> None:
        self.repositories: dict[str, list[dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.messages: list[str] = []
        self.large: dict[str, bytes] = {}  # by sha256
        self.asked: list[str] = []
        self.endpoint = ""

    def commit_id(self, repo: str, number: int = -1) -> str:
        """40 hexadecimal digits for a commit."""
        number = number % len(self.repositories[repo])
        return hashlib.sha1(f"{repo} {number}".encode()).hexdigest()

    def at(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """(commit, its files) of a revision; None where there is none."""
        for number, files in enumerate(self.repositories[repo]):
            if revision in (self.commit_id(repo, number), f"v{number}"):
                return self.commit_id(repo, number), files
        return (self.commit_id(repo), self.repositories[repo][-1]) if revision == "main" else None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)", self.path):
            if match[1] not in self.hub.repositories:
                return self.answer(404, X_Error_Code="RepoNotFound")
            sha = self.hub.commit_id(match[1]) if self.hub.repositories[match[1]] else None
            return self.answer(200, {"id": match[1], "private": self.hub.private[match[1]], "sha": sha})
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        if match is None:
            return self.answer(404)
        repo, revision, name = match.groups()
        if repo not in self.hub.repositories:
            return self.answer(401 if repo.startswith("secret/") else 404, X_Error_Code="RepoNotFound")
        found = self.hub.at(repo, revision)
        if found is None:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        if name not in found[1]:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=found[0])
        data = found[1][name]
        return self.answer(200, data, X_Repo_Commit=found[0], ETag=f'"{hashlib.sha256(data).hexdigest()}"')

    def do_PUT(self) -> None:
        data = self.body()
        self.hub.large[self.path.rsplit("/", 1)[1]] = data
        self.answer(200)

    def do_POST(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        data = self.body()
        if self.path.endswith("/verify"):
            return self.answer(200)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid credentials"})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            asked = json.loads(data)
            repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            if repo.startswith("others/"):
                return self.answer(403, {"error": "You don't have the rights"})
            status = 409 if repo in self.hub.repositories else 200
            self.hub.repositories.setdefault(repo, [])
            self.hub.private.setdefault(repo, bool(asked.get("private") or asked.get("visibility") == "private"))
            return self.answer(status, {"url": f"{self.hub.endpoint}/{repo}"})
        if re.fullmatch(r"/api/models/.+/preupload/main", self.path):
            files = json.loads(data)["files"]
            modes = {f["path"]: "lfs" if f["path"].endswith((".safetensors", ".png")) else "regular" for f in files}
            answer = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
            return self.answer(200, {"files": answer})
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                o | {"actions": {"upload": {"href": f"{self.hub.endpoint}/upload/{o['oid']}", "header": {}}}}
                for o in json.loads(data)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        if match := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            return self._commit(match[1], data)
        return self.answer(404)

    def _commit(self, repo: str, data: bytes) -> None:
        commits = self.hub.repositories[repo]
        files = dict(commits[-1]) if commits else {}
        for line in map(json.loads, data.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.hub.large[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                files[value["path"]] = content
        commits.append(files)
        sha = self.hub.commit_id(repo)
        self.answer(200, {"commitUrl": f"{self.hub.endpoint}/{repo}/commit/{sha}", "commitOid": sha})


@contextmanager
def standing_in() -> Iterator[Hub]:
    """A running stand-in."""
    hub = Hub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
