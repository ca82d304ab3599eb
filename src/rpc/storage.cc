// Both ends of the storage port.
#include "rpc/storage.h"

#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

#include "cd4ml/base/status.h"
#include "cd4ml/rpc/connect.h"
#include "cd4ml/v1/storage_service.grpc.pb.h"
#include "rpc/client.h"
#include "rpc/unary.h"

namespace cd4ml::rpc {
namespace {

using google::protobuf::util::TimeUtil;

class Handlers : public v1::StorageService::CallbackService {
 public:
  explicit Handlers(StorageApi& api) : api_(api) {}

  grpc::ServerUnaryReactor* CollectGarbage(grpc::CallbackServerContext* context,
                                           const v1::CollectGarbageRequest* request,
                                           v1::CollectGarbageResponse* response) override {
    return AnswerUnary<GcReport>(
        context, absl::StatusOr<GcRequest>(GcRequest{request->dry_run(), request->by()}),
        [&](GcRequest asked, Done<GcReport> done) {
          api_.CollectGarbage(std::move(asked), std::move(done));
        },
        [response](const GcReport& report) { *response = ToProto(report); });
  }

  grpc::ServerUnaryReactor* SetPin(grpc::CallbackServerContext* context,
                                   const v1::SetPinRequest* request,
                                   v1::SetPinResponse* response) override {
    return AnswerUnary<Pin>(
        context, absl::StatusOr<std::string>(request->reference()),
        [&](std::string reference, Done<Pin> done) {
          api_.SetPin(std::move(reference), request->reason(), request->by(), std::move(done));
        },
        [response](const Pin& pin) { *response->mutable_pin() = ToProto(pin); });
  }

  grpc::ServerUnaryReactor* RemovePin(grpc::CallbackServerContext* context,
                                      const v1::RemovePinRequest* request,
                                      v1::RemovePinResponse* response) override {
    return AnswerUnary<Pin>(
        context, absl::StatusOr<std::string>(request->reference()),
        [&](std::string reference, Done<Pin> done) {
          api_.RemovePin(std::move(reference), std::move(done));
        },
        [response](const Pin& pin) { *response->mutable_pin() = ToProto(pin); });
  }

  grpc::ServerUnaryReactor* ListPins(grpc::CallbackServerContext* context,
                                     const v1::ListPinsRequest*,
                                     v1::ListPinsResponse* response) override {
    const auto pins = api_.ListPins();
    if (pins.ok()) {
      for (const Pin& pin : *pins) *response->add_pins() = ToProto(pin);
    }
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(Answer(context, pins.status()));
    return reactor;
  }

 private:
  StorageApi& api_;
};

class StorageClient : public StorageApi {
 public:
  explicit StorageClient(const std::string& address)
      : address_(address), stub_(v1::StorageService::NewStub(OpenChannel(address))) {}

  void CollectGarbage(GcRequest request, Done<GcReport> done) override {
    v1::CollectGarbageRequest message;
    message.set_dry_run(request.dry_run);
    message.set_by(request.by);
    Ask<v1::CollectGarbageResponse>(
        calls_, address_, kLongCall, std::move(message),
        [&](auto... call) { stub_->async()->CollectGarbage(std::move(call)...); },
        [](const v1::CollectGarbageResponse& response) { return FromProto(response); },
        std::move(done));
  }

  void SetPin(std::string reference, std::string reason, std::string by, Done<Pin> done) override {
    v1::SetPinRequest message;
    message.set_reference(reference);
    message.set_reason(reason);
    message.set_by(by);
    // A collection may be under way, which it waits for.
    Ask<v1::SetPinResponse>(
        calls_, address_, kLongCall, std::move(message),
        [&](auto... call) { stub_->async()->SetPin(std::move(call)...); },
        [](const v1::SetPinResponse& response) { return FromProto(response.pin()); },
        std::move(done));
  }

  void RemovePin(std::string reference, Done<Pin> done) override {
    v1::RemovePinRequest message;
    message.set_reference(reference);
    Ask<v1::RemovePinResponse>(
        calls_, address_, kLongCall, std::move(message),
        [&](auto... call) { stub_->async()->RemovePin(std::move(call)...); },
        [](const v1::RemovePinResponse& response) { return FromProto(response.pin()); },
        std::move(done));
  }

