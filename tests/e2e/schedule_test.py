"""Whose turn it is: groups, priorities, shares, retries, drains and time limits, against the real programs."""
import os
import subprocess
import threading

import stack
from stack import StackTest, wait_for

# Notes that it began and waits until the test lets it go on; {{dir}} has a pipe for every name.
HOLD = """|
      name="${{CD4ML_RUN//\\//-}}-$CD4ML_STAGE"
      echo "$name" >> {dir}/starts
      read line < {dir}/"$name"
"""

HELD = "format: 1\npipeline: {name}\n{top}stages:\n  a:\n    run: " + HOLD

STEPS = """format: 1
pipeline: p
params: {{file: params.yaml}}
stages:
  a:
    params: [other]
    run: echo a >> {dir}/starts; echo made by a > a.txt
    outputs: {{out: {{path: a.txt}}}}
  b:
    inputs: {{in: a.out}}
    params: [good]
    run: |
      echo b >> {dir}/starts
      test "$CD4ML_PARAM_GOOD" = yes
      cp "$CD4ML_IN_IN" b.txt
    outputs: {{out: {{path: b.txt}}}}
  c:
    inputs: {{in: b.out}}
    run: echo c >> {dir}/starts; cat "$CD4ML_IN_IN"
"""

DEPLOYS = """format: 1
pipeline: p
environments: {{production: {{concurrency: latest}}}}
stages:
  package: {{run: touch pkg, outputs: {{out: {{path: pkg, type: deployable}}}}}}
  release:
    kind: deploy
    environment: production
    deploy: package.out
    apply: """ + HOLD


class ScheduleTest(StackTest):
    def hold(self, *names: str) -> None:
        """Lets the stages of these names wait for `let_go`."""
        for name in names:
            os.mkfifo(self.stack.dir / name)

    def let_go(self, name: str) -> None:
        wait_for(f"{name} to begin", lambda: name in self.starts())
        with open(self.stack.dir / name, "w") as gate:
            gate.write("go\n")

    def starts(self) -> list[str]:
        path = self.stack.dir / "starts"
        return path.read_text().split() if path.exists() else []

    def begun(self, *names: str) -> None:
        wait_for(f"{names} to begin", lambda: set(names) <= set(self.starts()))

    def register(self, text: str, **more: str) -> None:
        text = text.format(dir=self.stack.dir, **more)
        name = text.split("pipeline: ")[1].split()[0]
        self.stack.register(text, f"{name}.cd4ml.yaml")

    def start(self, *words: str) -> None:
        self.stack.cli("run", "start", *words)

    def show(self, run: str) -> dict:
        return self.stack.ask("run", "show", run)

    def queued(self) -> list[str]:
        return [run["id"] for run in self.stack.ask("run", "list", "--state", "queued")]


