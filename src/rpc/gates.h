// The gate port on the wire: its service, and its values as messages.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <memory>

#include "cd4ml/ports/gate_api.h"
#include "cd4ml/v1/gate_service.pb.h"

namespace cd4ml::rpc {

v1::OverrideRecord ToProto(const OverrideView& view);
absl::StatusOr<OverrideView> FromProto(const v1::OverrideRecord& message);
v1::GateRecord ToProto(const GateRecord& record);
absl::StatusOr<GateRecord> FromProto(const v1::GateRecord& message);

std::unique_ptr<grpc::Service> MakeGateService(GateApi& api);

}  // namespace cd4ml::rpc
