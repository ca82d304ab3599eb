// The blob service: bulk bytes on blocking streams, which are faster for them than callbacks.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <memory>

#include "cd4ml/ports/blob_store.h"

namespace cd4ml::rpc {

std::unique_ptr<grpc::Service> MakeBlobService(BlobStore& blobs);

}  // namespace cd4ml::rpc
