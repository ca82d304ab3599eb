// Keys on disk and signatures: what is accepted, what is refused.
#include "cd4ml/crypto/ed25519.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_dir.h"

namespace cd4ml::crypto {
namespace {

class Ed25519 : public testing::Test {
 protected:
  std::unique_ptr<Signer> Open() {
    auto signer = OpenSigner(path_);
    EXPECT_TRUE(signer.ok()) << signer.status();
    return signer.ok() ? *std::move(signer) : nullptr;
  }

  TempDir dir_;
  const std::string path_ = dir_.At("signing.key");
};

TEST_F(Ed25519, MakesAKeyForItsOwnerAloneAndOpensItAgain) {
  const auto made = Open();
  struct stat facts {};
  ASSERT_EQ(stat(path_.c_str(), &facts), 0);
  const auto opened = Open();

  EXPECT_EQ(facts.st_mode & 0777, 0600u);
  EXPECT_EQ(made->public_key(), opened->public_key());
  EXPECT_EQ(made->key_id(), opened->key_id());
  EXPECT_EQ(made->key_id(), KeyIdOf(made->public_key()).value());
  EXPECT_EQ(made->key_id().size(), 64u);
  EXPECT_EQ(made->public_key().find("PRIVATE"), std::string::npos);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_.path()), {}), 1) << "only the key is left";
}

TEST_F(Ed25519, ChecksOnlyTheBytesThatWereSigned) {
  const auto signer = Open();
  const std::string bytes = "the statement";
  const std::string signature = signer->Sign(bytes).value();

  EXPECT_TRUE(CheckSignature(signer->public_key(), bytes, signature).ok());
  EXPECT_EQ(signature, signer->Sign(bytes).value());
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string changed = bytes;
    changed[bit / 8] ^= static_cast<char>(1 << bit % 8);
    EXPECT_TRUE(absl::IsDataLoss(CheckSignature(signer->public_key(), changed, signature))) << bit;
  }
  for (size_t bit = 0; bit < signature.size() * 8; ++bit) {
    std::string changed = signature;
    changed[bit / 8] ^= static_cast<char>(1 << bit % 8);
    EXPECT_FALSE(CheckSignature(signer->public_key(), bytes, changed).ok()) << bit;
  }
  EXPECT_FALSE(CheckSignature(signer->public_key(), bytes, signature.substr(1)).ok());
  EXPECT_FALSE(CheckSignature(signer->public_key(), bytes, "").ok());
}

TEST_F(Ed25519, ChecksWithTheRightKeyOnly) {
  const auto signer = Open();
  const auto other = OpenSigner(dir_.At("other.key")).value();

  EXPECT_TRUE(absl::IsDataLoss(CheckSignature(other->public_key(), "x", signer->Sign("x").value())));
  EXPECT_TRUE(absl::IsInvalidArgument(CheckSignature("no key", "x", signer->Sign("x").value())));
  EXPECT_TRUE(absl::IsInvalidArgument(CheckSignature(FileBytes(path_), "x", signer->Sign("x").value())));
}

TEST_F(Ed25519, RefusesAKeyThatOthersMayRead) {
  Open();
  ASSERT_EQ(chmod(path_.c_str(), 0640), 0);

  EXPECT_TRUE(absl::IsFailedPrecondition(OpenSigner(path_).status()));
}

TEST_F(Ed25519, RefusesWhatIsNoKeyAndLeavesItAlone) {
  std::ofstream(path_) << "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
  ASSERT_EQ(chmod(path_.c_str(), 0600), 0);

  EXPECT_TRUE(absl::IsFailedPrecondition(OpenSigner(path_).status()));
  EXPECT_NE(FileBytes(path_).find("AAAA"), std::string::npos);
}

}  // namespace
}  // namespace cd4ml::crypto
