// The fake keeps the same promises as the real store.
#include "tests/support/memory_blob_store.h"

#include "tests/support/blob_contract.h"

namespace cd4ml {
namespace {

class MemoryHarness {
 public:
  BlobStore& store() { return store_; }
  void Overwrite(const Digest& digest, const std::string& bytes) {
    store_.Overwrite(digest, bytes);
  }

 private:
  MemoryBlobStore store_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(MemoryBlobStore, BlobContract, MemoryHarness);

}  // namespace
}  // namespace cd4ml
