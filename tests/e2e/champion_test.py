"""Candidates that are held against the live champion, which is asked through its own package: against the real programs."""
import json

import stack
from stack import Stack

# A price is FACTOR euros for each year of age, less or more by the noise of the row; the model is FACTOR.
PIPELINE = """format: 1
pipeline: prices
environments: {{production: {{}}}}
defaults: {{runtime: host}}
stages:
  train:
    run: cp factor.txt model
    outputs: {{model: {{path: model, type: model}}}}
  judge:
    kind: model_gate
    inputs: {{model: train.model}}
    run: /usr/bin/python3 evaluate.py "$CD4ML_IN_MODEL"
    predictions: {predictions}
    champion: {champion}
    rules: {{not-worse: {{metric: {metric}, versus: champion, worse_by: {{abs: 0}}, first: pass}}}}
  package:
    needs: [judge]
    inputs: {{model: train.model}}
    run: mkdir package && cp "$CD4ML_IN_MODEL" package/model && cp service.py predict.py package
    outputs: {{service: {{path: package, type: deployable}}}}
  release:
    kind: deploy
    environment: production
    deploy: package.service
    {deploy}
"""
ASKED = "{environment: production, request: {post: /price, json: row.input}, answer: {json: /price}}"
PREDICTS = "{environment: production, predict: /usr/bin/python3 predict.py}"
PRICES = "{file: eval.jsonl, truth: y, prediction: y_hat}"
ASKED_SCORES = "{environment: production, request: {post: /price, json: row.input}, answer: {json: /dear, score: /probability}}"
PREDICTS_SCORES = "{environment: production, predict: /usr/bin/python3 predict.py labels, answer: {json: /dear, score: /probability}}"
LABELS = "{file: eval.jsonl, task: classification, truth: dear, prediction: guess, score: probability}"
SERVICE = "service: {run: exec /usr/bin/python3 service.py $CD4ML_PORT, ready: {http: /ready, within: 60s}}"

# The stage writes nothing of the champion: only what it would have to know.
EVALUATE = """import json, random, sys
factor = float(open(sys.argv[1]).read().split()[0])
random.seed(1)
field = open("field.txt").read().strip()
with open("eval.jsonl", "w") as file:
    for i in range(200):
        age = 1 + i % 20
        row = {"y": 100 * age + random.gauss(0, 5), "y_hat": factor * age, "input": {field: age}}
        row |= {"dear": int(age > 10), "guess": int(factor * age > 1000), "probability": factor * age % 2048 / 2048}
        file.write(json.dumps(row) + "\\n")
"""
# `only-live` serves where it is deployed and nowhere else.
SERVE = """import http.server, json, os, sys
factor, *words = open("model").read().split()
if "only-live" in words and "CD4ML_PREDICTIONS" not in os.environ:
    print("no licence for this place")
    sys.exit(3)

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def do_GET(self):
        self.answer(200, {})
    def do_POST(self):
        row = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "age" in row:
            price = float(factor) * row["age"]
            self.answer(200, {"price": price, "dear": int(price > 1000), "probability": price % 2048 / 2048})
        else:
            self.answer(400, {"error": "age is missing"})
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
PREDICT = """import json, os, sys
factor = float(open("model").read().split()[0])
with open(os.environ["CD4ML_ROWS"]) as rows, open(os.environ["CD4ML_ANSWERS"], "w") as answers:
    for line in rows:
        price = factor * json.loads(line)["input"]["age"]
        answer = {"dear": int(price > 1000), "probability": price % 2048 / 2048}
        print(json.dumps(answer if sys.argv[1:] else price), file=answers)
