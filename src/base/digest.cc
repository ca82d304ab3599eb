// SHA-256 by OpenSSL, with a fetched algorithm and a context that is used again.
#include "cd4ml/base/digest.h"

#include <openssl/evp.h>

#include <algorithm>

#include "cd4ml/base/check.h"

namespace cd4ml {
namespace {

// Fetched once: an implicit fetch on every use costs more than hashing a small file.
const EVP_MD* Algorithm() {
  static EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  CD4ML_CHECK(algorithm != nullptr, "OpenSSL has no SHA256");
  return algorithm;
}

std::string Hex(const unsigned char* bytes, unsigned count) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(count * 2);
  for (unsigned i = 0; i < count; ++i) {
    hex.push_back(kDigits[bytes[i] >> 4]);
    hex.push_back(kDigits[bytes[i] & 15]);
  }
  return hex;
}

bool IsHexDigit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

}  // namespace

struct Hasher::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

absl::StatusOr<Digest> Digest::Parse(std::string_view hex) {
  if (hex.starts_with("sha256:")) hex.remove_prefix(7);
  if (hex.size() != 64 || !std::all_of(hex.begin(), hex.end(), IsHexDigit)) {
    return absl::InvalidArgumentError("a digest is 64 lower-case hexadecimal digits, got \"" +
                                      std::string(hex.substr(0, 80)) + "\"");
  }
  return Digest(std::string(hex));
}

Hasher::Hasher() : context_(std::make_unique<Context>()) {
  CD4ML_CHECK(EVP_DigestInit_ex2(context_->evp, Algorithm(), nullptr) == 1, "digest init");
}

Hasher::~Hasher() = default;

void Hasher::Update(std::string_view bytes) {
  CD4ML_CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1, "digest update");
}

Digest Hasher::Finish() {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  CD4ML_CHECK(EVP_DigestFinal_ex(context_->evp, out, &size) == 1, "digest final");
  CD4ML_CHECK(EVP_DigestInit_ex2(context_->evp, Algorithm(), nullptr) == 1, "digest init");
  return Digest(Hex(out, size));
}

Digest Sha256(std::string_view bytes) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  CD4ML_CHECK(EVP_Digest(bytes.data(), bytes.size(), out, &size, Algorithm(), nullptr) == 1,
              "digest");
  return Digest(Hex(out, size));
}

struct Md5Hasher::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

Md5Hasher::Md5Hasher() : context_(std::make_unique<Context>()) {
  CD4ML_CHECK(EVP_DigestInit_ex2(context_->evp, EVP_md5(), nullptr) == 1, "OpenSSL has no MD5");
}

Md5Hasher::~Md5Hasher() = default;

void Md5Hasher::Update(std::string_view bytes) {
  CD4ML_CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1, "digest update");
}

std::string Md5Hasher::Finish() {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  CD4ML_CHECK(EVP_DigestFinal_ex(context_->evp, out, &size) == 1, "digest final");
  return Hex(out, size);
}

}  // namespace cd4ml
