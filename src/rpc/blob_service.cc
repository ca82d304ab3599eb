// Bulk bytes on the server: each transfer has a thread of the bounded pool, and memory for one
// chunk.
#include "rpc/blob_service.h"

#include <utility>

#include "cd4ml/base/status.h"
#include "cd4ml/v1/blob_service.grpc.pb.h"
#include "rpc/chunk.h"
#include "rpc/status.h"

namespace cd4ml::rpc {
namespace {

absl::Status Find(BlobStore& blobs, const v1::FindMissingRequest& request,
                  v1::FindMissingResponse* response) {
  if (request.digests_size() > kDigestsMax) {
    return absl::InvalidArgumentError("at most 1,000 digests can be looked up at once");
  }
  for (const std::string& hex : request.digests()) {
    CD4ML_ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(hex));
    const absl::StatusOr<int64_t> size = blobs.Size(digest);
    if (absl::IsNotFound(size.status())) {
      response->add_missing(hex);
      continue;
    }
    CD4ML_RETURN_IF_ERROR(size.status());
    (*response->mutable_sizes())[hex] = *size;
  }
  return absl::OkStatus();
}

absl::Status Take(BlobStore& blobs, grpc::ServerReader<v1::WriteRequest>* reader,
                  v1::WriteResponse* response) {
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> writer, blobs.Create());
  int64_t size = 0;
  v1::WriteRequest request;
  while (reader->Read(&request)) {
    CD4ML_RETURN_IF_ERROR(writer->Append(request.data()));
    size += static_cast<int64_t>(request.data().size());
    if (request.commit().empty()) continue;
    CD4ML_ASSIGN_OR_RETURN(const Digest stated, Digest::Parse(request.commit()));
    CD4ML_ASSIGN_OR_RETURN(const Digest digest, writer->Commit(stated));
    response->set_digest(digest.hex());
    response->set_size(size);
    return absl::OkStatus();
  }
  return absl::CancelledError("the upload ended without a commit; nothing was stored");
}

absl::Status Send(BlobStore& blobs, const v1::ReadRequest& request,
                  grpc::ServerWriter<v1::ReadResponse>* writer) {
  CD4ML_ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(request.digest()));
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> reader,
                         blobs.Open(digest, request.offset()));
  v1::ReadResponse response;
  response.set_size(reader->size());
  while (writer->Write(response)) {
    CD4ML_ASSIGN_OR_RETURN(*response.mutable_data(), reader->Read(kChunkSize));
    if (response.data().empty()) return absl::OkStatus();
    response.clear_size();
  }
  return absl::CancelledError("the download was given up");
}

class Handlers : public v1::BlobService::Service {
 public:
  explicit Handlers(BlobStore& blobs) : blobs_(blobs) {}

  grpc::Status FindMissing(grpc::ServerContext* context, const v1::FindMissingRequest* request,
                           v1::FindMissingResponse* response) override {
    return Answer(context, Find(blobs_, *request, response));
  }
  grpc::Status Write(grpc::ServerContext* context, grpc::ServerReader<v1::WriteRequest>* reader,
                     v1::WriteResponse* response) override {
    return Answer(context, Take(blobs_, reader, response));
  }
  grpc::Status Read(grpc::ServerContext* context, const v1::ReadRequest* request,
                    grpc::ServerWriter<v1::ReadResponse>* writer) override {
    return Answer(context, Send(blobs_, *request, writer));
  }

 private:
  BlobStore& blobs_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeBlobService(BlobStore& blobs) {
  return std::make_unique<Handlers>(blobs);
}

}  // namespace cd4ml::rpc
