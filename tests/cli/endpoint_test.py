#!/usr/bin/env python3
"""`updraft bench --against URL` on a small server that streams, refuses and breaks off as real ones do."""
import http.server
import json
import signal
import socket
import subprocess
import threading
import time
import unittest

import support
from support import run, run_ok

TEXT = "量子 computing, 很 <b>好</b>."
QUICK = ["--tasks", "code", "--warmup", 1, "--runs", 2, "--max-new-tokens", 5, "--format", "json"]


def quick(*extra):
    """QUICK, with what `extra` says instead of its own."""
    pairs = [p for p in zip(QUICK[::2], QUICK[1::2]) if p[0] not in extra]
    return [x for pair in pairs for x in pair] + list(extra)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, **behaviour):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour, self.requests, self.keys = behaviour, [], []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __exit__(self, *arguments):
        self.shutdown()
        super().__exit__(*arguments)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.server.keys.append(self.headers.get("Authorization"))
        models = self.server.behaviour.get("models", ["only-one"])
        self.answer(200 if self.path == "/v1/models" else 404, {"data": [{"id": m} for m in models]})

    def do_POST(self):
        behaviour = self.server.behaviour
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        self.server.keys.append(self.headers.get("Authorization"))
        if self.path != "/v1/chat/completions":
            return self.answer(404, {"detail": "Not Found"})
        if "status" in behaviour:
            return self.answer(behaviour["status"], behaviour["body"])
        for field in behaviour.get("refuses", ()):
            if field in request:
                return self.answer(400, {"error": {"message": f"unknown field {field}"}})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in behaviour["stream"](request):
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            except OSError:
                return None
            time.sleep(behaviour.get("pause_s", 0.002))
        if behaviour.get("cut"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.wfile.write(b"0\r\n\r\n")
        return None


def event(end=b"\n", **fields):
    return b"data: " + json.dumps(fields, ensure_ascii=False).encode() + end + end


def words(text):
    return [text[i:i + 4] for i in range(0, len(text), 4)]


def stream(text=TEXT, usage=True, end=b"\n", done=True, finish="length"):
    def events(request):
        yield b": a comment" + end + end + event(end, choices=[{"delta": {"role": "assistant", "content": ""}}])
        for word in words(text):
            yield event(end, choices=[{"delta": {"content": word}}], usage=None)
        if finish:
            yield event(end, choices=[{"delta": {}, "finish_reason": finish}])
        if usage and "stream_options" in request:
            yield event(end, choices=[], usage={"prompt_tokens": 17, "completion_tokens": 5})
        if done:
            yield b"data: [DONE]" + end + end
    return events


def in_pieces(events, size):
    """The same bytes cut every `size`: inside lines, inside JSON, inside characters."""
    def cut(request):
        data = b"".join(events(request))
        for at in range(0, len(data), size):
            yield data[at:at + size]
    return cut


class Against(unittest.TestCase):
    def record(self, server, *arguments, **options):
        done = run_ok("bench", "--against", server.url, *quick(*arguments), **options)
        return json.loads(done.stdout)

    def refused(self, server_or_url, *arguments, says, **options):
        url = server_or_url if isinstance(server_or_url, str) else server_or_url.url
        done = run("bench", "--against", url, *quick(*arguments), **options)
        self.assertEqual(done.returncode, 1, done.stdout)
        for part in says:
            self.assertIn(part, done.stderr)
        return done

    def test_measures(self):
        with Server(stream=stream(), pause_s=0.01) as server:
            record = self.record(server)
            task, = record["tasks"]
            self.assertEqual((task["text"], task["finish_reason"]), (TEXT, "length"))
            self.assertEqual((task["prompt_tokens"], task["new_tokens"]), (17, 5))
            self.assertEqual(record["model"]["name"], "only-one")
            self.assertEqual((record["refused_fields"], record["tokens_counted_by"]), ([], "server"))
            self.assertTrue(record["complete"])
            gaps = len(words(TEXT)) - 1
            for sample in task["samples"]:
                self.assertEqual(len(sample["token_times_s"]), gaps + 1)
                self.assertEqual(sample["token_times_s"], sorted(sample["token_times_s"]))
                self.assertGreaterEqual(sample["latency_s"], gaps * 0.01)
            self.assertAlmostEqual(task["tokens_per_second"],
                                   sum(5 / s["latency_s"] for s in task["samples"]) / 2, places=6)
            self.assertEqual(len(server.requests), 3)  # 1 warm-up, 2 timed
            request = server.requests[0]
            self.assertEqual((request["max_tokens"], request["temperature"], request["stream"]), (5, 0, True))
            self.assertEqual((request["ignore_eos"], request["stream_options"]), (True, {"include_usage": True}))
            self.assertIn("palindrome", request["messages"][0]["content"])
            self.assertEqual(set(server.keys), {None})

    def test_pieces_cut_anywhere(self):
        for size, end in ((1, b"\n"), (2, b"\r\n"), (7, b"\n"), (3, b"\r"), (5, b"\r\n")):
            with self.subTest(size=size, end=end), Server(stream=in_pieces(stream(end=end), size), pause_s=0) as server:
                task, = self.record(server, "--model", "m", "--runs", 1, "--warmup", 0)["tasks"]
                self.assertEqual((task["text"], task["new_tokens"]), (TEXT, 5))

    def test_stop_at_eos_and_model(self):
        with Server(stream=stream(finish="stop"), models=["a", "b"]) as server:
            self.refused(server, says=["a, b", "--model"])
            self.record(server, "--model", "b", "--stop-at-eos")
            self.assertNotIn("ignore_eos", server.requests[0])
            self.assertEqual(server.requests[0]["model"], "b")

    def test_addresses(self):
        with Server(stream=stream()) as server:
            for tail in ("/", "/v1", "/v1/", "/v1/chat/completions"):
                run_ok("bench", "--against", server.url + tail, *QUICK)
            self.refused("localhost:8000", says=["http://"])
            self.refused(server.url + "/other", says=["404"])

    def test_keys(self):
        with Server(stream=stream()) as server:
            self.record(server, "--api-key", "given", environment={"OPENAI_API_KEY": "from-environment"})
            self.assertEqual(set(server.keys), {"Bearer given"})
            server.keys.clear()
            record = self.record(server, environment={"OPENAI_API_KEY": "from-environment"})
            self.assertEqual(set(server.keys), {"Bearer from-environment"})
            self.assertNotIn("from-environment", json.dumps(record))

    def test_fields_that_a_server_refuses(self):
        with Server(stream=stream(), refuses=["ignore_eos"]) as server:
            self.assertEqual(self.record(server)["refused_fields"], ["ignore_eos"])
            self.assertEqual(len(server.requests), 4)  # refused once, then known
            table = run_ok("bench", "--against", server.url, *quick("--format", "table")).stdout
            self.assertIn("ignore_eos", table)
        with Server(stream=stream(), refuses=["ignore_eos", "stream_options"]) as server:
            record = self.record(server)
            self.assertEqual(sorted(record["refused_fields"]), ["ignore_eos", "stream_options"])
            self.assertEqual(record["tokens_counted_by"], "pieces")
            self.assertEqual(record["tasks"][0]["new_tokens"], len(words(TEXT)))

    def test_short_answers_are_told(self):
        with Server(stream=stream(finish="stop")) as server:
            done = run_ok("bench", "--against", server.url,
                          *quick("--max-new-tokens", 50, "--format", "table", "--lang", "en"))
            self.assertIn("ended before", done.stdout)

    def test_errors(self):
        with Server(status=401, body={"error": {"message": "no key, no tokens"}}) as server:
            self.refused(server, says=["401", "no key, no tokens", "--api-key"])
        with Server(status=404, body={"object": "error", "message": "no such model"}) as server:
            self.refused(server, "--model", "x", says=["404", "no such model", "--model"])
        with Server(status=500, body=b"<html>oops</html>") as server:
            self.refused(server, says=["500", "oops"])
        with Server(status=400, body={"error": "context too long"}) as server:
            self.refused(server, says=["400", "context too long"])
        with Server(stream=lambda request: [event(error={"message": "out of memory"})]) as server:
            self.refused(server, says=["out of memory"])
        with Server(stream=lambda request: [b"data: {oops\n\n", b"data: [DONE]\n\n"]) as server:
            self.refused(server, says=["JSON"])
        with Server(stream=stream(text="")) as server:
            self.refused(server, says=["no text"])

    def test_cut_streams(self):
        with Server(stream=stream(done=False, finish=None, usage=False), cut=True) as server:
            self.refused(server, says=[server.url])
        with Server(stream=stream(done=False, finish=None, usage=False)) as server:
            self.refused(server, says=["ended before"])

    def test_nobody_listens(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
            self.refused(url, says=[url, "running"])

    def test_a_proxy_does_not_stand_between_this_machine_and_itself(self):
        with Server(stream=stream()) as server:
            self.record(server, environment={"http_proxy": "http://127.0.0.1:1"})

    def test_what_does_not_belong(self):
        """What a server's model does not use is named, not passed over and kept as a fact."""
        for flags in (["--synthetic", "mistral-7b"], ["--depth", 0, "--batch", 1], ["--dtype", "f16"], ["--threads", 1],
                      ["--kv-dtype", "int8"], ["--exact"], ["--context", 99], ["--write", "x"], ["--no-probe"],
                      ["no/such-model"], ["--sweep-tokens", 2]):
            done = run("bench", "--against", "http://localhost:1", *quick(), *flags)
            self.assertEqual(done.returncode, 2, flags)
            for flag in flags:
                if str(flag).startswith("--"):
                    self.assertIn(flag, done.stderr)
            self.assertIn("leave", done.stderr)
        for flags in (["--model", "foo"], ["--api-key", "secret"]):
            done = run("bench", "no/such-model", *flags)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(flags[0], done.stderr)
            self.assertIn("--against", done.stderr)
            self.assertNotIn("no/such-model", done.stderr)

    def test_the_record_has_nothing_of_a_model_in_this_process(self):
        with support.temporary_folder() as folder, Server(stream=stream()) as server:
            record = self.record(server)
            self.assertEqual(record["flags"], {"against": server.url, "against_model": "only-one"})
            record["protocol"]["sweep"]["batches"] = [1]
            (folder / "edited.json").write_text(json.dumps(record))
            done = run("bench", "--replay", folder / "edited.json")
            self.assertEqual(done.returncode, 1)
            self.assertIn("cannot be run again", done.stderr)

    def test_the_model_is_named_and_what_is_not_known_is_not_0(self):
        with Server(stream=stream(usage=False)) as server:
            task, = self.record(server)["tasks"]
            self.assertEqual((task["prompt_tokens"], task["prefill_tokens_per_second"]), (None, None))
            for format in ("table", "markdown", "html"):
                text = run_ok("bench", "--against", server.url, *quick("--format", format, "--lang", "en")).stdout
                self.assertIn("only-one", text)
                if format == "table":
                    row, = (line for line in text.splitlines() if line.startswith("Code generation "))
                    self.assertEqual(row.split()[2], "-")

    def test_replay_and_compare(self):
        with support.temporary_folder() as folder, Server(stream=stream()) as server:
            self.record(server, "--record", folder / "a.json")
            done = run_ok("bench", "--replay", folder / "a.json")
            self.assertIn("B / A", done.stdout)
            old = json.loads((folder / "a.json").read_text())  # earlier versions wrote the flags of a model too
            old["flags"].update(no_probe=False, model="", synthetic="", threads=0, dtype="auto")
            (folder / "old.json").write_text(json.dumps(old))
            run_ok("bench", "--replay", folder / "old.json")
            self.assertIn("code: tokens/s", done.stdout)
            html = folder / "a.html"
            self.record(server, "--html", html)
            self.assertIn("&lt;b&gt;好&lt;/b&gt;", html.read_text(encoding="utf-8"))

    def test_interrupt(self):
        def endless(request):
            while True:
                yield event(choices=[{"delta": {"content": "x"}}])
        with Server(stream=endless, pause_s=0.05) as server:
            process = subprocess.Popen([support.PROGRAM, "bench", "--against", server.url, *map(str, QUICK)],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=support.clean_environment())
            while not server.requests:
                time.sleep(0.02)
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=20)
            self.assertEqual(process.returncode, 130, error)


if __name__ == "__main__":
    support.main()
