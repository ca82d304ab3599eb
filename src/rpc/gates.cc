// Both ends of the gate port.
#include "rpc/gates.h"

#include <grpcpp/grpcpp.h>

#include "cd4ml/base/status.h"
#include "cd4ml/rpc/connect.h"
#include "cd4ml/v1/gate_service.grpc.pb.h"
#include "rpc/client.h"
#include "rpc/convert.h"
#include "rpc/unary.h"

namespace cd4ml::rpc {
namespace {

constexpr int kHistoryMax = 1'000;
constexpr int kHistoryDefault = 20;

class Handlers : public v1::GateService::CallbackService {
 public:
  explicit Handlers(GateApi& api) : api_(api) {}

  grpc::ServerUnaryReactor* OverrideRule(grpc::CallbackServerContext* context,
                                         const v1::OverrideRuleRequest* request,
                                         v1::OverrideRuleResponse* response) override {
    return AnswerUnary<OverrideView>(
        context,
        absl::StatusOr<OverrideRequest>(OverrideRequest{.run = request->run(),
                                                        .gate = request->gate(),
                                                        .rule = request->rule(),
                                                        .reason = request->reason(),
                                                        .by = request->by(),
                                                        .lasting = Duration(request->lasting_ms())}),
        [&](OverrideRequest asked, Done<OverrideView> done) {
          api_.OverrideRule(std::move(asked), std::move(done));
        },
        [response](const OverrideView& view) { *response->mutable_override() = ToProto(view); });
  }

  grpc::ServerUnaryReactor* RevokeOverride(grpc::CallbackServerContext* context,
                                           const v1::RevokeOverrideRequest* request,
                                           v1::RevokeOverrideResponse* response) override {
    return AnswerUnary<OverrideView>(
        context, absl::StatusOr<int64_t>(request->id()),
        [&](int64_t id, Done<OverrideView> done) { api_.RevokeOverride(id, request->by(), std::move(done)); },
        [response](const OverrideView& view) { *response->mutable_override() = ToProto(view); });
  }

  grpc::ServerUnaryReactor* ListOverrides(grpc::CallbackServerContext* context,
                                          const v1::ListOverridesRequest* request,
                                          v1::ListOverridesResponse* response) override {
    const auto views = api_.ListOverrides(request->pipeline());
    if (views.ok()) {
      for (const OverrideView& view : *views) *response->add_overrides() = ToProto(view);
    }
    return Finished(context, views.status());
  }

  grpc::ServerUnaryReactor* GateHistory(grpc::CallbackServerContext* context,
                                        const v1::GateHistoryRequest* request,
                                        v1::GateHistoryResponse* response) override {
    const int limit = request->limit() == 0 ? kHistoryDefault : request->limit();
    if (limit < 1 || limit > kHistoryMax) {
      return Finished(context, absl::InvalidArgumentError("limit must be 1 to 1,000"));
    }
    const auto records = api_.GateHistory(request->pipeline(), request->gate(), limit);
    if (records.ok()) {
      for (const GateRecord& record : *records) *response->add_records() = ToProto(record);
    }
    return Finished(context, records.status());
  }

 private:
  static grpc::ServerUnaryReactor* Finished(grpc::CallbackServerContext* context, const absl::Status& status) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(Answer(context, status));
    return reactor;
  }

  GateApi& api_;
};

class GateClient : public GateApi {
 public:
  explicit GateClient(const std::string& address)
      : address_(address), stub_(v1::GateService::NewStub(OpenChannel(address))) {}

  void OverrideRule(OverrideRequest request, Done<OverrideView> done) override {
    v1::OverrideRuleRequest message;
    message.set_run(request.run);
    message.set_gate(request.gate);
    message.set_rule(request.rule);
    message.set_reason(request.reason);
    message.set_by(request.by);
    message.set_lasting_ms(request.lasting.count());
    Ask<v1::OverrideRuleResponse>(
        calls_, address_, kQuickCall, std::move(message),
        [&](auto... call) { stub_->async()->OverrideRule(std::move(call)...); },
        [](const v1::OverrideRuleResponse& response) { return FromProto(response.override()); },
        std::move(done));
  }

  void RevokeOverride(int64_t id, std::string by, Done<OverrideView> done) override {
    v1::RevokeOverrideRequest message;
    message.set_id(id);
    message.set_by(by);
    Ask<v1::RevokeOverrideResponse>(
        calls_, address_, kQuickCall, std::move(message),
        [&](auto... call) { stub_->async()->RevokeOverride(std::move(call)...); },
        [](const v1::RevokeOverrideResponse& response) { return FromProto(response.override()); },
        std::move(done));
  }