class Concurrency(ScheduleTest):
    def setUp(self):
        super().setUp()
        self.stack.start_agent()
        self.hold("p-1-a", "p-2-a", "p-3-a")

    def test_queued_runs_have_their_turn_by_priority_and_none_is_dropped(self):
        self.register(HELD, name="p", top="concurrency: queue\n")
        self.start("p")
        self.begun("p-1-a")
        self.assertIn("Queued p/2", self.stack.cli("run", "start", "p"))
        self.start("p", "--priority", "10")

        self.assertEqual(self.queued(), ["p/3", "p/2"])
        self.assertIn('waits for p/1: concurrency group "p"', self.stack.cli("why", "p/2"))
        self.assertIn("queued", self.stack.cli("run", "show", "p/2"))
        for name in ("p-1-a", "p-3-a", "p-2-a"):
            self.let_go(name)
        self.stack.cli("run", "wait", "p/1", "p/2", "p/3")
        self.assertEqual(self.starts(), ["p-1-a", "p-3-a", "p-2-a"])

    def test_latest_supersedes_what_waits(self):
        self.register(HELD, name="p", top="concurrency: {group: g, policy: latest}\n")
        self.start("p")
        self.begun("p-1-a")
        self.start("p")
        self.start("p")

        said = self.stack.cli("run", "wait", "p/2", expect=12)
        self.assertIn("superseded by run p/3", said)
        self.assertIn("p/2 SUPERSEDED", said)
        self.assertEqual(self.show("p/2")["superseded_by"], "p/3")
        self.let_go("p-1-a")
        self.let_go("p-3-a")
        self.stack.cli("run", "wait", "p/1", "p/3")
        self.assertNotIn("p-2-a", self.starts())

    def test_cancel_ends_what_is_under_way(self):
        self.register(HELD, name="p", top="concurrency: cancel\n")
        self.start("p")
        self.begun("p-1-a")
        self.start("p")

        self.assertIn("superseded by run p/2", self.stack.cli("run", "wait", "p/1", expect=12))
        self.let_go("p-2-a")
        self.stack.cli("run", "wait", "p/2")

    def test_an_environment_takes_the_latest_of_the_deploys_that_wait(self):
        self.hold(*(f"p-{n}-release" for n in (1, 2, 3)))
        self.register(DEPLOYS)
        self.start("p")
        self.begun("p-1-release")
        self.start("p")
        wait_for("the second deploy to wait", lambda: "is locked by p/1" in self.stack.cli("why", "p/2/release"))
        self.start("p")

        self.stack.cli("run", "wait", "p/2", expect=12)
        self.assertIn("p/3", self.stack.cli("why", "p/2/release"))
        self.let_go("p-1-release")
        self.let_go("p-3-release")
        self.stack.cli("run", "wait", "p/1", "p/3")
        self.assertNotIn("p-2-release", self.starts())


class Turns(ScheduleTest):
    def test_the_higher_priority_goes_first_when_there_is_one_slot(self):
        self.stack.start_agent("local", "--slots", "1")
        for name, top in (("first", ""), ("low", "priority: -10\n"), ("high", "priority: 10\n")):
            self.hold(f"{name}-1-a")
            self.register(HELD, name=name, top=top)
        self.start("first")
        self.begun("first-1-a")
        self.start("low")
        self.start("high")
        self.assertIn("is busy", self.stack.cli("why", "low/1"))

        for name in ("first-1-a", "high-1-a", "low-1-a"):
            self.let_go(name)
        self.stack.cli("run", "wait", "low/1", "high/1")
        self.assertEqual(self.starts(), ["first-1-a", "high-1-a", "low-1-a"])

    def test_a_large_pipeline_leaves_room_for_a_small_one(self):
        self.stack.start_agent("local", "--slots", "2")
        stages = "abcd"
        self.hold(*(f"big-1-{stage}" for stage in stages), "small-1-a")
        many = "".join(f"  {stage}:\n    run: " + HOLD for stage in stages)
        self.register("format: 1\npipeline: big\nstages:\n" + many)
        self.register(HELD, name="small", top="")
        self.start("big")
        wait_for("both slots to be taken", lambda: len(self.starts()) == 2)
        self.start("small")

        self.let_go(self.starts()[0])
        wait_for("the free slot to be taken", lambda: len(self.starts()) == 3)

        self.assertEqual(self.starts()[2], "small-1-a")
        others = [f"big-1-{stage}" for stage in stages if f"big-1-{stage}" != self.starts()[0]]
        for name in ["small-1-a", *others]:
            threading.Thread(target=self.let_go, args=(name,), daemon=True).start()
        self.stack.cli("run", "wait", "big/1", "small/1")


