// How blobs are cut on the wire; both sides agree.
#pragma once

#include <cstddef>

namespace cd4ml::rpc {

// The fastest size that was measured; from 1 MiB on throughput falls and memory grows.
constexpr size_t kChunkSize = 256 << 10;
constexpr int kDigestsMax = 1'000;

}  // namespace cd4ml::rpc
