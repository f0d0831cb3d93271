"""updraft pull from outside: every exit code of docs/pull.md with the host's name in the message (but 21, which takes
patience: tests/hub); model names in place of folders.

Runs on a small hub of the standard library; tests/hub has the one that misbehaves in the middle of files.
"""
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import threading
import time
import unittest

import support

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b'{"model_type": "x"}', "model.safetensors": bytes(range(256)) * 2000}


class Hub:
    """One server; `answer(handler)` may answer a request itself and then returns True. With `tls`, a context, https."""

    def __init__(self, answer=None, entries=None, files=None, tls=None):
        hub = self
        files = files or FILES

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def reply(self, status, body=b"", **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                hub.authorizations.append(self.headers.get("Authorization"))
                if answer and answer(self):
                    return
                path = self.path.split("?")[0]
                if path.startswith("/api/models/org/model/revision/main"):
                    return self.reply(200, json.dumps({"sha": COMMIT}).encode())
                if path.startswith("/api/models/org/model/tree/"):
                    return self.reply(200, json.dumps(entries or tree(files)).encode())
                if path.startswith("/api/models/org/model/revision/"):
                    return self.reply(404, X_Error_Code="RevisionNotFound")
                name = path.rsplit("/", 1)[-1]
                if not path.startswith("/org/model/resolve/") or name not in files:
                    return self.reply(404, X_Error_Code="RepoNotFound")
                data = files[name]
                if not data:
                    return self.reply(200)
                first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
                self.reply(206, data[first:last + 1], Content_Range=f"bytes {first}-{last}/{len(data)}")

        self.authorizations = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *arguments: None  # clients that hang up are the point
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.url = ("https://" if tls else "http://") + self.host

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def tree(files=FILES):
    entries = []
    for path, data in files.items():
        entry = {"type": "file", "path": path, "size": len(data),
                 "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}
        if path.endswith("safetensors"):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
        entries.append(entry)
    return entries


def weights(reply):
    """An answer to every request for the weights."""
    def answer(handler):
        if "/resolve/" not in handler.path or not handler.path.endswith("safetensors"):
            return False
        reply(handler)
        return True
    return answer


def everything(status, **headers):
    def answer(handler):
        handler.reply(status, **headers)
        return True
    return answer


def first_bytes(data):
    def reply(handler):
        size = len(FILES["model.safetensors"])
        handler.reply(206, data, Content_Range=f"bytes 0-{len(data) - 1}/{size}")
    return reply


class ExitCodes(unittest.TestCase):
    def pull(self, *arguments, environment=None, repository="org/model"):
        with support.temporary_folder() as folder:
            clean = {k: v for k, v in os.environ.items() if k.startswith(("HF_", "HUGGING", "SSL_CERT", "TRANSFORMERS"))}
            for name in clean:
                del os.environ[name]
            done = support.run("pull", repository, *arguments, timeout=120,
                               environment={"HF_HOME": str(folder), **(environment or {})})
            os.environ.update(clean)
            found = list(pathlib.Path(folder).rglob("snapshots/*/model.safetensors"))
            if done.returncode == 0:
                self.assertEqual(found[0].read_bytes(), FILES["model.safetensors"])
            else:
                self.assertEqual(found, [], "nothing wrong may get its final name")
            return done

    def check(self, code, *words, answer=None, entries=None, arguments=(), environment=None, host=True):
        hub = Hub(answer, entries)
        try:
            done = self.pull("--endpoint", hub.url, *arguments, environment=environment)
        finally:
            hub.close()
        self.assertEqual(done.returncode, code, done.stderr)
        for word in (*words, *([hub.host] if host else [])):
            self.assertIn(word, done.stderr)
        return done

    def test_0_done_and_10_nobody_answers(self):
        self.check(0, host=False)
        done = self.pull("--endpoint", "http://127.0.0.1:1")
        self.assertEqual(done.returncode, 10, done.stderr)
        self.assertIn("127.0.0.1:1", done.stderr)

    def test_11_12_13_no_such_repository_revision_file(self):
        self.check(11, "no repository", answer=everything(404, X_Error_Code="RepoNotFound"))
        self.check(12, "revision nowhere", arguments=("--revision", "nowhere"))
        self.check(13, "leave nothing", arguments=("--include", "nothing*"), host=False)
        self.check(13, "404", answer=weights(lambda h: h.reply(404, X_Error_Code="EntryNotFound")))

    def test_14_15_16_401_403_429(self):
        self.check(14, "set HF_TOKEN", answer=everything(401))
        self.check(14, "the token is refused", answer=everything(401), arguments=("--token", "hf_wrong"))
        self.check(15, "accept its terms at http", "set HF_TOKEN", answer=everything(403, X_Error_Code="GatedRepo"))
        self.check(16, "429", "left out", answer=weights(lambda h: h.reply(429, Retry_After="4000")))

    def test_17_a_page_or_a_pointer(self):
        self.check(17, "web page", answer=weights(lambda h: h.reply(200, b"<html>log in</html>", Content_Type="text/html")))
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
        self.check(17, "LFS pointer", answer=weights(first_bytes(pointer)))

    def test_18_19_wrong_size_and_hash(self):
        self.check(18, "the listing says",
                   answer=weights(lambda h: h.reply(206, b"x", Content_Range="bytes 0-0/1")))
        wrong = bytearray(FILES["model.safetensors"])
        wrong[1000] ^= 1
        done = self.check(19, "sent wrong bytes", answer=weights(first_bytes(bytes(wrong))))
        self.assertIn("no other source", done.stderr)

    def test_20_22_compressed_and_another_range(self):
        size = len(FILES["model.safetensors"])
        self.check(20, "compressed", answer=weights(lambda h: h.reply(
            206, b"x" * size, Content_Range=f"bytes 0-{size - 1}/{size}", Content_Encoding="gzip")))
        self.check(22, "416", answer=weights(lambda h: h.reply(416)))
        self.check(22, "another range", answer=weights(lambda h: h.reply(
            206, b"x", Content_Range=f"bytes 7-7/{size}")))

    def test_200_in_reply_to_a_range_starts_over(self):
        self.check(0, answer=weights(lambda h: h.reply(200, FILES["model.safetensors"])), host=False)

    def test_23_redirects(self):
        self.check(23, "loop", answer=weights(lambda h: h.reply(302, Location=h.path)))
        self.check(23, "no http address", answer=weights(lambda h: h.reply(302, Location="ftp://127.0.0.1/x")))

    def test_24_names_that_leave_the_folder(self):
        for name in ("../x.safetensors", "/etc/x.safetensors", "a\\..\\x.safetensors", "C:x.safetensors",
                     "\\\\host\\x.safetensors", "a/../../x.safetensors"):
            entry = {"type": "file", "path": name, "size": 1, "oid": "0" * 40}
            self.check(24, answer=None, entries=tree() + [entry])

    def test_25_a_token_stays_where_it_belongs(self):
        done = self.pull("--endpoint", "http://192.0.2.1", "--token", "hf_secret")  # never contacted
        self.assertEqual(done.returncode, 25, done.stderr)
        self.assertIn("192.0.2.1", done.stderr)
        self.assertNotIn("hf_secret", done.stderr)
        hub = Hub()
        try:
            self.assertEqual(self.pull("--endpoint", hub.url, environment={"HF_TOKEN": "hf_secret"}).returncode, 0)
        finally:
            hub.close()
        self.assertEqual(set(hub.authorizations), {None}, "HF_TOKEN belongs to huggingface.co")
        hub, other = Hub(), Hub()
        try:
            done = self.pull("--endpoint", hub.url, environment={"HF_TOKEN": "hf_secret", "HF_ENDPOINT": hub.url})
            self.assertEqual(done.returncode, 0, done.stderr)
        finally:
            hub.close()
            other.close()
        self.assertEqual(set(hub.authorizations), {"Bearer hf_secret"}, "HF_ENDPOINT is the token's own host")

    def test_26_a_certificate_that_nobody_signed(self):
        if shutil.which("openssl") is None:
            self.skipTest("there is no openssl to make a certificate")
        with support.temporary_folder() as folder:
            made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                                   "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key",
                                   "-out", folder / "certificate"], capture_output=True, check=False)
            self.assertEqual(made.returncode, 0, made.stderr)
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(folder / "certificate", folder / "key")
            hub = Hub(tls=tls)
            done = self.pull("--endpoint", hub.url)
            self.assertEqual(done.returncode, 26, done.stderr)
            self.assertIn("certificate is not trusted", done.stderr)
            self.assertIn(hub.host, done.stderr)
            done = self.pull("--endpoint", hub.url, environment={"SSL_CERT_FILE": str(folder / "certificate")})
            self.assertEqual(done.returncode, 0, done.stderr)
            hub.close()

    def test_27_a_disk_without_room_or_rights(self):
        huge = [dict(e) for e in tree()]
        huge[1] = {**huge[1], "size": 1 << 49, "lfs": {**huge[1]["lfs"], "size": 1 << 49}}
        self.check(27, "are needed", "are free", entries=huge, host=False)

    def test_28_29_offline_and_no_listing(self):
        self.check(28, "--offline", arguments=("--offline",), host=False)
        self.check(28, "HF_HUB_OFFLINE", environment={"HF_HUB_OFFLINE": "1"}, host=False)
        self.check(29, "no listing", answer=lambda h: h.reply(200, b"what?") or True)
        with support.temporary_folder() as folder:
            (folder / "no.tar").write_bytes(b"x" * 2000)
            self.assertEqual(self.pull(repository=str(folder / "no.tar")).returncode, 29)

    def test_offline_with_a_local_folder(self):
        hub = Hub()
        with support.temporary_folder() as folder:
            there = folder / "there"
            environment = {"HF_HOME": str(folder)}
            where = ("--local-dir", there, "--endpoint", hub.url)
            self.assertEqual(support.run("pull", "org/model", *where, environment=environment).returncode, 0)
            hub.close()
            for more in ((), ("--include", "config.json")):
                done = support.run("pull", "org/model", *where, "--offline", *more, environment=environment)
                self.assertEqual((done.returncode, done.stdout), (0, f"{there}\n"), done.stderr)
                self.assertIn(f"in the folder, commit {COMMIT}", done.stderr)
            (there / "config.json").unlink()
            done = support.run("pull", "org/model", *where, "--offline", environment=environment)
            self.assertEqual((done.returncode, done.stdout), (28, ""))
            for text in ("config.json of org/model is missing", "--offline", "with a network"):
                self.assertIn(text, done.stderr)

    def test_a_list_takes_one_value_a_flag(self):
        hub = Hub()
        with support.temporary_folder() as folder:
            done = support.run("pull", "--include", "*.json", "--include", "nothing*", "--exclude", "x", "--endpoint", hub.url, "org/model",
                               environment={"HF_HOME": str(folder)})
            hub.close()
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual([p.name for p in pathlib.Path(done.stdout.strip()).iterdir()], ["config.json"])

    def test_130_interrupted_and_continued(self):
        def slow(handler):
            size = len(FILES["model.safetensors"])
            first = int(handler.headers["Range"].removeprefix("bytes=").split("-")[0])
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
            handler.send_header("Content-Length", str(size - first))
            handler.end_headers()
            for at in range(first, size, 20000):
                handler.wfile.write(FILES["model.safetensors"][at:at + 20000])
                handler.wfile.flush()
                time.sleep(0.1)
        hub = Hub(weights(slow))
        with support.temporary_folder() as folder:
            environment = support.clean_environment({"HF_HOME": str(folder)})
            command = [support.PROGRAM, "pull", "org/model", "--endpoint", hub.url]
            process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
            self.assertEqual(process.returncode, 130, errors)
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stderr, r"model.safetensors: continuing, [1-9]\d+ of 512000")
            model = pathlib.Path(done.stdout.strip()) / "model.safetensors"
            self.assertEqual(model.read_bytes(), FILES["model.safetensors"])
            self.assertEqual([p for p in folder.rglob("*.updraft.*")], [])
        hub.close()

    def test_the_documents_name_every_code(self):
        header = (support.SOURCE / "src/hub/hub_error.h").read_text()
        codes = set(re.findall(r"k[A-Z]\w+ = (\d+),", header))
        for name in ("docs/pull.md", "docs/pull.zh-CN.md"):
            text = (support.SOURCE / name).read_text()
            rows = [line.split("|")[1] for line in text.splitlines() if re.match(r"\| *\d[\d, /]*\|", line)]
            named = set(re.findall(r"\d+", " ".join(rows))) - {"0"}
            self.assertEqual(named, codes, name)