class Retries(ScheduleTest):
    def setUp(self):
        super().setUp()
        self.stack.start_agent()
        self.stack.commit({"params.yaml": 'good: "no"\nother: 1\n'})
        self.register(STEPS)
        self.stack.cli("run", "start", "p", "--wait", expect=10)
        self.before = self.show("p/1")

    def retry(self, *words: str, expect: int = 0) -> str:
        (self.stack.dir / "starts").unlink()
        (self.stack.dir / "starts").touch()
        return self.stack.cli("run", "retry", *words, "--wait", expect=expect)

    def taken_over(self, run: str) -> dict:
        return {stage["plan"]["name"]: stage["carried"]["from"]["run"] for stage in self.show(run)["stages"]
                if stage.get("carried")}

    def test_what_failed_is_done_again_with_other_parameters(self):
        said = self.retry("p/1", "-p", "good=yes")

        self.assertIn("retry of p/1, takes over a", said)
        self.assertEqual(self.starts(), ["b", "c"])
        self.assertEqual(self.taken_over("p/2"), {"a": "p/1"})
        self.assertEqual(self.show("p/2")["retry_of"], "p/1")
        self.assertEqual(self.show("p/1"), self.before, "the old run is not touched")
        self.assertIn("made by a", self.stack.cli("run", "logs", "p/2", "c"))
        self.assertIn("a of p/1", self.stack.cli("lineage", "p/2", "--up"))
        self.assertIn("taken over from p/1", self.stack.cli("why", "p/2/a"))
        self.assertIn("taken over from p/1: a", self.stack.cli("run", "show", "p/2"))

    def test_from_a_stage_and_only_a_stage(self):
        self.retry("p/1", "--failed", "-p", "good=yes")
        self.retry("p/2", "--from", "b")
        self.assertEqual(self.starts(), ["b", "c"])
        self.assertEqual(self.taken_over("p/3"), {"a": "p/1"}, "from whom made it")

        self.retry("p/latest", "--only", "b")
        self.assertEqual(self.starts(), ["b"])
        self.assertEqual(self.taken_over("p/4"), {"a": "p/1"}, "nothing that comes after it passes for its result")

    def test_what_cannot_be_done_again_says_why(self):
        self.assertIn('did you mean "a"', self.stack.cli("run", "retry", "p/1", "--only", "aa", expect=4))
        self.assertIn("--from b", self.stack.cli("run", "retry", "p/1", "--only", "c", expect=6))
        self.retry("p/1", "-p", "good=yes")
        self.assertIn("every stage of run p/2 succeeded", self.stack.cli("run", "retry", "p/2", expect=6))


class TwoOfOneName(ScheduleTest):
    def test_the_second_is_refused_and_what_the_first_does_goes_on(self):
        self.stack.start_agent()
        self.hold("p-1-a")
        self.register(HELD, name="p", top="")
        self.start("p")
        self.begun("p-1-a")

        self.stack.agents["other"] = self.stack.popen("cd4ml-agent", "--state", self.stack.dir / "other",
                                                      "--server", self.stack.server, "--name", "local")
        log = self.stack.dir / "cd4ml-agent.out"
        wait_for("the second to be refused", lambda: 'another agent named \\"local\\" runs on' in log.read_text())
        self.let_go("p-1-a")
        self.stack.cli("run", "wait", "p/1")

        self.assertEqual(self.starts(), ["p-1-a"])
        self.assertEqual([attempt["number"] for attempt in self.show("p/1")["stages"][0]["attempts"]], [1])


class Handshake(ScheduleTest):
    def hello(self, agent: str, protocol: int) -> str:
        done = subprocess.run([stack.BIN / "e2e_client", self.stack.server, "1"], input=f"hello 1 {agent} {protocol}\n",
                              capture_output=True, text=True, timeout=stack.PATIENCE)
        return done.stdout.split(" ", 2)[2].strip()

    def test_an_agent_of_another_protocol_is_refused_and_told_both_versions(self):
        for protocol in (0, 2, 99):
            self.assertEqual(self.hello("stranger", protocol), f'FAILED_PRECONDITION agent "stranger" speaks protocol '
                                                               f"{protocol}, this daemon speaks 1")
        self.assertEqual(self.stack.ask("agent", "list"), [])
        self.assertTrue(self.hello("friend", 1).startswith("OK "))
        self.assertEqual([view["agent"]["name"] for view in self.stack.ask("agent", "list")], ["friend"])


