// Ed25519 by OpenSSL: the daemon's key and everybody's check.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cd4ml/ports/signer.h"

namespace cd4ml::crypto {

// Opens the private key at `path` (PEM, PKCS #8), or makes it, mode 0600.
// FAILED_PRECONDITION: others than its owner may read it, or it is no Ed25519 key.
absl::StatusOr<std::unique_ptr<Signer>> OpenSigner(const std::string& path);

// A SignatureCheck.
absl::Status CheckSignature(std::string_view public_key, std::string_view bytes, std::string_view signature);

// Returns the key id of a public key in PEM form, as Signer::key_id.
absl::StatusOr<std::string> KeyIdOf(std::string_view public_key);

}  // namespace cd4ml::crypto
