// The blob store of a daemon on another machine, or on this one without its folder.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "cd4ml/base/status.h"
#include "cd4ml/rpc/connect.h"
#include "cd4ml/v1/blob_service.grpc.pb.h"
#include "rpc/chunk.h"
#include "rpc/client.h"

namespace cd4ml::rpc {
namespace {

absl::Status Damaged(const Digest& digest, const Digest& found) {
  return absl::DataLossError("blob sha256:" + digest.hex() + " arrived with bytes that hash to " +
                             found.hex());
}

absl::Status FileError(const std::string& what, const std::string& path) {
  return absl::ErrnoToStatus(errno, "cannot " + what + " \"" + path + "\"");
}

// An upload. The bytes are hashed on this side too, so that the daemon is always told what it must
// find.
class Upload : public BlobWriter {
 public:
  Upload(v1::BlobService::Stub& stub, const std::string& address) : address_(address) {
    writer_ = stub.Write(&context_, &response_);
  }
  ~Upload() override {
    if (ended_) return;
    context_.TryCancel();
    writer_->Finish();
  }

  absl::Status Append(std::string_view bytes) override {
    hasher_.Update(bytes);
    while (!bytes.empty()) {
      const size_t taken = std::min(bytes.size(), kChunkSize - request_.data().size());
      request_.mutable_data()->append(bytes.substr(0, taken));
      bytes.remove_prefix(taken);
      if (request_.data().size() == kChunkSize) CD4ML_RETURN_IF_ERROR(Send());
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Digest> Commit(const Digest& expected) override {
    const Digest digest = hasher_.Finish();
    if (expected.is_set() && expected != digest) return Damaged(expected, digest);
    request_.set_commit(digest.hex());
    CD4ML_RETURN_IF_ERROR(Send());
    CD4ML_RETURN_IF_ERROR(End());
    if (response_.digest() != digest.hex()) {
      return absl::DataLossError("the daemon at " + address_ +
                                 " stored another blob than sha256:" + digest.hex());
    }
    return digest;
  }

 private:
  absl::Status Send() {
    if (ended_) return absl::FailedPreconditionError("the upload has ended");
    const bool sent = writer_->Write(request_);
    request_.Clear();
    if (sent) return absl::OkStatus();
    const absl::Status status = End();
    return status.ok() ? absl::UnavailableError("the daemon at " + address_ + " ended the upload")
                       : status;
  }

  absl::Status End() {
    ended_ = true;
    writer_->WritesDone();
    const grpc::Status status = writer_->Finish();
    return FromGrpc(status, context_.GetServerTrailingMetadata(), address_);
  }

  const std::string address_;
  grpc::ClientContext context_;
  v1::WriteResponse response_;
  std::unique_ptr<grpc::ClientWriter<v1::WriteRequest>> writer_;
  v1::WriteRequest request_;  // Its data is the chunk being filled.
  Hasher hasher_;
  bool ended_ = false;
};

// A download, verified when it is read from the beginning.
class Download : public BlobReader {
 public:
  Download(v1::BlobService::Stub& stub, const std::string& address, const Digest& digest,
           int64_t offset)
      : address_(address), digest_(digest), offset_(offset), position_(offset) {
    v1::ReadRequest request;
    request.set_digest(digest.hex());
    request.set_offset(offset);
    reader_ = stub.Read(&context_, request);
  }
  ~Download() override {
    if (ended_) return;
    context_.TryCancel();
    reader_->Finish();
  }

  absl::Status Begin() {
    CD4ML_RETURN_IF_ERROR(Receive());
    size_ = response_.size();
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Read(size_t size_max) override {
    if (position_ == size_) {
      CD4ML_RETURN_IF_ERROR(VerifyEmpty());
      return std::string();
    }
    while (taken_ == response_.data().size()) CD4ML_RETURN_IF_ERROR(Receive());
    std::string piece = response_.data().substr(taken_, size_max);
    taken_ += piece.size();
    position_ += static_cast<int64_t>(piece.size());
    hasher_.Update(piece);
    if (position_ > size_)
      return absl::DataLossError("blob sha256:" + digest_.hex() + " is longer than announced");
    if (position_ == size_) CD4ML_RETURN_IF_ERROR(Verify());
    return piece;
  }

  int64_t size() const override { return size_; }

 private:
  absl::Status Receive() {
    taken_ = 0;
    if (!ended_ && reader_->Read(&response_)) return absl::OkStatus();
    CD4ML_RETURN_IF_ERROR(End());
    return absl::DataLossError("blob sha256:" + digest_.hex() + " ended after " +
                               std::to_string(position_) + " of " + std::to_string(size_) +
                               " bytes");
  }

  // The last piece counts only with the digest of all and the daemon's word that it found no
  // damage.
  absl::Status Verify() {
    const Digest found = hasher_.Finish();
    if (offset_ == 0 && found != digest_) return Damaged(digest_, found);
    v1::ReadResponse more;
    while (reader_->Read(&more)) {
      if (!more.data().empty())
        return absl::DataLossError("blob sha256:" + digest_.hex() + " is longer than announced");
    }
    return End();
  }

  absl::Status VerifyEmpty() { return ended_ ? absl::OkStatus() : Verify(); }

  absl::Status End() {
    if (ended_) return end_;
    ended_ = true;
    const grpc::Status status = reader_->Finish();
    end_ = FromGrpc(status, context_.GetServerTrailingMetadata(), address_);
    return end_;
  }

  const std::string address_;
  const Digest digest_;
  const int64_t offset_;
  int64_t position_;
  int64_t size_ = 0;
  size_t taken_ = 0;  // Of response_'s data.
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::ReadResponse>> reader_;
  v1::ReadResponse response_;
  Hasher hasher_;
  bool ended_ = false;
  absl::Status end_;
};

// An upload of what the daemon misses of a blob.
class RemoteAssembly final : public BlobAssembly {
 public:
  RemoteAssembly(v1::BlobService::Stub& stub, const std::string& address, const Digest& digest)
      : address_(address), digest_(digest), stream_(stub.Assemble(&context_)) {}
  ~RemoteAssembly() override {
    if (ended_) return;
    context_.TryCancel();
    stream_->Finish();
  }

  // Sends the list and hears what is missing of it.
  absl::Status Begin(const std::vector<Chunk>& chunks) {
    request_.set_digest(digest_.hex());
    for (size_t at = 0; !request_.listed();) {
      request_.clear_chunks();
      at = AddChunks(chunks, at, &request_);
      request_.set_listed(at == chunks.size());
      if (!stream_->Write(request_)) return Ended();
    }
    request_.Clear();
    v1::AssembleResponse response;
    while (!response.told()) {
      if (!stream_->Read(&response)) return Ended();
      CD4ML_RETURN_IF_ERROR(TakeRanges(response.missing(), chunks.size(), missing_));
    }
    return absl::OkStatus();
  }

  const std::vector<size_t>& missing() const override { return missing_; }

  absl::Status Append(std::string_view bytes) override {
    while (!bytes.empty()) {
      const size_t taken = std::min(bytes.size(), kChunkSize - request_.data().size());
      request_.mutable_data()->append(bytes.substr(0, taken));
      bytes.remove_prefix(taken);
      if (request_.data().size() == kChunkSize) CD4ML_RETURN_IF_ERROR(Send());
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Digest> Commit(const Digest& expected) override {
    request_.set_commit(true);
    CD4ML_RETURN_IF_ERROR(Send());
    v1::AssembleResponse response;
    if (!stream_->Read(&response)) return Ended();
    CD4ML_RETURN_IF_ERROR(End());
    if (response.digest() != expected.hex()) return Damaged(expected, digest_);
    return expected;
  }

 private:
  absl::Status Send() {
    const bool sent = stream_->Write(request_);
    request_.Clear();
    return sent ? absl::OkStatus() : Ended();
  }

  absl::Status Ended() {
    const absl::Status status = End();
    return status.ok() ? absl::UnavailableError("the daemon at " + address_ + " ended the upload")
                       : status;
  }

  absl::Status End() {
    if (ended_) return absl::FailedPreconditionError("the upload has ended");
    ended_ = true;
    stream_->WritesDone();
    const grpc::Status status = stream_->Finish();
    return FromGrpc(status, context_.GetServerTrailingMetadata(), address_);
  }

  const std::string address_;
  const Digest digest_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::AssembleRequest, v1::AssembleResponse>> stream_;
  std::vector<size_t> missing_;
  v1::AssembleRequest request_;  // Its data is the message being filled.
  bool ended_ = false;
};

// A download of some chunks. The receiver verifies the blob that they belong to.
class ChunkDownload final : public BlobReader {
 public:
  ChunkDownload(v1::BlobService::Stub& stub, const std::string& address, const Digest& digest,
                const std::vector<Chunk>& chunks, const std::vector<size_t>& wanted)
      : stub_(stub), address_(address), digest_(digest), wanted_(wanted) {
    for (const size_t i : wanted_) size_ += chunks[i].size;
  }
  ~ChunkDownload() override {
    if (reader_ == nullptr) return;
    context_->TryCancel();
    reader_->Finish();
  }

  absl::StatusOr<std::string> Read(size_t size_max) override {
    while (taken_ == response_.data().size()) {
      taken_ = 0;
      if (reader_ == nullptr && asked_ == wanted_.size()) return std::string();
      if (reader_ == nullptr) Ask();
      if (reader_->Read(&response_)) continue;
      response_.Clear();
      const grpc::Status status = std::exchange(reader_, nullptr)->Finish();
      CD4ML_RETURN_IF_ERROR(FromGrpc(status, context_->GetServerTrailingMetadata(), address_));
    }
    std::string piece = response_.data().substr(taken_, size_max);
    taken_ += piece.size();
    return piece;
  }

  int64_t size() const override { return size_; }

 private:
  // Asks for as many as one message can name.
  void Ask() {
    v1::ReadChunksRequest request;
    request.set_digest(digest_.hex());
    asked_ = AddRanges(wanted_, asked_, request.mutable_ranges());
    context_ = std::make_unique<grpc::ClientContext>();
    reader_ = stub_.ReadChunks(context_.get(), request);
  }

  v1::BlobService::Stub& stub_;
  const std::string address_;
  const Digest digest_;
  const std::vector<size_t> wanted_;
  int64_t size_ = 0;
  size_t asked_ = 0;  // Of wanted_.
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReader<v1::ReadChunksResponse>> reader_;  // Null between two answers.
  v1::ReadChunksResponse response_;
  size_t taken_ = 0;  // Of response_'s data.
};

absl::Status GoOn(const std::stop_token& stop) {
  return stop.stop_requested() ? absl::CancelledError("cancelled") : absl::OkStatus();
}

// A new file that is removed again unless it is kept.
class NewFile {
 public:
  explicit NewFile(std::string path)
      : path_(std::move(path)),
        fd_(open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) {}
  ~NewFile() {
    if (fd_ < 0) return;
    close(fd_);
    if (!kept_) unlink(path_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  absl::Status Opened() const { return fd_ < 0 ? FileError("create", path_) : absl::OkStatus(); }

  absl::Status Append(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return FileError("write", path_);
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }

  absl::Status Keep(mode_t mode) {
    if (fchmod(fd_, mode) != 0) return FileError("set the mode of", path_);
    kept_ = true;
    return absl::OkStatus();
  }

 private:
  const std::string path_;
  const int fd_;
  bool kept_ = false;
};

// A regular file that is to be stored.
class SourceFile {
 public:
  explicit SourceFile(const std::string& path)
      : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)) {}
  ~SourceFile() {
    if (fd_ >= 0) close(fd_);
  }
  SourceFile(const SourceFile&) = delete;
  SourceFile& operator=(const SourceFile&) = delete;

  // Calls `take` with all bytes, chunk by chunk, from the beginning.
  template <typename Take>
  absl::Status ForEachChunk(Take take) const {
    struct stat facts = {};
    if (fd_ < 0 && errno != ELOOP) return FileError("open", path_);
    if (fd_ < 0 || fstat(fd_, &facts) != 0 || !S_ISREG(facts.st_mode)) {
      return absl::InvalidArgumentError("\"" + path_ + "\" is no regular file");
    }
    std::string chunk(kChunkSize, '\0');
    for (off_t position = 0;;) {
      const ssize_t count = pread(fd_, chunk.data(), chunk.size(), position);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return FileError("read", path_);
      if (count == 0) return absl::OkStatus();
      CD4ML_RETURN_IF_ERROR(take(std::string_view(chunk).substr(0, static_cast<size_t>(count))));
      position += count;
    }
  }

  absl::StatusOr<Digest> Hash(const std::stop_token& stop) const {
    Hasher hasher;
    const absl::Status read = ForEachChunk([&](std::string_view chunk) -> absl::Status {
      CD4ML_RETURN_IF_ERROR(GoOn(stop));
      hasher.Update(chunk);
      return absl::OkStatus();
    });
    CD4ML_RETURN_IF_ERROR(read);
    return hasher.Finish();
  }

 private:
  const std::string path_;
  const int fd_;
};

class BlobClient : public BlobStore {
 public:
  explicit BlobClient(const std::string& address)
      : address_(address), stub_(v1::BlobService::NewStub(OpenChannel(address))) {}

  absl::StatusOr<std::unique_ptr<BlobWriter>> Create() override {
    return std::unique_ptr<BlobWriter>(std::make_unique<Upload>(*stub_, address_));
  }

  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const Digest& digest, int64_t offset) override {
    auto download = std::make_unique<Download>(*stub_, address_, digest, offset);
    CD4ML_RETURN_IF_ERROR(download->Begin());
    return std::unique_ptr<BlobReader>(std::move(download));
  }

  absl::StatusOr<int64_t> Size(const Digest& digest) override {
    CD4ML_ASSIGN_OR_RETURN(const v1::FindMissingResponse found, Find({digest}));
    const auto size = found.sizes().find(digest.hex());
    if (size != found.sizes().end()) return size->second;
    return absl::NotFoundError("the daemon at " + address_ + " has no blob sha256:" + digest.hex());
  }

  absl::Status Remove(const Digest& digest) override {
    return absl::PermissionDeniedError("blob sha256:" + digest.hex() +
                                       " belongs to the daemon at " + address_ +
                                       ", which alone may remove it");
  }

  absl::StatusOr<Digest> PutFile(const std::string& path, bool may_link,
                                 const std::stop_token& stop) override {
    CD4ML_ASSIGN_OR_RETURN(const std::vector<Digest> digests, PutFiles({path}, may_link, stop));
    return digests.front();
  }

  // Asks once for up to a thousand files which ones the daemon lacks, and sends those.
  absl::StatusOr<std::vector<Digest>> PutFiles(const std::vector<std::string>& paths,
                                               bool, const std::stop_token& stop) override {
    std::vector<Digest> digests;
    for (const std::string& path : paths) {
      CD4ML_ASSIGN_OR_RETURN(digests.emplace_back(), SourceFile(path).Hash(stop));
    }
    for (size_t first = 0; first < paths.size(); first += kDigestsMax) {
      const size_t end = std::min(paths.size(), first + kDigestsMax);
      CD4ML_ASSIGN_OR_RETURN(const v1::FindMissingResponse found,
                             Find({digests.begin() + static_cast<std::ptrdiff_t>(first),
                                   digests.begin() + static_cast<std::ptrdiff_t>(end)}));
      for (size_t i = first; i < end; ++i) {
        if (!found.sizes().contains(digests[i].hex()))
          CD4ML_RETURN_IF_ERROR(Send(paths[i], digests[i], stop));
      }
    }
    return digests;
  }

  absl::Status Materialize(const Digest& digest, const std::string& path, bool executable,
                           bool, const std::stop_token& stop) override {
    CD4ML_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> download, Open(digest, 0));
    NewFile file(path);
    CD4ML_RETURN_IF_ERROR(file.Opened());
    while (true) {
      CD4ML_ASSIGN_OR_RETURN(const std::string chunk, download->Read(kChunkSize));
      if (chunk.empty()) break;
      CD4ML_RETURN_IF_ERROR(GoOn(stop));
      CD4ML_RETURN_IF_ERROR(file.Append(chunk));
    }
    return file.Keep(executable ? 0555 : 0444);
  }

  absl::StatusOr<std::vector<Chunk>> Chunks(const Digest& digest,
                                            const std::stop_token& stop) override {
    grpc::ClientContext context;
    v1::ListChunksRequest request;
    request.set_digest(digest.hex());
    const auto reader = stub_->ListChunks(&context, request);
    std::vector<Chunk> chunks;
    v1::ListChunksResponse response;
    absl::Status taken;
    while (reader->Read(&response)) {
      if (taken.ok()) taken = TakeChunks(response, SIZE_MAX, chunks);
      if (taken.ok()) taken = GoOn(stop);
      if (!taken.ok()) context.TryCancel();
    }
    const grpc::Status status = reader->Finish();
    CD4ML_RETURN_IF_ERROR(taken);
    CD4ML_RETURN_IF_ERROR(FromGrpc(status, context.GetServerTrailingMetadata(), address_));
    return chunks;
  }

  absl::StatusOr<std::unique_ptr<BlobReader>> OpenChunks(
      const Digest& digest, const std::vector<Chunk>& chunks,
      const std::vector<size_t>& wanted) override {
    return std::unique_ptr<BlobReader>(
        std::make_unique<ChunkDownload>(*stub_, address_, digest, chunks, wanted));
  }

  absl::StatusOr<std::unique_ptr<BlobAssembly>> Assemble(const Digest& digest,
                                                         const std::vector<Chunk>& chunks,
                                                         const std::stop_token&) override {
    auto assembly = std::make_unique<RemoteAssembly>(*stub_, address_, digest);
    CD4ML_RETURN_IF_ERROR(assembly->Begin(chunks));
    return std::unique_ptr<BlobAssembly>(std::move(assembly));
  }

 private:
  absl::StatusOr<v1::FindMissingResponse> Find(const std::vector<Digest>& digests) {
    grpc::ClientContext context;
    SetDeadline(&context, kQuickCall);
    v1::FindMissingRequest request;
    for (const Digest& digest : digests) request.add_digests(digest.hex());
    v1::FindMissingResponse response;
    const grpc::Status status = stub_->FindMissing(&context, request, &response);
    CD4ML_RETURN_IF_ERROR(FromGrpc(status, context.GetServerTrailingMetadata(), address_));
    return response;
  }

  absl::Status Send(const std::string& path, const Digest& digest, const std::stop_token& stop) {
    Upload upload(*stub_, address_);
    const absl::Status sent = SourceFile(path).ForEachChunk([&](std::string_view chunk) -> absl::Status {
      CD4ML_RETURN_IF_ERROR(GoOn(stop));
      return upload.Append(chunk);
    });
    CD4ML_RETURN_IF_ERROR(sent);
    return upload.Commit(digest).status();
  }

  const std::string address_;
  const std::unique_ptr<v1::BlobService::Stub> stub_;
};

}  // namespace

std::unique_ptr<BlobStore> ConnectBlobs(const std::string& address) {
  return std::make_unique<BlobClient>(address);
}

}  // namespace cd4ml::rpc
