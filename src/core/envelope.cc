// DSSE v1 in its JSON form.
#include "cd4ml/core/envelope.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/value.h"

namespace cd4ml::core {
namespace {

absl::StatusOr<std::string> TextAt(const Value& value, std::string_view key) {
  const Value* member = value.Find(key);
  if (member != nullptr && member->is_string()) return member->string();
  return absl::InvalidArgumentError("no DSSE envelope: it has no text \"" + std::string(key) + "\"");
}

absl::StatusOr<std::string> BytesAt(const Value& value, std::string_view key) {
  CD4ML_ASSIGN_OR_RETURN(const std::string text, TextAt(value, key));
  std::string bytes;
  // Exactly one text stands for some bytes, so that nobody can vary an envelope unseen.
  if (absl::Base64Unescape(text, &bytes) && absl::Base64Escape(bytes) == text) return bytes;
  return absl::InvalidArgumentError("no DSSE envelope: its \"" + std::string(key) + "\" is no base64");
}

}  // namespace

std::string PreAuthEncoding(std::string_view payload_type, std::string_view payload) {
  std::string encoding = "DSSEv1 ";
  for (const std::string_view part : {payload_type, payload}) {
    encoding += std::to_string(part.size()) + " ";
    encoding += part;
    encoding += ' ';
  }
  encoding.pop_back();
  return encoding;
}

std::string FormatEnvelope(const Envelope& envelope) {
  Value::List signatures;
  for (const Signature& signature : envelope.signatures) {
    signatures.emplace_back(Value::Map{{"keyid", signature.key_id}, {"sig", absl::Base64Escape(signature.bytes)}});
  }
  return ToJson(Value::Map{{"payloadType", envelope.payload_type},
                           {"payload", absl::Base64Escape(envelope.payload)},
                           {"signatures", std::move(signatures)}});
}

absl::StatusOr<Envelope> ParseEnvelope(std::string_view json) {
  CD4ML_ASSIGN_OR_RETURN(const Value value, ParseJson(json));
  Envelope envelope;
  CD4ML_ASSIGN_OR_RETURN(envelope.payload_type, TextAt(value, "payloadType"));
  CD4ML_ASSIGN_OR_RETURN(envelope.payload, BytesAt(value, "payload"));
  const Value* signatures = value.Find("signatures");
  if (signatures == nullptr || !signatures->is_list() || signatures->list().empty()) {
    return absl::InvalidArgumentError("no DSSE envelope: it has no signatures");
  }
  for (const Value& item : signatures->list()) {
    Signature& signature = envelope.signatures.emplace_back();
    CD4ML_ASSIGN_OR_RETURN(signature.bytes, BytesAt(item, "sig"));
    if (const Value* key = item.Find("keyid"); key != nullptr && key->is_string()) signature.key_id = key->string();
  }
  return envelope;
}

absl::StatusOr<std::vector<Envelope>> ParseBundle(std::string_view text) {
  std::vector<Envelope> envelopes;
  if (absl::StatusOr<Envelope> single = ParseEnvelope(text); single.ok()) {
    envelopes.push_back(*std::move(single));
    return envelopes;
  }
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    absl::StatusOr<Envelope> envelope = ParseEnvelope(line);
    if (!envelope.ok()) return Annotate(envelope.status(), "line " + std::to_string(number));
    envelopes.push_back(*std::move(envelope));
  }
  if (envelopes.empty()) return absl::InvalidArgumentError("it holds no DSSE envelope");
  return envelopes;
}

}  // namespace cd4ml::core