class ModelNames(unittest.TestCase):
    """Every command that takes a model takes its name: pulled when it is not in the cache, never with --offline."""

    def setUp(self):
        context = support.temporary_folder()
        self.folder = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)

    def serve(self, files):
        hub = Hub(files=files)
        self.addCleanup(hub.close)
        self.environment = {"HF_HOME": str(self.folder / "home"), "HF_ENDPOINT": hub.url}
        return hub

    def run_ok(self, *arguments):
        return support.run_ok(*arguments, environment=self.environment)

    def test_a_name_in_place_of_a_folder(self):
        local = support.make_chat_model(self.folder)
        hub = self.serve({path.name: path.read_bytes() for path in local.iterdir()})
        text = self.folder / "text"
        text.write_text("Down the Rabbit-Hole. Alice was beginning to get very tired of sitting by her sister. " * 4)
        # Measuring takes bench half a minute: of it and of chat, only that they ask for the model.
        commands = [("tokenize", "Hello"), ("template", "Hello"), ("inspect",), ("chat",), ("bench",),
                    ("generate", "--ids", "1,2", "--max-new-tokens", 3),
                    ("logits", "--ids", "1,2", "--output", self.folder / "x.npy"),
                    ("eval", "--text", text, "--no-reference"), ("doctor", "--quick"),
                    ("quantize", self.folder / "out", "--int8"), ("tune", "--dry-run", "--seconds", 1)]
        for command, *arguments in commands:
            with self.subTest(command):
                shutil.rmtree(self.folder / "home", ignore_errors=True)
                done = support.run(command, "org/model", *arguments, "--offline", environment=self.environment)
                self.assertEqual(done.returncode, 28, done.stderr)
                self.assertEqual(hub.authorizations, [], "offline")
                if command in ("chat", "bench"):
                    continue
                self.run_ok(command, "org/model", *arguments)
                self.assertGreater(len(hub.authorizations), 4)
                hub.authorizations.clear()
                for flags in ((), ("--offline",)):
                    shutil.rmtree(self.folder / "out", ignore_errors=True)
                    self.run_ok(command, "org/model", *arguments, *flags)
                self.assertEqual(hub.authorizations, [], "it is in the cache")
        self.assertIn("org/model (Llama", self.run_ok("generate", "org/model", "--ids", 1, "--max-new-tokens", 1).stderr)
        listed = json.loads(self.run_ok("models", "--json").stdout)
        self.assertEqual([(m["id"], m["complete"]) for m in listed], [("org/model", True)])
        self.assertIn("all as they should be", self.run_ok("models", "--verify").stdout)
        tar = self.folder / "model.tar"
        self.run_ok("bundle", "org/model", tar)
        self.assertIn("freed", self.run_ok("models", "--remove", "org/model").stdout)
        self.assertEqual(json.loads(self.run_ok("models", "--json").stdout), [])
        installed = pathlib.Path(self.run_ok("pull", tar).stdout.strip())
        self.assertEqual((installed / "model.safetensors").read_bytes(), (local / "model.safetensors").read_bytes())

    def test_a_repository_of_one_gguf_file(self):
        model = (support.SOURCE / "tests/golden/gguf/llama.gguf").read_bytes()
        self.serve({"config.json": b'{"model_type": "llama"}', "llama.Q8_0.gguf": model})
        arguments = ("--ids", "1,2,3", "--max-new-tokens", 4, "--json")
        by_name = json.loads(self.run_ok("generate", "org/model", *arguments).stdout)
        by_path = json.loads(self.run_ok("generate", support.SOURCE / "tests/golden/gguf/llama.gguf", *arguments).stdout)
        self.assertEqual(by_name["ids"], by_path["ids"])
        folder = self.run_ok("pull", "org/model").stdout.strip()
        self.assertEqual(json.loads(self.run_ok("generate", folder, *arguments).stdout)["ids"], by_path["ids"])

    def test_a_repository_of_several_gguf_files(self):
        model = (support.SOURCE / "tests/golden/gguf/llama.gguf").read_bytes()
        self.serve({"a.Q4_0.gguf": model, "a.Q8_0.gguf": model})
        done = support.run("inspect", "org/model", environment=self.environment)
        self.assertEqual(done.returncode, 13)
        self.assertIn("--include '*Q8_0.gguf'", done.stderr)
        self.run_ok("pull", "org/model", "--include", "*Q8_0.gguf")
        self.assertIn("a.Q8_0.gguf", self.run_ok("inspect", "org/model").stdout)
        self.run_ok("pull", "org/model", "--include", "*.gguf")
        done = support.run("inspect", "org/model", environment=self.environment)
        self.assertEqual(done.returncode, 1)
        self.assertIn("a.Q4_0.gguf", done.stderr)


if __name__ == "__main__":
    support.main()
