"""Gates that the server requires, and people who override a rule: against the real programs."""
import signal

import stack
from stack import Stack, wait_for

# What is judged is the number in mae.txt.
PIPELINE = """format: 1
pipeline: cars
labels: [regulated]
materials: {{listings: {{data: listings.csv}}}}
environments: {{production: {{}}}}
stages:
  check: {{kind: data_gate, rules: {{some: {{of: listings, rows: {{min: 1}}}}}}}}
  train:
    needs: [check]
    runtime: host
    inputs: {{listings: listings}}
    run: cp "$CD4ML_IN_LISTINGS" model
    outputs: {{model: {{path: model, type: model}}}}
  judge:
    kind: model_gate
    runtime: host
    cache: never
    inputs: {{model: train.model}}
    run: |
      echo "{{\\"mae\\": $(cat mae.txt)}}" > m.json
    metrics: [m.json]
    rules: {{mae: {{metric: mae, max: 1200{severity}}}}}
  package:
    runtime: host
    inputs: {{model: train.model}}
    run: cp model service
    outputs: {{service: {{path: service, type: deployable}}}}
  release:
    kind: deploy
    needs: [{needs}]
    environment: production
    deploy: package.service
    runtime: host
    apply: "true"
"""

WANTS_A_MODEL_GATE = """format: 1
policies:
  prices:
    labels: [regulated]
    gates:
      model_gate: {{rules: {{low: {{metric: mae, max: {max}}}}}}}
      data_gate: {{rules: {{many: {{of: "*", rows: {{min: 2}}}}}}}}
    overrides: {overrides}
"""


