// Signatures: who signs, and who checks with nothing but a public key.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cd4ml/core/envelope.h"

namespace cd4ml {

// Holds one private key. Thread-safe.
class Signer {
 public:
  virtual ~Signer() = default;
  // Returns 64 bytes: the Ed25519 signature, the same for the same bytes.
  virtual absl::StatusOr<std::string> Sign(std::string_view bytes) = 0;
  // Returns the public key as PEM text.
  virtual const std::string& public_key() const = 0;
  // Returns the SHA-256 of the public key's DER form, in hexadecimal digits.
  virtual const std::string& key_id() const = 0;
};

// Checks a signature with a public key in PEM form. DATA_LOSS: it is not of these bytes by that key. INVALID_ARGUMENT:
// no Ed25519 public key.
using SignatureCheck =
    std::function<absl::Status(std::string_view public_key, std::string_view bytes, std::string_view signature)>;

// Signs a payload as a DSSE envelope.
inline absl::StatusOr<core::Envelope> SignEnvelope(Signer& signer, std::string_view payload_type, std::string payload) {
  absl::StatusOr<std::string> signature = signer.Sign(core::PreAuthEncoding(payload_type, payload));
  if (!signature.ok()) return signature.status();
  return core::Envelope{std::string(payload_type), std::move(payload), {{signer.key_id(), *std::move(signature)}}};
}

// Returns OK when one of the envelope's signatures is of that key.
inline absl::Status CheckEnvelope(const SignatureCheck& check, std::string_view public_key,
                                  const core::Envelope& envelope) {
  const std::string bytes = core::PreAuthEncoding(envelope.payload_type, envelope.payload);
  absl::Status status = absl::DataLossError("it is not signed");
  for (const core::Signature& signature : envelope.signatures) {
    status = check(public_key, bytes, signature.bytes);
    if (status.ok()) return status;
  }
  return status;
}

}  // namespace cd4ml
