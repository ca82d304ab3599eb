// SHA-256 digests: the identity of every byte string that cd4ml keeps.
#pragma once

#include <compare>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cd4ml {

// The SHA-256 of some bytes as 64 lower-case hexadecimal digits; empty when there is none.
class Digest {
 public:
  Digest() = default;

  // Returns the digest written in `hex`, with or without the prefix "sha256:".
  static absl::StatusOr<Digest> Parse(std::string_view hex);

  const std::string& hex() const { return hex_; }
  bool is_set() const { return !hex_.empty(); }
  // Returns the first twelve digits, for people.
  std::string brief() const { return hex_.substr(0, 12); }

  auto operator<=>(const Digest&) const = default;

 private:
  friend class Hasher;
  friend Digest Sha256(std::string_view bytes);
  explicit Digest(std::string hex) : hex_(std::move(hex)) {}

  std::string hex_;
};

// Hashes a stream piece by piece. Not thread-safe.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  void Update(std::string_view bytes);
  // Returns the digest of everything so far and starts again.
  Digest Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

Digest Sha256(std::string_view bytes);

// MD5 of a stream, as DVC names its files. Never an identity of ours. Not thread-safe.
class Md5Hasher {
 public:
  Md5Hasher();
  ~Md5Hasher();
  Md5Hasher(const Md5Hasher&) = delete;
  Md5Hasher& operator=(const Md5Hasher&) = delete;

  void Update(std::string_view bytes);
  // Returns the 32 hexadecimal digits of everything so far. Call it once.
  std::string Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace cd4ml
