"""Statements of real runs, checked by openssl and by nothing of cd4ml; forgeries are found."""
import base64
import hashlib
import json
import os
import pathlib
import stat
import subprocess
import unittest

import stack
from stack import StackTest

# A stage that tries to speak for the daemon in every way that a stage can: metrics, outputs, log.
PIPELINE = """format: 1
pipeline: cars
params: {{file: params.yaml}}
materials: {{listings: {{data: listings.csv}}}}
stages:
  clean:
    inputs: {{listings: listings}}
    run: tail -n +2 "$CD4ML_IN_LISTINGS" > clean.csv
    outputs: {{clean: {{path: clean.csv, type: dataset}}}}
  train:
    inputs: {{clean: clean.clean}}
    params: [depth]
    run: |
      mkdir out
      cp clean.csv out/weights
      echo "{{\\"predicate.runDetails.builder.id\\": 7, \\"mae\\": 1.5}}" > metrics.json
      echo '{{"predicate":{{"runDetails":{{"builder":{{"id":"urn:evil"}}}}}}}}' > out/provenance.json
    outputs: {{model: {{path: out, type: model}}}}
    metrics: [metrics.json]
"""


# The official schema of CycloneDX as its own library ships it, and the official messages of in-toto and SLSA, which refuse
# fields that they do not know. Pinned, so that a new release changes no verdict.
VALIDATORS = ["cyclonedx-python-lib[json-validation]==8.5.0", "in-toto-attestation==0.9.3"]

VALIDATE = """
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf.json_format import Parse
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
bom, *statements = sys.argv[1:]
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(bom).read())
assert problem is None, problem
for file in statements:
    text = open(file).read()
    statement = Parse(text, statement_pb2.Statement())
    Statement.copy_from_pb(statement).validate()
    Parse(json.dumps(json.loads(text)["predicate"]), provenance_pb2.Provenance())
"""


def pae(kind: str, body: bytes) -> bytes:
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(body), body)


