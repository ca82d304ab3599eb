// `cd4ml provenance`: signed statements of what outputs were made from, and their check.
#include "cd4ml/base/status.h"
#include "cd4ml/core/envelope.h"
#include "cd4ml/core/origin.h"
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr char kGroup[] = "Provenance";

// Prints a text, or writes it to the file that --to names.
int Deliver(Invocation& invocation, const std::string& text) {
  const std::string file = invocation.arguments.One("to");
  if (file.empty()) {
    invocation.out.Write(text);
    return kExitOk;
  }
  const absl::Status written = invocation.ports.write_file(file, text);
  if (!written.ok()) return invocation.Fail(written);
  invocation.Note("written to " + SafeLine(file));
  return kExitOk;
}

int Export(Invocation& invocation, DocumentKind kind) {
  const auto text = invocation.Query().ExportDocument(invocation.arguments.One("REF"), kind);
  if (!text.ok()) {
    return invocation.Fail(text.status(), IfNotFound(text.status(), {"How things are named", "cd4ml help refs"}));
  }
  return Deliver(invocation, *text);
}

absl::StatusOr<std::string> DaemonKey(Invocation& invocation) {
  const auto facts = invocation.Query().GetServer();
  if (!facts.ok()) return facts.status();
  if (!facts->signing_key.empty()) return facts->signing_key;
  return absl::FailedPreconditionError("this daemon has no key to sign with");
}

int ShowKey(Invocation& invocation) {
  const absl::StatusOr<std::string> key = DaemonKey(invocation);
  return key.ok() ? Deliver(invocation, *key) : invocation.Fail(key.status());
}

// The text at a dotted path of a statement, "" when there is none.
std::string TextAt(const Value& statement, std::string_view path) {
  const Value* value = statement.FindPath(path);
  return value == nullptr || !value->is_scalar() ? "" : ToText(*value);
}

struct Checked {
  Value statement;
  absl::Status status;
};

Checked Check(const SignatureCheck& check, const std::string& key, const core::Envelope& envelope) {
  Checked checked;
  checked.status = CheckEnvelope(check, key, envelope);
  if (!checked.status.ok()) return checked;
  // Only what is signed is read.
  absl::StatusOr<Value> statement = ParseJson(envelope.payload);
  if (envelope.payload_type != core::kInTotoPayload || !statement.ok() ||
      TextAt(*statement, "_type") != core::kStatementType ||
      TextAt(*statement, "predicateType") != core::kProvenanceType) {
    checked.status = absl::InvalidArgumentError("it is signed, but it is no provenance");
    return checked;
  }
  checked.statement = *std::move(statement);
  return checked;
}

void Print(Invocation& invocation, const Checked& checked) {
  const Terminal& out = invocation.out;
  const std::string attempt = TextAt(checked.statement, "predicate.runDetails.metadata.invocationId");
  out.Line(out.Paint("✔", Style::kGood) + " " + SafeLine(attempt));
  const Value* subjects = checked.statement.Find("subject");
  if (subjects == nullptr || !subjects->is_list()) return;
  for (const Value& subject : subjects->list()) {
    out.Line(SafeLine("  sha256:" + TextAt(subject, "digest.sha256") + "  " + TextAt(subject, "name")));
  }
}

int Verify(Invocation& invocation) {
  const std::string file = invocation.arguments.One("FILE");
  const absl::StatusOr<std::string> text = invocation.ports.read_file(file);
  if (!text.ok()) return invocation.Fail(text.status());
  const absl::StatusOr<std::vector<core::Envelope>> envelopes = core::ParseBundle(*text);
  if (!envelopes.ok()) return invocation.Fail(Annotate(envelopes.status(), file));
  const absl::StatusOr<std::string> key = invocation.arguments.Has("key")
                                              ? invocation.ports.read_file(invocation.arguments.One("key"))
                                              : DaemonKey(invocation);
  if (!key.ok()) return invocation.Fail(key.status());
  std::vector<Checked> all;
  for (const core::Envelope& envelope : *envelopes) {
    all.push_back(Check(invocation.ports.check_signature, *key, envelope));
    if (all.back().status.ok()) continue;
    return invocation.Fail(Annotate(all.back().status, file + ", statement " + std::to_string(all.size())));
  }
  // Nothing of a file is called good before all of it is.
  if (invocation.is_json()) {
    std::vector<std::string> statements;
    for (const Checked& checked : all) statements.push_back(ToPrettyJson(checked.statement));
    invocation.PrintJsonList(statements);
    return kExitOk;
  }
  for (const Checked& checked : all) Print(invocation, checked);
  return kExitOk;
}

constexpr char kReference[] = "an output: a version or digest, a run, stage, deployment or environment (cd4ml help refs)";

}  // namespace

Command ProvenanceExport() {
  return {.path = "provenance export",
          .group = kGroup,
          .summary = "write what an output was made from, signed",
          .examples = {"provenance export production", "provenance export 91bc2f0 --upstream --to model.intoto.jsonl"},
          .operands = {{"REF", kReference}},
          .options = {{"--upstream", "", "also of all that it was made from, a line each"},
                      {"--to", "FILE", "write it here instead of to standard output"}},
          .perform =
              [](Invocation& invocation) {
                return Export(invocation, invocation.arguments.Has("upstream") ? DocumentKind::kUpstream
                                                                               : DocumentKind::kProvenance);
              },
          .details = "Each line is a DSSE envelope with an in-toto Statement v1 and SLSA provenance v1, made and signed "
                     "by the daemon from its own rows. It speaks of the attempt that made REF, or, when REF is no "
                     "output, of the nearest one that REF came from."};
}

Command ProvenanceVerify() {
  return {.path = "provenance verify",
          .group = kGroup,
          .summary = "check the signature of each statement in a file",
          .examples = {"provenance verify model.intoto.jsonl --key cd4ml.pub", "provenance verify model.intoto.jsonl"},
          .operands = {{"FILE", "what provenance export has written"}},
          .options = {{"--key", "PUB", "public key as PEM file; without it the daemon is asked for its own"}},
          .perform = Verify,
          .details = "With --key no daemon is needed. Plain openssl can check it as well: docs/reference/provenance.md."};
}

Command ProvenanceCard() {
  return {.path = "provenance card",
          .group = kGroup,
          .summary = "write the model card of a model: Markdown",
          .examples = {"provenance card production --to MODEL_CARD.md"},
          .operands = {{"REF", kReference}},
          .options = {{"--to", "FILE", "write it here instead of to standard output"}},
          .perform = [](Invocation& invocation) { return Export(invocation, DocumentKind::kModelCard); },
          .details = "When REF is no model, it is that of the nearest model that REF came from. All of it is from the "
                     "daemon's record."};
}

Command ProvenanceBom() {
  return {.path = "provenance bom",
          .group = kGroup,
          .summary = "write the bill of materials of a model: CycloneDX 1.6",
          .examples = {"provenance bom production --to model.cdx.json"},
          .operands = {{"REF", kReference}},
          .options = {{"--to", "FILE", "write it here instead of to standard output"}},
          .perform = [](Invocation& invocation) { return Export(invocation, DocumentKind::kBom); },
          .details = "When REF is no model, it is that of the nearest model that REF came from."};
}

Command ProvenanceKey() {
  return {.path = "provenance key",
          .group = kGroup,
          .summary = "print the public key that statements are checked with",
          .examples = {"provenance key --to cd4ml.pub"},
          .options = {{"--to", "FILE", "write it here instead of to standard output"}},
          .perform = ShowKey};
}

}  // namespace cd4ml::cli
