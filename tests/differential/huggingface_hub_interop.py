#!/usr/bin/env python3
"""The cache and --local-dir of the real huggingface_hub and of updraft pull, both ways, over a hub on loopback.

    huggingface_hub_interop.py UPDRAFT      exit code 77 when huggingface_hub is not installed
"""
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "x"}',
    "tokenizer.json": b"{}",
    "additional_chat_templates/tool.jinja": b"{{ messages }}",
    "model.safetensors": os.urandom(3_000_000),
}


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def etag(path: str) -> str:
    data = FILES[path]
    return hashlib.sha256(data).hexdigest() if path.endswith("safetensors") else git_sha1(data)


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(headers.get("X-Length", len(body))))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def tree(self):
        entries = []
        for path, data in FILES.items():
            entry = {"type": "file", "path": path, "size": len(data), "oid": git_sha1(data)}
            if path.endswith("safetensors"):
                entry["lfs"] = {"oid": etag(path), "size": len(data), "pointerSize": 134}
            entries.append(entry)
        return entries

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/api/models/org/model" or path.startswith("/api/models/org/model/revision/"):
            siblings = [{"rfilename": name} for name in FILES]
            body = json.dumps({"id": "org/model", "sha": COMMIT, "siblings": siblings}).encode()
            return self.reply(200, {"Content-Type": "application/json"}, body)
        if path.startswith("/api/models/org/model/tree/"):
            return self.reply(200, {"Content-Type": "application/json"}, json.dumps(self.tree()).encode())
        prefix = "/org/model/resolve/"
        name = path[len(prefix):].split("/", 1)[-1] if path.startswith(prefix) else ""
        if name not in FILES:
            return self.reply(404, {"X-Error-Code": "EntryNotFound"}, b"none")
        data = FILES[name]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag(name)}"', "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        if wanted and self.command == "GET":
            first, last = wanted.removeprefix("bytes=").split("-")
            first, last = int(first), min(int(last or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return self.reply(206, headers, data[first:last + 1])
        return self.reply(200, headers, data)

    do_HEAD = do_GET


def check(folder: pathlib.Path) -> None:
    for path, data in FILES.items():
        assert (folder / path).read_bytes() == data, path


def updraft(program: str, home: str, *arguments: str, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    clean.update({"HF_HOME": home}, **environment)
    done = subprocess.run([program, *arguments], env=clean, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stderr}"
    return done.stdout.strip()


def main() -> int:
    try:
        import huggingface_hub  # noqa: F401
    except ImportError:
        print("huggingface_hub is not installed")
        return 77
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    program = os.path.abspath(sys.argv[1])
    script = (
        "import sys, huggingface_hub as h\n"
        "local = sys.argv[2] or None\n"
        "print(h.snapshot_download('org/model', local_files_only=sys.argv[1] == 'offline', local_dir=local))\n")

    def reference(home: str, mode: str, local: str = "") -> pathlib.Path:
        environment = dict(os.environ, HF_HOME=home, HF_ENDPOINT=url, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1")
        if mode == "offline":
            environment["HF_HUB_OFFLINE"] = "1"
        done = subprocess.run([sys.executable, "-c", script, mode, local], env=environment, capture_output=True, text=True,
                              timeout=120, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return pathlib.Path(done.stdout.strip().splitlines()[-1])

    with tempfile.TemporaryDirectory() as root:
        # Ours first: the reference finds it offline.
        home = root + "/ours"
        folder = pathlib.Path(updraft(program, home, "pull", "org/model", "--endpoint", url))
        check(folder)
        found = reference(home, "offline")
        assert found == folder, (found, folder)
        check(found)
        # The reference first: ours finds it offline, by name, and verifies it.
        home = root + "/theirs"
        folder = reference(home, "online")
        assert pathlib.Path(updraft(program, home, "pull", "org/model", HF_HUB_OFFLINE="1")) == folder
        assert "all as they should be" in updraft(program, home, "models", "--verify")
        sent = updraft(program, home, "pull", "org/model", "--endpoint", url)
        assert pathlib.Path(sent) == folder
        # --local-dir, both ways: metadata is read and believed.
        local = root + "/local-ours"
        updraft(program, root + "/h", "pull", "org/model", "--endpoint", url, "--local-dir", local)
        check(reference(root + "/h2", "online", local))
        from huggingface_hub._local_folder import read_download_metadata
        for path in FILES:
            metadata = read_download_metadata(pathlib.Path(local), path)
            assert metadata and metadata.etag == etag(path) and metadata.commit_hash == COMMIT, (path, metadata)
        local = root + "/local-theirs"
        reference(root + "/h3", "online", local)
        updraft(program, root + "/h4", "pull", "org/model", "--endpoint", url, "--local-dir", local)
        check(pathlib.Path(local))
    server.shutdown()
    print(f"huggingface_hub {huggingface_hub.__version__}: cache and local folder, both ways")
    return 0


if __name__ == "__main__":
    sys.exit(main())