class Provenance(StackTest):
    def setUp(self):
        super().setUp()
        self.stack.start_agent()
        (self.stack.data / "listings.csv").write_text("price\n1\n2\n")
        self.commit = self.stack.commit({"params.yaml": "depth: 6\n",
                                         "cars.cd4ml.yaml": PIPELINE.format()})
        self.stack.cli("pipeline", "add", str(self.stack.repo))
        self.stack.cli("run", "start", "cars", "--param", "depth=9", "--watch")
        self.key = self.stack.dir / "cd4ml.pub"
        self.stack.cli("provenance", "key", "--to", str(self.key))

    def openssl(self, envelope: dict, key: pathlib.Path = None) -> bool:
        """Checks an envelope with nothing but the standard library and openssl."""
        body = self.stack.dir / "body"
        signature = self.stack.dir / "signature"
        body.write_bytes(pae(envelope["payloadType"], base64.b64decode(envelope["payload"])))
        signature.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
        return subprocess.run(["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", key or self.key, "-in", body,
                               "-sigfile", signature], capture_output=True).returncode == 0

    def bundle(self, *arguments: str) -> list[dict]:
        return [json.loads(line) for line in self.stack.cli("provenance", "export", *arguments).splitlines()]

    def test_every_output_has_a_statement_that_openssl_accepts_and_that_leads_to_the_raw_data(self):
        outputs = self.stack.query("SELECT DISTINCT version.digest FROM version JOIN lineage_edge ON version = version.id "
                                   "WHERE role = 'produced'")
        self.assertEqual(len(outputs), 2)
        for (digest,) in outputs:
            envelope, = self.bundle(digest)
            self.assertTrue(self.openssl(envelope))
            statement = json.loads(base64.b64decode(envelope["payload"]))
            self.assertIn(digest, [subject["digest"]["sha256"] for subject in statement["subject"]])

        envelopes = self.bundle("cars/1/train", "--upstream")
        made = {}
        for envelope in envelopes:
            self.assertTrue(self.openssl(envelope))
            statement = json.loads(base64.b64decode(envelope["payload"]))
            for subject in statement["subject"]:
                made[subject["digest"]["sha256"]] = statement["predicate"]
        train = next(predicate for predicate in made.values()
                     if predicate["buildDefinition"]["externalParameters"]["stage"] == "train")
        build = train["buildDefinition"]
        self.assertEqual(build["externalParameters"]["parameters"]["depth"], 9)
        self.assertEqual(build["externalParameters"]["parameterSources"]["depth"], "trigger")
        self.assertEqual(build["externalParameters"]["trigger"]["kind"], "dispatch")
        self.assertEqual(build["internalParameters"], {"agent": "local", "attempt": 1, "isolation": "none", "kind": "command",
                                                       "run": "cars/1"})
        self.assertIn({"gitCommit": self.commit}, [d["digest"] for d in build["resolvedDependencies"]])
        self.assertTrue(train["runDetails"]["builder"]["id"].startswith("urn:cd4ml:daemon:"))

        # From the model to what no stage made: the file that was registered as data.
        raw, open_ = set(), [train]
        while open_:
            for dependency in open_.pop()["buildDefinition"]["resolvedDependencies"]:
                digest = dependency["digest"].get("sha256")
                if digest in made:
                    open_.append(made[digest])
                elif dependency["annotations"]["kind"] == "data":
                    raw.add(digest)
        self.assertEqual(raw, {hashlib.sha256(b"price\n1\n2\n").hexdigest()})

    def test_a_changed_field_is_found_by_openssl_and_by_verify(self):
        envelope, = self.bundle("cars/1/train")
        file = self.stack.dir / "one.jsonl"

        def accepted(changed: dict) -> tuple[bool, bool]:
            file.write_text(json.dumps(changed))
            done = self.stack.run("provenance", "verify", str(file), "--key", str(self.key))
            return self.openssl(changed), done.returncode == 0

        self.assertEqual(accepted(envelope), (True, True))
        statement = json.loads(base64.b64decode(envelope["payload"]))
        count = 0

        def mutate(node, where):
            """Changes each leaf in turn; the whole statement is signed again around none of them."""
            nonlocal count
            for name, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
                if isinstance(value, (dict, list)):
                    mutate(value, where + [name])
                    continue
                node[name] = value + 1 if isinstance(value, (int, float)) else value + "x"
                changed = {**envelope, "payload": base64.b64encode(json.dumps(statement).encode()).decode()}
                self.assertFalse(self.openssl(changed), where + [name])
                if count % 8 == 0:      # A program a field is slow.
                    self.assertEqual(accepted(changed), (False, False), where + [name])
                count += 1
                node[name] = value

        mutate(statement, [])
        self.assertGreater(count, 30)
        self.assertEqual(accepted({**envelope, "payloadType": "application/json"}), (False, False))
        other = self.stack.dir / "other.key"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", other], check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", other, "-pubout", "-out", self.stack.dir / "other.pub"], check=True)
        self.assertFalse(self.openssl(envelope, self.stack.dir / "other.pub"))

    def test_the_documented_commands_check_a_statement_without_cd4ml(self):
        self.stack.cli("provenance", "export", "cars/1/train", "--to", str(self.stack.dir / "model.intoto.jsonl"))
        text = (stack.ROOT / "docs" / "reference" / "provenance.md").read_text()
        script = "\n".join(line[4:] for line in text[text.index("## Without cd4ml"):].splitlines() if line.startswith("    "))
        done = subprocess.run(["bash", "-c", script], cwd=self.stack.dir, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout.strip()), (0, "Signature Verified Successfully"), done.stderr)

    def test_the_card_and_the_bill_of_materials_say_what_is_recorded(self):
        card = self.stack.cli("provenance", "card", "cars/1")
        (model,), = self.stack.query("SELECT digest FROM version WHERE kind = 'model'")
        for text in (model, self.commit, "| depth | 9 | trigger |", "cars/train.model".replace("_", "\\_"), "| mae | 1.5 |",
                     hashlib.sha256(b"price\n1\n2\n").hexdigest()):
            self.assertIn(text, card)
        bom = json.loads(self.stack.cli("provenance", "bom", model[:12]))
        component = bom["metadata"]["component"]
        self.assertEqual(component["hashes"], [{"alg": "SHA-256", "content": model}])
        self.assertIn({"type": "mae", "value": "1.5", "slice": "measured by train"},
                      component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"])
        known = {item["bom-ref"] for item in bom["components"]} | {component["bom-ref"]}
        for edge in bom["dependencies"]:
            self.assertTrue({edge["ref"], *edge["dependsOn"]} <= known, edge)
        self.assertEqual([r["ref"] for r in component["modelCard"]["modelParameters"]["datasets"]],
                         [item["bom-ref"] for item in bom["components"] if item["name"] == "cars/clean.clean"])
        self.assertEqual(self.stack.cli("provenance", "bom", "cars/1"), self.stack.cli("provenance", "bom", model))
        self.assertIn("no model", self.stack.cli("provenance", "card", "cars/1/clean", expect=6))

    @unittest.skipUnless(os.environ.get("CD4ML_LONG_TESTS"), "installs two packages: scripts/test --long")
    def test_documents_are_valid_by_the_official_schemas(self):
        venv = stack.BIN.parent / "validators"
        if not (venv / "done").exists():
            subprocess.run(["/usr/bin/python3", "-m", "venv", venv], check=True)
            subprocess.run([venv / "bin" / "pip", "-q", "install", *VALIDATORS], check=True)
            (venv / "done").touch()
        files = [self.stack.dir / "bom.json"]
        self.stack.cli("provenance", "bom", "cars/1", "--to", str(files[0]))
        for number, envelope in enumerate(self.bundle("cars/1/train", "--upstream")):
            files.append(self.stack.dir / f"statement{number}.json")
            files[-1].write_bytes(base64.b64decode(envelope["payload"]))

        def valid() -> bool:
            done = subprocess.run([venv / "bin" / "python3", "-c", VALIDATE, *files], capture_output=True, text=True)
            self.error = done.stderr
            return done.returncode == 0

        self.assertTrue(valid(), self.error)
        for file, wrong in ((files[0], ("SHA-256", "SHA-255")), (files[1], ('"buildType"', '"buildTipe"'))):
            good = file.read_text()
            self.assertIn(wrong[0], good)
            file.write_text(good.replace(*wrong))
            self.assertFalse(valid(), "the validator refuses what is wrong")
            file.write_text(good)

    def test_the_commands_answer_as_they_say(self):
        file = self.stack.dir / "model.jsonl"
        self.stack.cli("provenance", "export", "cars/1/train", "--upstream", "--to", str(file))
        self.assertEqual(len(file.read_text().splitlines()), 2)
        text = self.stack.cli("provenance", "verify", str(file))      # By the daemon's key.
        self.assertIn("cars/1/train/1", text)
        self.assertIn("cars/train.model", text)
        self.assertEqual(len(json.loads(self.stack.cli("provenance", "verify", str(file), "-o", "json"))), 2)
        self.stack.cli("provenance", "export", "feedbeef00", expect=4)
        self.assertIn("no stage made", self.stack.cli("provenance", "export", self.commit, expect=6))
        file.write_text("{}")
        self.stack.cli("provenance", "verify", str(file), expect=2)

    def test_the_key_is_the_daemons_alone_and_stays(self):
        private = self.stack.dir / "daemon" / "signing.key"
        self.assertEqual(stat.S_IMODE(private.stat().st_mode), 0o600)
        before = self.bundle("cars/1/train")
        self.stack.kill_daemon()
        self.stack.start_daemon()
        self.assertEqual(self.bundle("cars/1/train"), before)       # The same record gives the same bytes.
        der = subprocess.run(["openssl", "pkey", "-pubin", "-in", self.key, "-outform", "DER"], check=True,
                             capture_output=True).stdout
        self.assertEqual(before[0]["signatures"][0]["keyid"], hashlib.sha256(der).hexdigest())

        self.stack.kill_daemon()
        private.chmod(0o644)
        self.assertFalse(self.stack.launch_daemon())
        self.assertIn("others may read the signing key", (self.stack.dir / "cd4mld.out").read_text())
        private.chmod(0o600)
        self.stack.start_daemon()


if __name__ == "__main__":
    stack.main()
