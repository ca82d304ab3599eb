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

absl::Status List(BlobStore& blobs, const v1::ListChunksRequest& request,
                  grpc::ServerWriter<v1::ListChunksResponse>* writer) {
  CD4ML_ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(request.digest()));
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Chunk> chunks, blobs.Chunks(digest));
  for (size_t at = 0; at < chunks.size();) {
    v1::ListChunksResponse response;
    at = AddChunks(chunks, at, &response);
    if (!writer->Write(response)) return absl::CancelledError("the list was given up");
  }
  return absl::OkStatus();
}

absl::Status SendChunks(BlobStore& blobs, const v1::ReadChunksRequest& request,
                        grpc::ServerWriter<v1::ReadChunksResponse>* writer) {
  CD4ML_ASSIGN_OR_RETURN(const Digest digest, Digest::Parse(request.digest()));
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Chunk> chunks, blobs.Chunks(digest));
  std::vector<size_t> wanted;
  CD4ML_RETURN_IF_ERROR(TakeRanges(request.ranges(), chunks.size(), wanted));
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> reader,
                         blobs.OpenChunks(digest, chunks, wanted));
  v1::ReadChunksResponse response;
  while (true) {
    CD4ML_ASSIGN_OR_RETURN(*response.mutable_data(), reader->Read(kChunkSize));
    if (response.data().empty()) return absl::OkStatus();
    if (!writer->Write(response)) return absl::CancelledError("the download was given up");
  }
}

using AssembleStream = grpc::ServerReaderWriter<v1::AssembleResponse, v1::AssembleRequest>;

// Reads the list with which an assembly begins.
absl::Status ReadList(AssembleStream* stream, Digest& digest, std::vector<Chunk>& chunks) {
  v1::AssembleRequest request;
  while (stream->Read(&request)) {
    if (!digest.is_set()) {
      CD4ML_ASSIGN_OR_RETURN(digest, Digest::Parse(request.digest()));
    }
    CD4ML_RETURN_IF_ERROR(TakeChunks(request, kChunksMax, chunks));
    if (request.listed()) return absl::OkStatus();
  }
  return absl::CancelledError("the upload ended within its list; nothing was stored");
}

absl::Status PutTogether(BlobStore& blobs, AssembleStream* stream) {
  Digest digest;
  std::vector<Chunk> chunks;
  CD4ML_RETURN_IF_ERROR(ReadList(stream, digest, chunks));
  CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<BlobAssembly> assembly,
                         blobs.Assemble(digest, chunks));
  v1::AssembleResponse response;
  for (size_t at = 0; !response.told();) {
    response.clear_missing();
    at = AddRanges(assembly->missing(), at, response.mutable_missing());
    response.set_told(at == assembly->missing().size());
    if (!stream->Write(response)) return absl::CancelledError("the upload was given up");
  }
  v1::AssembleRequest request;
  while (stream->Read(&request)) {
    CD4ML_RETURN_IF_ERROR(assembly->Append(request.data()));
    if (!request.commit()) continue;
    CD4ML_RETURN_IF_ERROR(assembly->Commit(digest).status());
    response.Clear();
    response.set_digest(digest.hex());
    stream->Write(response);
    return absl::OkStatus();
  }
  return absl::CancelledError("the upload ended without a commit; what came is kept for the next one");
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
  grpc::Status ListChunks(grpc::ServerContext* context, const v1::ListChunksRequest* request,
                          grpc::ServerWriter<v1::ListChunksResponse>* writer) override {
    return Answer(context, List(blobs_, *request, writer));
  }
  grpc::Status ReadChunks(grpc::ServerContext* context, const v1::ReadChunksRequest* request,
                          grpc::ServerWriter<v1::ReadChunksResponse>* writer) override {
    return Answer(context, SendChunks(blobs_, *request, writer));
  }
  grpc::Status Assemble(grpc::ServerContext* context, AssembleStream* stream) override {
    return Answer(context, PutTogether(blobs_, stream));
  }

 private:
  BlobStore& blobs_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeBlobService(BlobStore& blobs) {
  return std::make_unique<Handlers>(blobs);
}

}  // namespace cd4ml::rpc
