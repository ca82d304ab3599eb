// Keys and signatures by OpenSSL. See ed25519.h.
#include "cd4ml/crypto/ed25519.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "cd4ml/base/digest.h"
#include "cd4ml/base/status.h"

namespace cd4ml::crypto {
namespace {

constexpr size_t kSignatureSize = 64;

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* thing) const { Free(thing); }
};
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using Context = std::unique_ptr<EVP_MD_CTX, Freer<EVP_MD_CTX_free>>;

absl::Status SystemError(const std::string& what) {
  const absl::Status status = absl::FailedPreconditionError(what + ": " + std::strerror(errno));
  return errno == ENOSPC ? absl::ResourceExhaustedError(status.message()) : status;
}

std::string TextOf(BIO* bio) {
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio, &text);
  return std::string(text, static_cast<size_t>(size));
}

Bio Reading(std::string_view text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

bool IsEd25519(const Key& key) { return key != nullptr && EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_ED25519; }

absl::StatusOr<Key> ReadPublicKey(std::string_view pem) {
  Key key(PEM_read_bio_PUBKEY(Reading(pem).get(), nullptr, nullptr, nullptr));
  if (!IsEd25519(key)) return absl::InvalidArgumentError("that is no Ed25519 public key in PEM form");
  return key;
}

std::string PublicPem(const Key& key) {
  const Bio bio(BIO_new(BIO_s_mem()));
  return PEM_write_bio_PUBKEY(bio.get(), key.get()) == 1 ? TextOf(bio.get()) : "";
}

std::string IdOf(const Key& key) {
  const Bio bio(BIO_new(BIO_s_mem()));
  return i2d_PUBKEY_bio(bio.get(), key.get()) == 1 ? Sha256(TextOf(bio.get())).hex() : "";
}

// Writes a new file as a whole and durably; another process may have been first, which is fine.
absl::Status WriteNew(const std::string& path, std::string_view text) {
  const std::string next = path + ".new";
  unlink(next.c_str());
  const int file = open(next.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return SystemError("cannot make " + next);
  absl::Status status;
  if (write(file, text.data(), text.size()) != static_cast<ssize_t>(text.size()) || fsync(file) != 0) {
    status = SystemError("cannot write " + next);
  }
  close(file);
  if (status.ok() && link(next.c_str(), path.c_str()) != 0 && errno != EEXIST) {
    status = SystemError("cannot make " + path);
  }
  unlink(next.c_str());
  const int folder = open(path.substr(0, path.rfind('/') + 1).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (status.ok() && (folder < 0 || fsync(folder) != 0)) status = SystemError("cannot sync the folder of " + path);
  if (folder >= 0) close(folder);
  return status;
}

absl::Status MakeKey(const std::string& path) {
  const Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  const Bio bio(BIO_new(BIO_s_mem()));
  if (key == nullptr ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return absl::InternalError("OpenSSL makes no Ed25519 key");
  }
  return WriteNew(path, TextOf(bio.get()));
}

absl::StatusOr<Key> ReadKey(const std::string& path) {
  std::string text(16 << 10, '\0');
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) return SystemError("cannot open the signing key " + path);
  struct stat facts {};
  const bool known = fstat(file, &facts) == 0;
  const ssize_t size = read(file, text.data(), text.size());
  close(file);
  if (!known || size < 0) return SystemError("cannot read the signing key " + path);
  if ((facts.st_mode & 077) != 0) {
    return absl::FailedPreconditionError("others may read the signing key " + path + "; chmod 600 it, and if " +
                                         "somebody may have read it, move it away so that a new one is made");
  }
  text.resize(static_cast<size_t>(size));
  Key key(PEM_read_bio_PrivateKey(Reading(text).get(), nullptr, nullptr, nullptr));
  if (IsEd25519(key)) return key;
  return absl::FailedPreconditionError(path + " is no Ed25519 private key; restore it, or move it away so that a new " +
                                       "one is made");
}

class Ed25519Signer final : public Signer {
 public:
  explicit Ed25519Signer(Key key) : key_(std::move(key)), public_key_(PublicPem(key_)), key_id_(IdOf(key_)) {}

  absl::StatusOr<std::string> Sign(std::string_view bytes) override {
    const Context context(EVP_MD_CTX_new());
    std::string signature(kSignatureSize, '\0');
    size_t size = signature.size();
    if (EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()) != 1 ||
        EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                       reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()) != 1) {
      return absl::InternalError("OpenSSL does not sign");
    }
    return signature;
  }
  const std::string& public_key() const override { return public_key_; }
  const std::string& key_id() const override { return key_id_; }

 private:
  const Key key_;
  const std::string public_key_, key_id_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Signer>> OpenSigner(const std::string& path) {
  if (access(path.c_str(), F_OK) != 0 && errno == ENOENT) CD4ML_RETURN_IF_ERROR(MakeKey(path));
  CD4ML_ASSIGN_OR_RETURN(Key key, ReadKey(path));
  return std::make_unique<Ed25519Signer>(std::move(key));
}

absl::Status CheckSignature(std::string_view public_key, std::string_view bytes, std::string_view signature) {
  CD4ML_ASSIGN_OR_RETURN(const Key key, ReadPublicKey(public_key));
  const Context context(EVP_MD_CTX_new());
  if (EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
      EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.data()), signature.size(),
                       reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()) == 1) {
    return absl::OkStatus();
  }
  return absl::DataLossError("the signature is not of these bytes by the key " + IdOf(key).substr(0, 16));
}

absl::StatusOr<std::string> KeyIdOf(std::string_view public_key) {
  CD4ML_ASSIGN_OR_RETURN(const Key key, ReadPublicKey(public_key));
  return IdOf(key);
}

}  // namespace cd4ml::crypto
