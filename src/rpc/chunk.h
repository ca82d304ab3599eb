// How blobs are cut on the wire; both sides agree.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/chunker.h"
#include "cd4ml/base/status.h"

namespace cd4ml::rpc {

// The fastest size that was measured; from 1 MiB on throughput falls and memory grows.
constexpr size_t kChunkSize = 256 << 10;
constexpr int kDigestsMax = 1'000;
// Chunks of a list, or ranges of chunks, in one message, which so stays small enough for gRPC.
constexpr size_t kListedMax = 10'000;

// Adds chunks from `first` on to a message that lists some; returns the first one that did not go in.
template <typename Message>
size_t AddChunks(const std::vector<Chunk>& chunks, size_t first, Message* message) {
  const size_t end = std::min(chunks.size(), first + kListedMax);
  for (size_t i = first; i < end; ++i) {
    auto* chunk = message->add_chunks();
    chunk->set_digest(chunks[i].digest.hex());
    chunk->set_size(chunks[i].size);
  }
  return end;
}

template <typename Message>
absl::Status TakeChunks(const Message& message, size_t chunks_max, std::vector<Chunk>& chunks) {
  for (const auto& chunk : message.chunks()) {
    if (chunks.size() == chunks_max) return absl::InvalidArgumentError("a blob of too many chunks");
    CD4ML_ASSIGN_OR_RETURN(Digest digest, Digest::Parse(chunk.digest()));
    chunks.push_back({std::move(digest), chunk.size()});
  }
  return absl::OkStatus();
}

// Adds ascending indices from `first` on as at most kListedMax ranges; returns the first one that did not go in.
template <typename Range>
size_t AddRanges(const std::vector<size_t>& indices, size_t first, Range* ranges) {
  size_t at = first;
  while (at < indices.size() && static_cast<size_t>(ranges->size()) < kListedMax) {
    const size_t begin = at++;
    while (at < indices.size() && indices[at] == indices[at - 1] + 1) ++at;
    auto* range = ranges->Add();
    range->set_first(static_cast<int64_t>(indices[begin]));
    range->set_count(static_cast<int64_t>(at - begin));
  }
  return at;
}

// Reads ranges of a list of `count` chunks, which ascend.
template <typename Range>
absl::Status TakeRanges(const Range& ranges, size_t count, std::vector<size_t>& indices) {
  for (const auto& range : ranges) {
    const int64_t least = indices.empty() ? 0 : static_cast<int64_t>(indices.back()) + 1;
    const auto end = static_cast<int64_t>(count);
    if (range.first() < least || range.first() > end || range.count() < 1 ||
        range.count() > end - range.first()) {
      return absl::InvalidArgumentError("ranges of chunks ascend and lie within the list");
    }
    for (int64_t i = 0; i < range.count(); ++i) {
      indices.push_back(static_cast<size_t>(range.first() + i));
    }
  }
  return absl::OkStatus();
}

}  // namespace cd4ml::rpc
