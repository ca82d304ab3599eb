"""wrk: a bare load generator over HTTP; the yardstick of a contract gate's latency rule."""
import json
import re

from peers.peer import Peer


class Wrk(Peer):
    name = "wrk"

    def install(self) -> None:
        self.debian("wrk")

    def start(self) -> None:
        self.with_debian()

    def load(self, url: str, body: dict, concurrency: int, seconds: int) -> dict:
        """Posts `body` over `concurrency` connections; returns requests a second and percentiles in milliseconds."""
        script = self.work / "post.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = {json.dumps(json.dumps(body))}\n'
                          'wrk.headers["Content-Type"] = "application/json"\n')
        said = self.asked("wrk", "-t1", f"-c{concurrency}", f"-d{seconds}s", "--latency", "-s", script, url)
        if failed := re.search(r"Non-2xx or 3xx responses: \d+|Socket errors: .*", said):
            raise ValueError(failed.group())
        units = {"us": 1e-3, "ms": 1, "s": 1e3}
        percentiles = {f"p{percent}": float(value) * units[unit]
                       for percent, value, unit in re.findall(r"^ +(\d+)% +([\d.]+)(us|ms|s)$", said, re.MULTILINE)}
        return {"per_second": float(re.search(r"Requests/sec: +([\d.]+)", said).group(1)), **percentiles}