  absl::StatusOr<std::vector<OverrideView>> ListOverrides(const std::string& pipeline) override {
    v1::ListOverridesRequest request;
    request.set_pipeline(pipeline);
    grpc::ClientContext context;
    SetDeadline(&context, kQuickCall);
    v1::ListOverridesResponse response;
    const grpc::Status status = stub_->ListOverrides(&context, request, &response);
    CD4ML_RETURN_IF_ERROR(FromGrpc(status, context.GetServerTrailingMetadata(), address_));
    std::vector<OverrideView> views;
    for (const v1::OverrideRecord& message : response.overrides()) {
      CD4ML_ASSIGN_OR_RETURN(views.emplace_back(), FromProto(message));
    }
    return views;
  }

  absl::StatusOr<std::vector<GateRecord>> GateHistory(const std::string& pipeline, const std::string& gate,
                                                      int limit) override {
    v1::GateHistoryRequest request;
    request.set_pipeline(pipeline);
    request.set_gate(gate);
    request.set_limit(limit);
    grpc::ClientContext context;
    SetDeadline(&context, kQuickCall);
    v1::GateHistoryResponse response;
    const grpc::Status status = stub_->GateHistory(&context, request, &response);
    CD4ML_RETURN_IF_ERROR(FromGrpc(status, context.GetServerTrailingMetadata(), address_));
    std::vector<GateRecord> records;
    for (const v1::GateRecord& message : response.records()) {
      CD4ML_ASSIGN_OR_RETURN(records.emplace_back(), FromProto(message));
    }
    return records;
  }

 private:
  const std::string address_;
  const std::unique_ptr<v1::GateService::Stub> stub_;
  Calls calls_;  // Last: it waits for the calls before the rest goes.
};

absl::Status ReadTime(bool present, const google::protobuf::Timestamp& message, UtcTime& time) {
  if (!present) return absl::OkStatus();
  CD4ML_ASSIGN_OR_RETURN(time, FromProto(message));
  return absl::OkStatus();
}

}  // namespace

v1::OverrideRecord ToProto(const OverrideView& view) {
  const core::OverrideRecord& record = view.record;
  v1::OverrideRecord message;
  message.set_id(record.id);
  message.set_pipeline(record.pipeline);
  message.set_gate(record.gate);
  message.set_rule(record.rule);
  message.set_run(record.run);
  message.set_by(record.by);
  message.set_reason(record.reason);
  *message.mutable_create_time() = ToProto(record.at);
  *message.mutable_expire_time() = ToProto(record.expires);
  message.set_people(record.people);
  if (record.revoked.is_set()) *message.mutable_revoke_time() = ToProto(record.revoked);
  message.set_revoked_by(record.revoked_by);
  message.set_state(view.state);
  return message;
}

absl::StatusOr<OverrideView> FromProto(const v1::OverrideRecord& message) {
  OverrideView view{.record = {}, .state = message.state()};
  core::OverrideRecord& record = view.record;
  record.id = message.id();
  record.pipeline = message.pipeline();
  record.gate = message.gate();
  record.rule = message.rule();
  record.run = message.run();
  record.by = message.by();
  record.reason = message.reason();
  CD4ML_RETURN_IF_ERROR(ReadTime(message.has_create_time(), message.create_time(), record.at));
  CD4ML_RETURN_IF_ERROR(ReadTime(message.has_expire_time(), message.expire_time(), record.expires));
  record.people = message.people();
  CD4ML_RETURN_IF_ERROR(ReadTime(message.has_revoke_time(), message.revoke_time(), record.revoked));
  record.revoked_by = message.revoked_by();
  return view;
}

v1::GateRecord ToProto(const GateRecord& record) {
  v1::GateRecord message;
  message.set_run(record.run);
  message.set_lane(record.lane);
  message.set_passed(record.passed);
  *message.mutable_end_time() = ToProto(record.at);
  *message.mutable_outcome() = ToProto(record.outcome);
  return message;
}

absl::StatusOr<GateRecord> FromProto(const v1::GateRecord& message) {
  GateRecord record;
  record.run = message.run();
  record.lane = message.lane();
  record.passed = message.passed();
  CD4ML_RETURN_IF_ERROR(ReadTime(message.has_end_time(), message.end_time(), record.at));
  CD4ML_ASSIGN_OR_RETURN(record.outcome, FromProto(message.outcome()));
  return record;
}

std::unique_ptr<grpc::Service> MakeGateService(GateApi& api) { return std::make_unique<Handlers>(api); }

std::unique_ptr<GateApi> ConnectGates(const std::string& address) { return std::make_unique<GateClient>(address); }

}  // namespace cd4ml::rpc
