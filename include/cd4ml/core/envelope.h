// Signed documents: DSSE envelopes, as text. Signing and checking are behind ports/signer.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace cd4ml::core {

struct Signature {
  std::string key_id;
  std::string bytes;       // As they are, not encoded.

  bool operator==(const Signature&) const = default;
};

struct Envelope {
  std::string payload_type;
  std::string payload;
  std::vector<Signature> signatures;

  bool operator==(const Envelope&) const = default;
};

inline constexpr std::string_view kInTotoPayload = "application/vnd.in-toto+json";

// Returns the bytes that a signature is over: "DSSEv1 LENGTH TYPE LENGTH PAYLOAD".
std::string PreAuthEncoding(std::string_view payload_type, std::string_view payload);

// Returns the envelope as one line of JSON.
std::string FormatEnvelope(const Envelope& envelope);
// INVALID_ARGUMENT says what is missing or no base64.
absl::StatusOr<Envelope> ParseEnvelope(std::string_view json);

// Parses a file of envelopes: one on each line, or a single one however it is laid out.
absl::StatusOr<std::vector<Envelope>> ParseBundle(std::string_view text);

}  // namespace cd4ml::core
