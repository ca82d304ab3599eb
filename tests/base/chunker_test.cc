// Where streams are cut, and what an edit changes of that.
#include "cd4ml/base/chunker.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

namespace cd4ml {
namespace {

std::string RandomBytes(size_t size, uint32_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// Cuts `bytes` that come in pieces of `piece` bytes.
std::vector<std::string> Cut(std::string_view bytes, size_t piece) {
  std::vector<std::string> chunks;
  Chunker chunker;
  const auto take = [&](std::string_view chunk) { chunks.emplace_back(chunk); };
  for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) {
    chunker.Append(bytes.substr(0, piece), take);
  }
  chunker.Finish(take);
  return chunks;
}

TEST(Chunker, ChunksAreTheStreamWithinTheirBounds) {
  const std::string bytes = RandomBytes(20 << 20, 1);

  const auto chunks = Cut(bytes, 100'000);

  std::string all;
  for (size_t i = 0; i < chunks.size(); ++i) {
    all += chunks[i];
    EXPECT_LE(chunks[i].size(), kChunkMax);
    if (i + 1 < chunks.size()) {
      EXPECT_GT(chunks[i].size(), kChunkMin);
    }
  }
  EXPECT_TRUE(all == bytes);
  EXPECT_NEAR(static_cast<double>(bytes.size() / chunks.size()), kChunkAverage, kChunkAverage / 4);
}

TEST(Chunker, CutsAlikeHoweverTheBytesCome) {
  const std::string bytes = RandomBytes(2 << 20, 2);
  const auto chunks = Cut(bytes, bytes.size());

  for (const size_t piece : {1'000, 16'384, 65'537, 1'000'000}) {
    EXPECT_EQ(Cut(bytes, piece), chunks) << piece;
  }
}

TEST(Chunker, NothingHasNoChunksAndLittleHasOne) {
  EXPECT_EQ(Cut("", 1).size(), 0u);
  EXPECT_EQ(Cut("x", 1).size(), 1u);
  EXPECT_EQ(Cut(std::string(kChunkMin, 'x'), 4096).size(), 1u);
}

TEST(Chunker, RepeatedBytesAreCutAtTheMost) {
  const auto chunks = Cut(std::string(3 * kChunkMax, 'x'), 100'000);

  EXPECT_EQ(std::set<std::string>(chunks.begin(), chunks.end()).size(), 1u);
}

// The cuts are what stores have in common, so they must never change.
TEST(Chunker, CutsWhereItAlwaysDid) {
  std::string sizes;
  for (const std::string& chunk : Cut(RandomBytes(512 << 10, 3), 1 << 20)) {
    sizes += std::to_string(chunk.size()) + ' ';
  }
  EXPECT_EQ(sizes, "73214 59872 18626 68488 66106 85231 90786 61965 ");
}

TEST(Chunker, AnEditChangesFewChunks) {
  std::mt19937 random(4);
  const std::string before = RandomBytes(4 << 20, 5);
  const auto chunks = Cut(before, 1 << 20);
  const std::set<std::string> known(chunks.begin(), chunks.end());
  for (int round = 0; round < 10; ++round) {
    std::string after = before;
    const size_t at = random() % after.size();
    switch (random() % 3) {
      case 0: after.insert(at, RandomBytes(random() % 1000 + 1, random())); break;
      case 1: after.erase(at, random() % 1000 + 1); break;
      default: after[at] = static_cast<char>(after[at] ^ 1);
    }

    size_t changed = 0;
    for (const std::string& chunk : Cut(after, 1 << 20)) {
      if (!known.contains(chunk)) changed += chunk.size();
    }

    EXPECT_GT(changed, 0u);
    EXPECT_LE(changed, 4 * kChunkMax) << "round " << round;
  }
}

}  // namespace
}  // namespace cd4ml
