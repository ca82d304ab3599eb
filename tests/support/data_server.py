"""A small S3 and web server for tests: standard library only, signatures really checked, and able to misbehave."""
import email.utils
import hashlib
import hmac
import http.server
import json
import re
import sys
import threading
import time
import urllib.parse
import xml.sax.saxutils as sax

KEY, SECRET, REGION = "AKTEST", "not-a-secret/+=", "eu-test-1"


def canonical(handler, path: str, query: str, signed: str) -> str:
    """The request as AWS's signature, version 4, sees it."""
    pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
    quoted = "&".join(f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}" for k, v in pairs)
    # S3 encodes each byte of the path once.
    path = urllib.parse.quote(urllib.parse.unquote(path), safe="/-_.~")
    headers = "".join(f"{name}:{' '.join(handler.headers[name].split())}\n" for name in signed.split(";"))
    payload = handler.headers.get("x-amz-content-sha256", hashlib.sha256(b"").hexdigest())
    assert payload == "UNSIGNED-PAYLOAD" or payload == hashlib.sha256(handler.body).hexdigest(), "not the body that was signed"
    return "\n".join([handler.command, path, quoted, headers, signed, payload])


def is_signed(handler, path: str, query: str) -> bool:
    found = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?"
                         r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})", handler.headers.get("Authorization", ""))
    if not found:
        return False
    key, day, region, signed, signature = found.groups()
    if key != KEY or region != REGION or not {"host", "x-amz-date"} <= set(signed.split(";")):
        return False
    date = handler.headers["x-amz-date"]
    if not date.startswith(day):
        return False
    text = "\n".join(["AWS4-HMAC-SHA256", date, f"{day}/{region}/s3/aws4_request",
                      hashlib.sha256(canonical(handler, path, query, signed).encode()).hexdigest()])
    step = ("AWS4" + SECRET).encode()
    for part in (day, region, "s3", "aws4_request"):
        step = hmac.new(step, part.encode(), hashlib.sha256).digest()
    return hmac.compare_digest(hmac.new(step, text.encode(), hashlib.sha256).hexdigest(), signature)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    body = b""

    def log_message(self, *_):
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>It is refused.</Message></Error>".encode())

    def admit(self) -> tuple[str, str] | None:
        """Reads a request for an object; returns its bucket and key unless it was answered, or left unanswered."""
        path, _, query = self.path.partition("?")
        data = self.server.data
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data.requests.append(f"{self.command} {self.path}")
        if not is_signed(self, path, query):
            return self.refuse(403, "SignatureDoesNotMatch")
        bucket, _, key = urllib.parse.unquote(path[1:]).partition("/")
        fault = next((fault for prefix, fault in data.trouble.items()
                      if f"{self.command} {key}".startswith(prefix) and fault[1] > 0), None)
        if not fault:
            return bucket, key
        fault[1] -= 1
        kind = fault[0]
        if kind == "silent":
            data.silence.wait()
            self.close_connection = True
        elif kind == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        elif kind == "endless":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        elif kind == "reset":
            self.close_connection = True
        elif kind == "page":
            self.answer(200, b"<html>We are right back.</html>", Content_Type="text/html; charset=utf-8")
        elif kind == "garbled":
            self.answer(200, b"these are other bytes")
        else:
            self.refuse(int(kind), {"403": "AccessDenied", "503": "SlowDown"}.get(kind, "InternalError"))
        return None

    def do_PUT(self) -> None:
        place = self.admit()
        if place is None:
            return
        source = self.headers.get("x-amz-copy-source")
        body = self.body
        if source:
            body = self.server.data.objects.get(tuple(urllib.parse.unquote(source[1:]).split("/", 1)))
            if body is None:
                return self.refuse(404, "NoSuchKey")
        self.server.data.put(*place, body)
        self.answer(200, b"<CopyObjectResult></CopyObjectResult>" if source else b"")

    def do_DELETE(self) -> None:
        place = self.admit()
        if place is not None:
            self.server.data.objects.pop(place, None)
            self.answer(204)

    def do_HEAD(self) -> None:
        place = self.admit()
        if place is None:
            return
        body = self.server.data.objects.get(place)
        if body is None:
            return self.answer(404)
        self.answer(200, body, Last_Modified=self.server.data.modified_header(place))

    def do_POST(self) -> None:
        """What a test in another language changes here: {"trouble": {...}}, {"age": [bucket, prefix, seconds]}, ..."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(200, json.dumps(self.server.data.control(asked)).encode())

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/kept" or path.startswith("/kept/"):
            return self.get_kept(query)
        self.server.data.requests.append(self.path)
        if path.startswith("/web/"):
            return self.web(urllib.parse.unquote(path[5:]))
        if not is_signed(self, path, query):
            return self.answer(403, b"<Error><Code>SignatureDoesNotMatch</Code><Message>The signature is wrong.</Message></Error>")
        bucket, _, key = urllib.parse.unquote(path[1:]).partition("/")
        if "list-type=2" in query:
            return self.list(bucket, dict(urllib.parse.parse_qsl(query)))
        body = self.server.data.objects.get((bucket, key))
        if body is None:
            return self.answer(404, b"<Error><Code>NoSuchKey</Code><Message>There is no such key.</Message></Error>")
        self.give(key, body)

    def get_kept(self, query: str) -> None:
        """Of a bucket "kept", which is written to."""
        place = self.admit()
        if place is None:
            return
        if "list-type=2" in query:
            return self.list(place[0], dict(urllib.parse.parse_qsl(query)))
        body = self.server.data.objects.get(place)
        if body is None:
            return self.refuse(404, "NoSuchKey")
        wanted = re.fullmatch(r"bytes=0-(\d+)", self.headers.get("Range", ""))
        self.answer(206 if wanted else 200, body[:int(wanted[1]) + 1] if wanted else body)

    def give(self, name: str, body: bytes) -> None:
        tag = '"' + hashlib.md5(body).hexdigest() + '"'
        fault = self.server.data.faults.get(name, "")
        if fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:len(body) // 2])
            self.close_connection = True
        elif fault == "endless":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True
        elif fault == "unchanged":
            self.answer(304)
        elif fault == "busy":
            self.answer(503, b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>")
        elif fault == "other":
            self.answer(200, body + b"!", ETag='"changed"')
        elif self.headers.get("If-None-Match") == tag:
            self.answer(304, ETag=tag)
        else:
            self.answer(200, body, ETag=tag)

    def web(self, name: str) -> None:
        if name.startswith("redirect/"):
            left = int(name.split("/")[1])
            return self.answer(302, Location=f"/web/redirect/{left - 1}" if left else "/web/target.csv")
        body = self.server.data.objects.get(("web", name))
        self.answer(404, b"nothing here") if body is None else self.give(name, body)

    def list(self, bucket: str, query: dict) -> None:
        keys = sorted(key for b, key in self.server.data.objects if b == bucket and key.startswith(query.get("prefix", "")))
        start = int(query.get("continuation-token", "0"))
        page = keys[start:start + min(int(query["max-keys"]), self.server.data.page)]
        more = start + len(page) < len(keys)
        parts = ["<?xml version='1.0'?><ListBucketResult><EncodingType>url</EncodingType>", f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>"]
        if more:
            parts.append(f"<NextContinuationToken>{start + len(page)}</NextContinuationToken>")
        for key in page:
            body = self.server.data.objects[bucket, key]
            parts.append(f"<Contents><Key>{urllib.parse.quote(key, safe='/')}</Key><ETag>"
                         + sax.escape('"' + hashlib.md5(body).hexdigest() + '"', {'"': "&quot;"})
                         + f"</ETag><Size>{len(body)}</Size><LastModified>{self.server.data.modified_text((bucket, key))}"
                         "</LastModified></Contents>")
        parts.append("</ListBucketResult>")
        self.answer(200, "".join(parts).encode())


class DataServer:
    """Serves `objects`, by bucket and key; those of the bucket "web" at /web/NAME without signature."""

    def __init__(self):
        self.objects: dict[tuple[str, str], bytes] = {}
        self.modified: dict[tuple[str, str], float] = {}
        # By beginning of "METHOD key", in the bucket "kept": what happens, how often. A status, cut, endless,
        # reset, page, garbled or silent.
        self.trouble: dict[str, list] = {}
        self.silence = threading.Event()
        self.faults: dict[str, str] = {}      # By key: cut, endless, unchanged, busy, other.
        self.requests: list[str] = []
        self.page = 3                         # Objects of a page, so that a small listing has several.
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.data = self
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None      # Clients that go away.
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, bucket: str, key: str, body: bytes) -> None:
        self.modified[bucket, key] = time.time()
        self.objects[bucket, key] = body

    def modified_header(self, place: tuple[str, str]) -> str:
        return email.utils.formatdate(self.modified.get(place, 0), usegmt=True)

    def modified_text(self, place: tuple[str, str]) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(self.modified.get(place, 0)))

    def control(self, asked: dict):
        if "trouble" in asked:
            self.silence.set()
            self.silence = threading.Event()
            self.trouble = {prefix: list(fault) for prefix, fault in asked["trouble"].items()}
        if "age" in asked:
            for place in [place for place in self.objects if place[1].startswith(asked["age"][0])]:
                self.modified[place] = time.time() - asked["age"][1]
        return {"took": self.took(), "kept": {key: len(body) for (bucket, key), body in self.objects.items() if bucket == "kept"}}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def took(self) -> list[str]:
        """Returns what was asked for since the last call."""
        taken, self.requests = self.requests, []
        return taken


if __name__ == "__main__":
    # For tests in another language: says where it listens, and lives as long as its standard input is open.
    server = DataServer()
    server.page = 1000
    print(server.url, flush=True)
    sys.stdin.read()
