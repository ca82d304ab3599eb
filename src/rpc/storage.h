// The storage port on the wire: its service, and its values as messages.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <memory>

#include "cd4ml/ports/storage_api.h"
#include "cd4ml/v1/storage_service.pb.h"

namespace cd4ml::rpc {

v1::CollectGarbageResponse ToProto(const GcReport& report);
absl::StatusOr<GcReport> FromProto(const v1::CollectGarbageResponse& report);
v1::StoragePin ToProto(const Pin& pin);
absl::StatusOr<Pin> FromProto(const v1::StoragePin& pin);

std::unique_ptr<grpc::Service> MakeStorageService(StorageApi& api);

}  // namespace cd4ml::rpc
