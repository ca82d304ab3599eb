"""A price service that is bad in the way that its argument names; "good" is how it should be.

GET /healthz answers {"status": "ok"}; POST /price with {"x": 3} answers {"price": 6.0, "id": "r-3"}. It is written on bare
sockets, so that it can also break what an HTTP library would get right.
"""
import json
import os
import signal
import socket
import struct
import sys
import threading
import time

mode = sys.argv[1]
port = int(os.environ["CD4ML_PORT"])
asked = 0            # Requests for prices so far.
lock = threading.Lock()
fed = threading.Event()
hoard = []


def http(body, status="200 OK", content_type="application/json", headers="", length=None):
    if isinstance(body, str):
        body = body.encode()
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\n{kind}Content-Length: {size}\r\n{headers}\r\n".encode() + body


def trickle(connection, chunk, pause):
    while True:
        connection.sendall(chunk)
        time.sleep(pause)


def price_of(row):
    price = row["x"] * 2.0
    return {"price": price, "id": f"r-{row['x']}"}


# What is sent in place of a good answer, given that answer and the request's row; None: nothing more is sent.
ANSWERS = {
    "status-500": lambda good, row: http('{"error": "boom"}', "500 Internal Server Error"),
    "status-404": lambda good, row: http("{}", "404 Not Found"),
    "status-204": lambda good, row: http("", "204 No Content", length=0),
    "html-type": lambda good, row: http(json.dumps(good), content_type="text/html"),
    "no-type": lambda good, row: http(json.dumps(good), content_type=""),
    "html-page": lambda good, row: http("<html>Sign in</html>", content_type="text/html"),
    "not-json": lambda good, row: http("price: 4"),
    "half-json": lambda good, row: http(json.dumps(good)[:-5]),
    "empty-body": lambda good, row: http(""),
    "two-jsons": lambda good, row: http(json.dumps(good) * 2),
    "deep-json": lambda good, row: http('{"price":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "duplicate-keys": lambda good, row: http('{"price": 1, "price": %s, "id": "r"}' % good["price"]),
    "bad-utf8": lambda good, row: http(b'{"price": %d, "id": "\xff\xfe"}' % good["price"]),
    "gzip-anyway": lambda good, row: http(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03garbage"),
    "price-nan": lambda good, row: http(json.dumps({**good, "price": float("nan")})),
    "price-infinite": lambda good, row: http(json.dumps({**good, "price": float("inf")})),
    "price-text": lambda good, row: http(json.dumps({**good, "price": str(good["price"])})),
    "price-null": lambda good, row: http(json.dumps({**good, "price": None})),
    "price-list": lambda good, row: http(json.dumps({**good, "price": [good["price"]]})),
    "price-gone": lambda good, row: http(json.dumps({"id": good["id"]})),
    "list-around": lambda good, row: http(json.dumps([good])),
    "drift": lambda good, row: http(json.dumps({**good, "price": good["price"] * (1 + 1e-7)})),
    "cents": lambda good, row: http(json.dumps({**good, "price": good["price"] * 100})),
    "constant": lambda good, row: http(json.dumps({**good, "price": 4.0})),
    "negative": lambda good, row: http(json.dumps({**good, "price": -good["price"]})),
    "one-row": lambda good, row: http(json.dumps({**good, "price": good["price"] + (row["x"] == 5)})),
    "id-gone": lambda good, row: http(json.dumps({"price": good["price"]})),
    "id-number": lambda good, row: http(json.dumps({**good, "id": 7})),
    "id-pattern": lambda good, row: http(json.dumps({**good, "id": "x" * 300_000})),
    "extra-key": lambda good, row: http(json.dumps({**good, "debug": {"password": "x"}})),
    "redirect": lambda good, row: http("", "302 Found", headers="Location: /price\r\n"),
    "huge-headers": lambda good, row: http(json.dumps(good), headers="X-Pad: " + "x" * 200_000 + "\r\n"),
    "many-headers": lambda good, row: http(json.dumps(good), headers="X-Pad: y\r\n" * 20_000),
    "not-http": lambda good, row: b"\x00\x01\x02 this is not HTTP\r\n\r\n" * 50,
    "bad-length": lambda good, row: http(json.dumps(good), length=-1),
    "long-length": lambda good, row: http(json.dumps(good), length=10_000),
}


def misbehave(connection, good, row):
    """Does what is more than an answer. Returns what to send, or None after having closed the connection."""
    global asked
    with lock:
        asked += 1
        mine = asked
    if mode == "closes":
        return None
    if mode == "resets":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return None
    if mode == "silent":
        time.sleep(3600)
    if mode == "trickles":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n")
        trickle(connection, b" ", 0.05)
    if mode == "endless-body":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        trickle(connection, b"10000\r\n" + b" " * 65536 + b"\r\n", 0)
    if mode == "endless-headers":
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        trickle(connection, b"X-More: " + b"y" * 1000 + b"\r\n", 0)
    if mode == "dies-at-once" or (mode == "dies-at-third" and mine == 3):
        print("Fatal: model file is corrupt", flush=True)
        os._exit(3)
    if mode == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "slow":
        time.sleep(0.4)
    if mode == "tires" and mine > 12:      # Works while it is new.
        return http('{"error": "pool exhausted"}', "503 Service Unavailable")
    if mode == "leaks":
        hoard.append(os.urandom(1) * (12 << 20))
    if mode == "hungry-child":
        if mine == 1:
            eaten, tell = os.pipe()
            if os.fork() == 0:
                hoard.append(os.urandom(1) * (90 << 20))
                os.write(tell, b"!")
                time.sleep(3600)
            os.read(eaten, 1)
            fed.set()
        fed.wait()
    return ANSWERS[mode](good, row) if mode in ANSWERS else http(json.dumps(good))


# What GET /healthz is answered with, by services that are bad before they are ready.
HEALTH = {
    "health-500": lambda: http("{}", "500 Internal Server Error"),
    "health-404": lambda: http("{}", "404 Not Found"),
    "health-redirect": lambda: http("", "302 Found", headers="Location: /healthz\r\n"),
    "health-garbage": lambda: b"220 smtp.example ESMTP ready\r\n",
    "health-huge-headers": lambda: http("{}", headers="X-Pad: " + "x" * 200_000 + "\r\n"),
    "health-half": lambda: http("{}", length=10_000),
}


def serve(connection):
    stream = connection.makefile("rb")
    while True:
        line = stream.readline()
        if not line:
            return
        length = 0
        while (header := stream.readline().strip()) != b"":
            if header.lower().startswith(b"content-length:"):
                length = int(header.split(b":")[1])
        body = stream.read(length)
        if line.startswith(b"GET"):
            if mode == "health-endless":
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                trickle(connection, b"x" * 65536, 0)
            if mode == "health-trickles":
                trickle(connection, b"H", 0.1)
            if mode == "health-silent":
                time.sleep(3600)
            answer = HEALTH[mode]() if mode in HEALTH else http('{"status": "ok"}')
            connection.sendall(answer)
            if mode in HEALTH:
                return
            continue
        row = json.loads(body)
        answer = misbehave(connection, price_of(row), row)
        if answer is None:
            return
        connection.sendall(answer)
        if mode in ("not-http", "bad-length", "half-json", "long-length"):
            return


def handle(connection):
    try:
        serve(connection)
    except (OSError, ValueError):
        pass
    connection.close()


def main():
    print(f"service starts in mode {mode}", flush=True)
    if mode == "never-listens":
        time.sleep(3600)
    if mode == "exits-3":
        print("oh no: no model", flush=True)
        sys.exit(3)
    if mode == "exits-0":
        sys.exit(0)
    if mode == "import-error":
        import a_module_that_nobody_has  # noqa: F401
    if mode == "binary-noise":
        sys.stdout.buffer.write(os.urandom(100_000) + b"\n")
        sys.exit(1)
    if mode == "floods-log":
        for _ in range(20_000):
            print("x" * 200)
        print("enough said", flush=True)
        sys.exit(1)
    if mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "aborts":
        os.abort()
    if mode == "forks-away" and os.fork() != 0:   # The child keeps the port, the command is over.
        os._exit(0)
    server = socket.create_server(("127.0.0.1", 0 if mode == "wrong-port" else port), backlog=128)
    if mode == "never-accepts":
        time.sleep(3600)
    if mode == "exits-late":
        threading.Timer(0.3, lambda: os._exit(9)).start()
    while True:
        connection, _ = server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if mode in ("health-closes", "exits-late"):
            connection.close()
            continue
        threading.Thread(target=handle, args=(connection,), daemon=True).start()


main()