class Gates(stack.unittest.TestCase):
    def setUp(self):
        self.stack = Stack()
        self.addCleanup(self.stack.close)
        self.policy = self.stack.dir / "gates.yaml"
        self.policy.write_text("format: 1\npolicies: {anybody: {overrides: {approvals: 1}}}\n")
        self.stack.start_daemon("--gate-policy", str(self.policy))
        self.stack.start_agent()
        (self.stack.data / "listings.csv").write_text("price\n1\n2\n3\n")

    def register(self, needs: str = "judge", severity: str = "", mae: int = 2710, expect: int = 0) -> str:
        self.stack.commit({"cars.cd4ml.yaml": PIPELINE.format(needs=needs, severity=severity), "mae.txt": str(mae)})
        return self.stack.cli("pipeline", "add", str(self.stack.repo), expect=expect)

    def govern(self, max: int = 5000, overrides: str = "{approvals: 1}") -> None:
        """Lets the daemon read another policy."""
        self.policy.write_text(WANTS_A_MODEL_GATE.format(max=max, overrides=overrides))
        out = self.stack.dir / "cd4mld.out"
        before = out.read_text().count("gate policies read")
        self.stack.daemon.send_signal(signal.SIGHUP)
        wait_for("the policy to be read", lambda: out.read_text().count("gate policies read") > before)

    def start(self, expect: int) -> str:
        return self.stack.cli("run", "start", "cars", "--wait", expect=expect)

    def retry(self, run: str, expect: int) -> None:
        self.stack.cli("run", "retry", run, "--wait", expect=expect)

    def override(self, run: str, rule: str, by: str = "ana", expires: str = "1h", expect: int = 0) -> str:
        return self.stack.cli("gate", "override", run, "judge", rule, "--reason", "a new tax", "--by", by,
                              "--expires", expires, expect=expect)

    def rules(self, run: str, stage: str = "judge") -> dict:
        attempt = self.stack.stage(run, stage)["attempts"][-1]
        return {rule["name"]: rule["outcome"] for rule in attempt["outcome"]["verdict"]["rules"]}

    def test_a_pipeline_cannot_do_without_a_gate_that_the_server_requires(self):
        self.register(needs="train", mae=100)     # While nothing is required.
        self.start(expect=0)
        self.govern()

        said = self.start(expect=3)
        self.assertIn('the server\'s gate policy "prices" wants a model_gate before deploy "release" of pipeline "cars"', said)
        self.assertIn("CD0219", said)
        self.assertIn("release:", said)           # The place.
        self.assertIn("model_gate", self.register(needs="train", mae=101, expect=3))
        self.retry("cars/1", expect=3)

        self.register(needs="judge", mae=100)
        self.start(expect=0)

    def test_an_agent_removes_the_tables_that_one_before_it_left_when_it_was_killed(self):
        left = self.stack.dir / "local" / "spill" / "tables-left"
        self.stack.kill_agent()
        left.mkdir()
        (left / "tables").write_bytes(b"rows")

        self.stack.start_agent()

        stack.wait_for("the tables to go", lambda: not left.exists())

    def test_a_policy_that_makes_no_sense_changes_nothing_and_starts_no_daemon(self):
        self.govern()
        self.policy.write_text("format: 1\npolicies: {p: {gates: {train: {}}}}\n")
        self.stack.daemon.send_signal(signal.SIGHUP)
        out = self.stack.dir / "cd4mld.out"
        wait_for("the refusal", lambda: "the gate policies of before go on" in out.read_text())
        self.register(needs="train", mae=100, expect=3)

        self.stack.kill_daemon()
        self.assertFalse(self.stack.launch_daemon("--gate-policy", str(self.policy)))
        self.assertIn('"train" is no kind of gate', out.read_text())
        self.policy.write_text("format: 1\npolicies: {anybody: {overrides: {approvals: 1}}}\n")
        self.stack.start_daemon("--gate-policy", str(self.policy))

    def test_required_rules_are_judged_whatever_the_file_says(self):
        self.register(severity=", severity: warn", mae=2000)
        self.govern(max=900)

        said = self.start(expect=11)

        self.assertIn("prices.low", said)
        self.assertEqual(self.rules("cars/1"), {"mae": "VERDICT_OUTCOME_WARN", "prices.low": "VERDICT_OUTCOME_FAIL"})
        self.assertEqual(self.rules("cars/1", "check")["prices.many"], "VERDICT_OUTCOME_PASS")
        self.stack.commit({"cars.cd4ml.yaml": PIPELINE.format(needs="judge", severity="") + "required: {judge: {prices.low: {metric: mae, max: 9999}}}\n"})
        self.assertIn("`required` is written by cd4ml", self.start(expect=6))

    def test_a_retry_takes_no_gate_over_that_was_judged_without_a_rule_that_is_required_now(self):
        self.register(mae=1100)
        self.start(expect=0)
        self.govern(max=900)

        self.stack.cli("run", "retry", "cars/1", "--from", "release", "--wait", expect=11)

        self.assertEqual(self.rules("cars/2")["prices.low"], "VERDICT_OUTCOME_FAIL")

    def test_a_contract_that_cannot_be_used_is_found_before_there_is_a_run(self):
        definition = PIPELINE.format(needs="judge", severity="") + """
  contract:
    kind: contract_gate
    serve: {package: package.service, run: exec ./serve}
    rules: {web: {contract: contracts/web.yaml}}
"""
        self.stack.commit({"cars.cd4ml.yaml": definition, "mae.txt": "1"})
        self.assertIn('there is no contract "contracts/web.yaml"', self.stack.cli("pipeline", "add", str(self.stack.repo), expect=3))
        lint = self.stack.cli("lint", str(self.stack.repo / "cars.cd4ml.yaml"), expect=3)
        self.assertIn("error[CD0222]", lint)
        self.stack.commit({"contracts/web.yaml": "consumer: web\ninteractions: {a: {request: {path: /}, response: {schema: {pattern: '('}}}}\n"})
        self.assertIn("contract cannot be checked: contracts/web.yaml", self.stack.cli("lint", str(self.stack.repo / "cars.cd4ml.yaml"), expect=3))
        self.stack.commit({"contracts/web.yaml": "consumer: web\ninteractions: {a: {request: {path: /}, response: {body: {a: 1}}}}\n"})
        self.assertIn("0 errors", self.stack.cli("lint", str(self.stack.repo / "cars.cd4ml.yaml")))
        self.stack.cli("pipeline", "add", str(self.stack.repo))
        self.stack.commit({"contracts/web.yaml": "consumer: web\n"})       # Also where a later commit breaks it.
        self.assertIn("has no interactions", self.stack.cli("run", "start", "cars", expect=3))

    def test_an_override_lets_the_retry_pass_and_is_seen_everywhere_until_it_expires(self):
        self.register()
        self.start(expect=11)
        self.assertIn("no rule", self.override("cars/1", "mea", expect=4))
        self.assertIn("no gate", self.stack.cli("gate", "override", "cars/1", "train", "mae", "--reason", "x", expect=4))

        self.assertIn("in force", self.override("cars/1", "mae"))
        self.retry("cars/1", expect=0)

        self.assertEqual(self.rules("cars/2"), {"mae": "VERDICT_OUTCOME_WARN"})
        verdict = self.stack.stage("cars/2", "judge")["attempts"][-1]["outcome"]["verdict"]
        self.assertEqual([(o["by"], o["reason"]) for o in verdict["overrides"]], [("ana", "a new tax")])
        self.assertIn("mae is overridden by ana", self.stack.cli("run", "show", "cars/2"))
        self.assertIn("passed, overridden", self.stack.cli("run", "list"))
        self.assertIn("mae overridden by ana", self.stack.cli("gate", "history", "cars", "judge"))
        self.assertIn("a new tax", self.stack.cli("provenance", "card", "model:cars/train.model@" + self.model("cars/1")))
        live = self.stack.ask("deploy", "list")[0]
        self.assertEqual([(o["rule"], o["by"], o["reason"]) for o in live["overrides"]], [("judge.mae", "ana", "a new tax")])
        self.assertIn("judge.mae by ana", self.stack.cli("deploy", "list"))
        self.stack.cli("gate", "revoke", "1", "--by", "bo")
        self.assertIn("revoked by bo", self.stack.cli("gate", "overrides", "cars"))
        self.start(expect=11)

        self.override("cars/3", "mae", expires="1s")
        wait_for("the override to expire", lambda: self.stack.ask("gate", "overrides")[0]["state"] == "expired")
        self.retry("cars/3", expect=11)
        runs = [record["run"] for record in self.stack.ask("gate", "history", "cars", "judge")]
        self.assertEqual(runs, ["cars/4", "cars/3", "cars/2", "cars/1"])

    def model(self, run: str) -> str:
        outputs = self.stack.stage(run, "train")["attempts"][-1]["outcome"]["outputs"]
        return outputs[0]["artifact"]["digest"]

    def test_nobody_overrides_alone_where_two_must_agree_and_nobody_at_all_where_it_is_forbidden(self):
        self.register()
        self.govern(overrides="{approvals: 2}")
        self.start(expect=11)

        self.assertIn("needs 1 more person", self.override("cars/1", "mae"))
        self.assertIn("needs 1 more person", self.override("cars/1", "mae"))
        self.retry("cars/1", expect=11)
        self.assertIn("in force", self.override("cars/1", "mae", by="bo"))
        self.retry("cars/1", expect=0)
        self.assertIn("mae is overridden by ana, bo", self.stack.cli("run", "show", "cars/3"))

        self.govern(overrides="forbidden")
        self.assertIn("forbids overrides", self.override("cars/1", "mae", expect=6))
        self.start(expect=11)


if __name__ == "__main__":
    stack.main()
