"""A small S3 and web server for tests: standard library only, signatures really checked, and able to misbehave."""
import hashlib
import hmac
import http.server
import re
import threading
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

    def log_message(self, *_):
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
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
        parts = ["<?xml version='1.0'?><ListBucketResult>", f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>"]
        if more:
            parts.append(f"<NextContinuationToken>{start + len(page)}</NextContinuationToken>")
        for key in page:
            body = self.server.data.objects[bucket, key]
            parts.append(f"<Contents><Key>{urllib.parse.quote(key, safe='/')}</Key><ETag>"
                         + sax.escape('"' + hashlib.md5(body).hexdigest() + '"', {'"': "&quot;"})
                         + f"</ETag><Size>{len(body)}</Size></Contents>")
        parts.append("</ListBucketResult>")
        self.answer(200, "".join(parts).encode())


class DataServer:
    """Serves `objects`, by bucket and key; those of the bucket "web" at /web/NAME without signature."""

    def __init__(self):
        self.objects: dict[tuple[str, str], bytes] = {}
        self.faults: dict[str, str] = {}      # By key: cut, endless, busy, other.
        self.requests: list[str] = []
        self.page = 3                         # Objects of a page, so that a small listing has several.
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.data = self
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None      # Clients that go away.
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def took(self) -> list[str]:
        """Returns what was asked for since the last call."""
        taken, self.requests = self.requests, []
        return taken
