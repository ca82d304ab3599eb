"""The demo in containers: told where an engine can be had, skipped with a reason elsewhere, and leaves nothing running."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

import stack

SCRIPT = stack.ROOT / "scripts" / "docker-demo"


class DockerDemo(unittest.TestCase):
    """Starts the script, with folders for state and temporary files that show what is left."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="cd4ml-docker-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.scratch = self.dir / "scratch"
        self.scratch.mkdir()
        self.state = self.dir / "state"

    def start(self, **environment: str) -> subprocess.Popen:
        command = ["/bin/bash", SCRIPT, "--bin", stack.BIN, "--state", self.state]
        return subprocess.Popen(command, env={**os.environ, "TMPDIR": str(self.scratch), **environment},
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def processes(self) -> list[str]:
        found = []
        for cmdline in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found.append(cmdline.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                pass
        return [command for command in found if str(self.state) in command]

    def check_nothing_is_left(self) -> None:
        self.assertEqual(list(self.scratch.iterdir()), [])
        self.assertFalse((self.state / "context").exists())
        self.assertEqual(self.processes(), [])


class WithoutAnEngine(DockerDemo):
    def setUp(self):
        super().setUp()
        self.tools = self.dir / "bin"
        self.tools.mkdir()
        for tool in ("dirname", "flock", "kill", "mkdir", "realpath", "rm", "setsid", "sleep", "tail", "timeout"):
            (self.tools / tool).symlink_to(shutil.which(tool))

    def install(self, tool: str, script: str) -> None:
        path = self.tools / tool
        path.write_text("#!/bin/bash\n" + script)
        path.chmod(0o755)

    def check_skipped(self, reason: str) -> None:
        told = self.start(PATH=str(self.tools))
        output = told.communicate(timeout=stack.PATIENCE)[0]
        self.assertEqual(told.returncode, 0, output)
        self.assertRegex(output.splitlines()[-1], f"^docker-demo: skipped: .*{reason}")
        self.check_nothing_is_left()

    def test_skips_without_docker(self):
        self.check_skipped("docker is not installed")

    def test_skips_without_compose(self):
        self.install("docker", "exit 1")
        self.check_skipped("docker compose is not installed")

    def test_skips_when_no_engine_answers_and_none_is_installed(self):
        self.install("docker", '[[ $1 == compose ]]')
        self.check_skipped("no dockerd to start")

    def test_skips_when_the_engine_cannot_run_here(self):
        self.install("docker", '[[ $1 == compose ]]')
        self.install("dockerd", "echo no cgroups on this machine; exit 1")
        self.check_skipped("no cgroups on this machine" if os.geteuid() == 0 else "only root can start one")

    def test_an_unknown_option_is_refused(self):
        told = subprocess.run([SCRIPT, "--fast"], capture_output=True, text=True)
        self.assertEqual(told.returncode, 2)
        self.assertIn("no option --fast", told.stderr)


@unittest.skipUnless(os.environ.get("CD4ML_LONG_TESTS"), "images take minutes to make; scripts/test --long does")
class WithAnEngine(DockerDemo):
    def setUp(self):
        super().setUp()
        # Images are kept between tests as they are between demos.
        self.state = stack.BIN.parent / "docker-demo"

    def skip_when_skipped(self, output: str) -> None:
        if "docker-demo: skipped:" in output:
            self.skipTest(output.split("docker-demo: skipped:")[1].strip())

    def check_nothing_is_left(self) -> None:
        super().check_nothing_is_left()
        # Of an engine that others run; ours has ended.
        containers = ["docker", "ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=cd4ml-demo"]
        self.assertEqual(subprocess.run(containers, capture_output=True, text=True).stdout, "")

    def test_tells_the_whole_story(self):
        told = self.start()
        output = told.communicate(timeout=1700)[0]
        self.skip_when_skipped(output)
        self.assertEqual(told.returncode, 0, output)
        for sign in ("[6/6]", "used-car-price/3/release", "docker-demo: done"):
            self.assertIn(sign, output)
        # Only the daemon itself can have written this.
        self.assertIn("cd4mld", (self.state / "containers.log").read_text())
        self.check_nothing_is_left()

    def test_an_interruption_in_the_middle_leaves_nothing(self):
        told = self.start()
        output = ""
        for line in told.stdout:
            output += line
            if "[3/6]" in line:
                told.send_signal(signal.SIGTERM)
        told.wait()
        self.skip_when_skipped(output)
        self.assertEqual(told.returncode, 130, output)
        self.assertNotIn("[4/6]", output)
        self.check_nothing_is_left()


if __name__ == "__main__":
    stack.main()