"""


class Champion(stack.unittest.TestCase):
    def setUp(self):
        self.stack = Stack()
        self.addCleanup(self.stack.close)
        self.stack.start_daemon()
        self.stack.start_agent()
        self.runs = 0

    def run_with(self, model: str, expect: int, field: str = "age", champion: str = ASKED, deploy: str = SERVICE,
                 predictions: str = PRICES, metric: str = "mae, confidence: 0.95") -> dict:
        """Runs the pipeline with a model, and returns what its gate's rule found."""
        self.stack.commit({"prices.cd4ml.yaml": PIPELINE.format(champion=champion, deploy=deploy, predictions=predictions, metric=metric),
                           "factor.txt": model, "field.txt": field,
                           "evaluate.py": EVALUATE, "service.py": SERVE, "predict.py": PREDICT})
        self.stack.cli("pipeline", "add", str(self.stack.repo))
        self.stack.cli("run", "start", "prices", "--wait", expect=expect)
        self.runs += 1
        attempt = self.stack.stage(f"prices/{self.runs}", "judge")["attempts"][-1]
        rule = attempt["outcome"]["verdict"]["rules"][0]
        return rule | {"outcome": rule["outcome"].removeprefix("VERDICT_OUTCOME_").lower()}

    def test_the_champions_own_package_answers_to_the_candidates_rows(self):
        first = self.run_with("110", expect=0)
        self.assertEqual(first["outcome"], "pass")
        self.assertNotIn("baseline_number", first)      # There was nobody yet.

        worse = self.run_with("120", expect=11)
        self.assertEqual((worse["outcome"], worse["baseline"]), ("fail", "prices/1/release"))
        self.assertAlmostEqual(worse["baseline_number"], 105, delta=2)    # 10 euros for each of 1 to 20 years.
        self.assertAlmostEqual(worse["observed_number"], 210, delta=2)

        better = self.run_with("101", expect=0)
        self.assertEqual((better["outcome"], better["baseline"]), ("pass", "prices/1/release"))
        self.assertAlmostEqual(better["baseline_number"], 105, delta=2)

        equal = self.run_with("101.0", expect=0)
        self.assertEqual((equal["baseline"], equal["baseline_number"]), ("prices/3/release", equal["observed_number"]))

    def test_a_champion_that_cannot_be_started_is_an_error_that_says_so(self):
        self.run_with("110 only-live", expect=0)

        rule = self.run_with("101", expect=11)

        self.assertEqual((rule["outcome"], rule["baseline"]), ("error", "prices/1/release"))
        self.assertIn("champion prices/1/release: ended with exit code 3", rule["message"])
        self.assertIn("no licence for this place", rule["message"])

    def test_a_champion_that_does_not_know_the_rows_is_incomparable(self):
        self.run_with("110", expect=0)

        rule = self.run_with("101", expect=11, field="years")

        self.assertEqual((rule["outcome"], rule["observed"]), ("error", "incomparable"))
        self.assertIn("no answer to 200 of 200 rows; row 1: status 400", rule["message"])
        self.assertIn("age is missing", rule["message"])

    def test_the_champions_scores_are_asked_for_as_well(self):
        def run(model: str, expect: int, champion: str = ASKED_SCORES) -> dict:
            return self.run_with(model, expect, champion=champion, predictions=LABELS, metric="auc")

        self.assertNotIn("baseline_number", run("120", expect=0))
        better = run("100", expect=0)
        self.assertEqual((better["outcome"], better["observed_number"]), ("pass", 1))
        self.assertAlmostEqual(better["baseline_number"], 0.73)     # Of three of the ten dear ages the score starts again at 0.
        for champion in (ASKED_SCORES, PREDICTS_SCORES):
            worse = run("120", expect=11, champion=champion)
            self.assertEqual((worse["outcome"], worse["baseline"], worse["baseline_number"]), ("fail", "prices/2/release", 1))
            self.assertAlmostEqual(worse["observed_number"], 0.73)

    def test_a_champion_that_is_no_service_runs_a_command_of_its_package(self):
        hooks = 'apply: "true"'
        self.run_with("110", expect=0, champion=PREDICTS, deploy=hooks)

        worse = self.run_with("120", expect=11, champion=PREDICTS, deploy=hooks)
        self.assertEqual((worse["outcome"], worse["baseline"]), ("fail", "prices/1/release"))
        self.assertAlmostEqual(worse["baseline_number"], 105, delta=2)

        asked = self.run_with("101", expect=11, champion=ASKED, deploy=hooks)
        self.assertEqual(asked["outcome"], "error")
        self.assertIn("deployed by hooks", asked["message"])


if __name__ == "__main__":
    stack.main()