class Drains(ScheduleTest):
    def state(self) -> str:
        return self.stack.ask("agent", "list")[0]["state"]

    def stop(self):
        self.stack.agents["local"].terminate()

    def ended(self) -> int:
        return self.stack.agents.pop("local").wait(timeout=stack.PATIENCE)

    def hold_two_runs_with_the_first_begun(self):
        self.stack.start_agent("local", "--drain-on-stop")
        self.hold("p-1-a", "p-2-a")
        self.register(HELD, name="p", top="")
        self.start("p")
        self.begun("p-1-a")

    def test_an_agent_that_drains_on_stop_finishes_what_it_holds_and_takes_nothing_new(self):
        self.hold_two_runs_with_the_first_begun()

        self.stop()
        wait_for("the agent to drain", lambda: self.state() == "draining")
        self.start("p")
        self.assertIn("1 agent is draining", self.stack.cli("why", "p/2"))
        self.let_go("p-1-a")
        self.stack.cli("run", "wait", "p/1")

        self.assertEqual(self.ended(), 0)
        self.assertEqual(self.starts(), ["p-1-a"])
        self.stack.start_agent()
        self.let_go("p-2-a")
        self.stack.cli("run", "wait", "p/2")

    def test_an_agent_that_is_told_twice_ends_at_once_and_what_it_held_goes_on(self):
        self.hold_two_runs_with_the_first_begun()

        self.stop()
        wait_for("the agent to drain", lambda: self.state() == "draining")
        self.stop()
        self.assertEqual(self.ended(), 0)

        self.stack.start_agent()
        self.let_go("p-1-a")
        self.stack.cli("run", "wait", "p/1")
        self.assertEqual(self.starts(), ["p-1-a"])
        self.assertEqual([attempt["number"] for attempt in self.show("p/1")["stages"][0]["attempts"]], [1])

    def test_a_drain_finishes_what_runs_and_holds_across_a_restart(self):
        self.stack.start_agent()
        self.hold("p-1-a", "p-2-a")
        self.register(HELD, name="p", top="")
        self.start("p")
        self.begun("p-1-a")

        self.assertIn("finishes 1 stage", self.stack.cli("agent", "drain", "local", "--reason", "new disk"))
        self.assertEqual(self.state(), "draining")
        self.start("p")
        self.let_go("p-1-a")
        self.stack.cli("run", "wait", "p/1")
        self.stack.kill_daemon()
        self.stack.start_daemon()
        wait_for("the agent to come back", lambda: self.state() == "drained")

        self.assertIn("new disk", self.stack.cli("agent", "list"))
        self.assertIn("1 agent is draining", self.stack.cli("why", "p/2"))
        self.stack.cli("agent", "undrain", "local")
        self.let_go("p-2-a")
        self.stack.cli("run", "wait", "p/2")
        self.assertEqual(self.starts(), ["p-1-a", "p-2-a"])


class Limits(ScheduleTest):
    def setUp(self):
        super().setUp()
        self.stack.start_agent()

    def test_all_attempts_together_have_a_limit(self):
        self.register("format: 1\npipeline: p\nstages:\n  a:\n    run: read line < {dir}/never\n    timeout: 300ms\n"
                      "    total_timeout: 2s\n    retry: {{limit: 100, when: [timeout]}}\n")
        self.hold("never")

        self.stack.cli("run", "start", "p", "--wait", expect=10)

        stage = self.stack.stage("p/1", "a")
        self.assertEqual(stage["reason"], "REASON_TOTAL_TIMEOUT")
        said = self.stack.cli("why", "p/1")
        self.assertIn("total_timeout: it did not end within 2.0s, all attempts together", said)
        self.assertRegex(said, "attempt 1 failed on local after .*: timeout")

    def test_what_no_agent_can_take_says_why_and_ends(self):
        (self.stack.repo / "params.yaml").write_text("patience: 10m\n")
        self.register("format: 1\npipeline: p\nparams: {{file: params.yaml}}\nstages:\n"
                      "  a: {{run: 'true', agent: {{cpu: 9000}}, assign_timeout: '${{{{ params.patience }}}}'}}\n")
        self.start("p")
        self.assertIn("cpu 9000 is more than", self.stack.cli("why", "p/1/a"))
        self.stack.cli("run", "cancel", "p/1")

        self.start("p", "-p", "patience=1s")

        self.stack.cli("run", "wait", "p/2", expect=13)
        self.assertIn("no_agent: no agent took it within 1.0s", self.stack.cli("why", "p/2"))


if __name__ == "__main__":
    stack.main()