  absl::StatusOr<std::vector<Pin>> ListPins() override {
    grpc::ClientContext context;
    SetDeadline(&context, kQuickCall);
    v1::ListPinsResponse response;
    const grpc::Status status = stub_->ListPins(&context, v1::ListPinsRequest(), &response);
    CD4ML_RETURN_IF_ERROR(FromGrpc(status, context.GetServerTrailingMetadata(), address_));
    std::vector<Pin> pins;
    for (const v1::StoragePin& message : response.pins()) {
      CD4ML_ASSIGN_OR_RETURN(pins.emplace_back(), FromProto(message));
    }
    return pins;
  }

 private:
  const std::string address_;
  const std::unique_ptr<v1::StorageService::Stub> stub_;
  Calls calls_;  // Last: it waits for the calls before the rest goes.
};

}  // namespace

v1::StoragePin ToProto(const Pin& pin) {
  v1::StoragePin message;
  message.set_target(pin.target);
  message.set_reference(pin.reference);
  message.set_reason(pin.reason);
  message.set_by(pin.by);
  *message.mutable_pin_time() = TimeUtil::MillisecondsToTimestamp(pin.at.ms);
  return message;
}

absl::StatusOr<Pin> FromProto(const v1::StoragePin& message) {
  return Pin{message.target(), message.reference(), message.reason(), message.by(),
             UtcTime{TimeUtil::TimestampToMilliseconds(message.pin_time())}};
}

v1::CollectGarbageResponse ToProto(const GcReport& report) {
  v1::CollectGarbageResponse message;
  message.set_dry_run(report.dry_run);
  message.set_blobs(report.blobs);
  message.set_bytes(report.bytes);
  for (const GcReport::Share& share : report.kept) {
    v1::KeptShare* kept = message.add_kept();
    kept->set_why(share.why);
    kept->set_blobs(share.blobs);
    kept->set_bytes(share.bytes);
  }
  message.set_removed_blobs(report.removed_blobs);
  message.set_removed_bytes(report.removed_bytes);
  for (const Tombstone& stone : report.removed) {
    v1::RemovedBlob* removed = message.add_removed();
    removed->set_digest(stone.digest.hex());
    removed->set_size(stone.size);
    removed->set_what(stone.what);
    removed->set_why(stone.why);
    removed->set_by(stone.by);
    *removed->mutable_remove_time() = TimeUtil::MillisecondsToTimestamp(stone.at.ms);
  }
  message.set_folded_blobs(report.folded_blobs);
  message.set_used_before(report.used_before);
  message.set_used_after(report.used_after);
  return message;
}

absl::StatusOr<GcReport> FromProto(const v1::CollectGarbageResponse& message) {
  GcReport report;
  report.dry_run = message.dry_run();
  report.blobs = message.blobs();
  report.bytes = message.bytes();
  for (const v1::KeptShare& kept : message.kept()) {
    report.kept.push_back({kept.why(), kept.blobs(), kept.bytes()});
  }
  report.removed_blobs = message.removed_blobs();
  report.removed_bytes = message.removed_bytes();
  for (const v1::RemovedBlob& removed : message.removed()) {
    CD4ML_ASSIGN_OR_RETURN(Digest digest, Digest::Parse(removed.digest()));
    report.removed.push_back({std::move(digest), removed.size(), removed.what(), removed.why(),
                              removed.by(),
                              UtcTime{TimeUtil::TimestampToMilliseconds(removed.remove_time())}});
  }
  report.folded_blobs = message.folded_blobs();
  report.used_before = message.used_before();
  report.used_after = message.used_after();
  return report;
}

std::unique_ptr<grpc::Service> MakeStorageService(StorageApi& api) {
  return std::make_unique<Handlers>(api);
}

std::unique_ptr<StorageApi> ConnectStorage(const std::string& address) {
  return std::make_unique<StorageClient>(address);
}

}  // namespace cd4ml::rpc
