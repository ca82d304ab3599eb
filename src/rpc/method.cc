// Calls methods that are known only from their .proto files, by protobuf's own compiler and JSON form.
#include <google/protobuf/compiler/importer.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor_database.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/type_resolver_util.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <charconv>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/rpc/connect_method.h"
#include "rpc/client.h"

namespace cd4ml::rpc {
namespace {

namespace pb = google::protobuf;

constexpr char kTypes[] = "type.googleapis.com";
constexpr int kAnswerMax = 16 << 20;

// The repository as protobuf's compiler sees it.
class Sources : public pb::compiler::SourceTree {
 public:
  explicit Sources(const GrpcTarget& target) : target_(target) {
    const size_t slash = target.proto.rfind('/');
    folder_ = slash == std::string::npos ? "" : target.proto.substr(0, slash + 1);
  }

  pb::io::ZeroCopyInputStream* Open(const std::string& file) override {
    absl::StatusOr<std::string> text = target_.read(file);
    if (!text.ok() && !folder_.empty() && file != target_.proto) text = target_.read(folder_ + file);
    if (!text.ok()) {
      error_ = Message(text.status());
      return nullptr;
    }
    texts_.push_back(std::make_unique<std::string>(*std::move(text)));
    return new pb::io::ArrayInputStream(texts_.back()->data(), static_cast<int>(texts_.back()->size()));
  }
  std::string GetLastErrorMessage() override { return error_; }

 private:
  const GrpcTarget target_;
  std::string folder_, error_;
  std::vector<std::unique_ptr<std::string>> texts_;  // Read from while they are compiled.
};

class Errors : public pb::compiler::MultiFileErrorCollector {
 public:
  void AddError(const std::string& file, int line, int column, const std::string& message) override {
    if (!first_.empty()) return;
    first_ = file + (line < 0 ? "" : ":" + std::to_string(line + 1) + ":" + std::to_string(column + 1)) + ": " + message;
  }
  const std::string& first() const { return first_; }

 private:
  std::string first_;
};

// The files of a target, compiled. What it holds lives as long as it.
class Protocol {
 public:
  explicit Protocol(const GrpcTarget& target)
      : sources_(target), known_(*pb::DescriptorPool::generated_pool()), files_(&sources_, &known_),
        pool_(&files_, files_.GetValidationErrorCollector()) {
    files_.RecordErrorsTo(&errors_);
  }

  absl::StatusOr<const pb::MethodDescriptor*> Find(const GrpcTarget& target) {
    const pb::FileDescriptor* file = pool_.FindFileByName(target.proto);
    if (file == nullptr || !errors_.first().empty()) {
      return absl::InvalidArgumentError(errors_.first().empty() ? target.proto + " does not compile" : errors_.first());
    }
    const size_t slash = target.method.find('/');
    const pb::ServiceDescriptor* service = pool_.FindServiceByName(target.method.substr(0, slash));
    const pb::MethodDescriptor* method =
        service == nullptr || slash == std::string::npos ? nullptr : service->FindMethodByName(target.method.substr(slash + 1));
    if (method == nullptr) {
      return absl::InvalidArgumentError(target.proto + " has no method \"" + target.method + "\"" +
                                        DidYouMean(target.method, Methods(*file)));
    }
    if (method->client_streaming() || method->server_streaming()) {
      return absl::InvalidArgumentError("the method \"" + target.method + "\" streams, which is not supported");
    }
    return method;
  }

  const pb::DescriptorPool& pool() const { return pool_; }

 private:
  static std::vector<std::string> Methods(const pb::FileDescriptor& file) {
    std::vector<std::string> names;
    for (int i = 0; i < file.service_count(); ++i) {
      for (int j = 0; j < file.service(i)->method_count(); ++j) {
        names.push_back(file.service(i)->full_name() + "/" + file.service(i)->method(j)->name());
      }
    }
    return names;
  }

  Sources sources_;
  Errors errors_;
  pb::DescriptorPoolDatabase known_;
  pb::compiler::SourceTreeDescriptorDatabase files_;
  pb::DescriptorPool pool_;
};

bool Is64Bit(const pb::FieldDescriptor& field) {
  return field.cpp_type() == pb::FieldDescriptor::CPPTYPE_INT64 || field.cpp_type() == pb::FieldDescriptor::CPPTYPE_UINT64;
}

Value NumberOf(const Value& value) {
  if (!value.is_string()) return value;
  const std::string& text = value.string();
  int64_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && rest == text.data() + text.size()) return number;
  double large = 0;  // Above what int64 holds.
  std::from_chars(text.data(), text.data() + text.size(), large);
  return large;
}

Value Numbered(const Value& value, const pb::Descriptor& type);

Value NumberedField(const Value& value, const pb::FieldDescriptor& field) {
  if (Is64Bit(field)) return NumberOf(value);
  return field.message_type() != nullptr ? Numbered(value, *field.message_type()) : value;
}

// Returns the JSON form of a message with 64-bit integers as the numbers that they are.
Value Numbered(const Value& value, const pb::Descriptor& type) {
  const std::string& name = type.full_name();
  if (name == "google.protobuf.Int64Value" || name == "google.protobuf.UInt64Value") return NumberOf(value);
  if (!value.is_map() || name.starts_with("google.protobuf.")) return value;
  Value::Map map;
  for (const auto& [key, member] : value.map()) {
    const pb::FieldDescriptor* field = type.FindFieldByName(key);
    if (field == nullptr) {
      map[key] = member;
    } else if (field->is_map() && member.is_map()) {
      Value::Map entries;
      for (const auto& [entry, item] : member.map()) {
        entries[entry] = NumberedField(item, *field->message_type()->map_value());
      }
      map[key] = std::move(entries);
    } else if (field->is_repeated() && member.is_list()) {
      Value::List list;
      for (const Value& item : member.list()) list.push_back(NumberedField(item, *field));
      map[key] = std::move(list);
    } else {
      map[key] = NumberedField(member, *field);
    }
  }
  return map;
}

class Method : public GrpcMethod {
 public:
  explicit Method(const GrpcTarget& target)
      : path_("/" + target.method), protocol_(target), stub_(Channel(target.address)) {}

  absl::Status Prepare(const GrpcTarget& target) {
    CD4ML_ASSIGN_OR_RETURN(method_, protocol_.Find(target));
    resolver_.reset(pb::util::NewTypeResolverForDescriptorPool(kTypes, &protocol_.pool()));
    answer_ = messages_.GetPrototype(method_->output_type());
    return absl::OkStatus();
  }

  absl::StatusOr<Value> Call(const Value& request, Duration timeout) override {
    std::string bytes;
    const auto read = pb::util::JsonToBinaryString(resolver_.get(), UrlOf(*method_->input_type()), ToJson(request), &bytes);
    if (!read.ok()) {
      return absl::InvalidArgumentError("the request is no " + method_->input_type()->full_name() + ": " +
                                        std::string(read.message()));
    }
    CD4ML_ASSIGN_OR_RETURN(const std::string answer, Send(bytes, timeout));
    // The JSON form alone would pass over much that is no message.
    const std::unique_ptr<pb::Message> message(answer_->New());
    if (!message->ParseFromString(answer)) {
      return absl::AbortedError("the answer is no " + method_->output_type()->full_name());
    }
    pb::util::JsonPrintOptions options;
    options.always_print_primitive_fields = true;
    options.preserve_proto_field_names = true;
    std::string text;
    const auto printed =
        pb::util::BinaryToJsonString(resolver_.get(), UrlOf(*method_->output_type()), answer, &text, options);
    absl::StatusOr<Value> value = printed.ok() ? ParseJson(text) : absl::AbortedError(std::string(printed.message()));
    if (!value.ok()) {
      return absl::AbortedError("the answer is no " + method_->output_type()->full_name() + ": " + Message(value.status()));
    }
    return Numbered(*value, *method_->output_type());
  }

 private:
  static std::shared_ptr<grpc::Channel> Channel(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
    arguments.SetMaxReceiveMessageSize(kAnswerMax);
    arguments.SetMaxSendMessageSize(-1);
    return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  }

  static std::string UrlOf(const pb::Descriptor& type) { return std::string(kTypes) + "/" + type.full_name(); }

  absl::StatusOr<std::string> Send(const std::string& bytes, Duration timeout) {
    grpc::Slice slice(bytes);
    grpc::ByteBuffer request(&slice, 1), response;
    grpc::ClientContext context;
    SetDeadline(&context, timeout);
    // A queue of its own: the threads that gRPC keeps for callbacks are late to wake.
    grpc::CompletionQueue queue;
    grpc::Status ended;
    const auto reader = stub_.PrepareUnaryCall(&context, path_, request, &queue);
    reader->StartCall();
    reader->Finish(&response, &ended, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    if (!ended.ok()) return Refusal(ended, timeout);
    std::vector<grpc::Slice> slices;
    if (!response.Valid() || !response.Dump(&slices).ok()) return absl::AbortedError("the answer cannot be read");
    std::string answer;
    for (const grpc::Slice& part : slices) answer.append(reinterpret_cast<const char*>(part.begin()), part.size());
    return answer;
  }

  absl::Status Refusal(const grpc::Status& ended, Duration timeout) const {
    if (ended.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      return absl::DeadlineExceededError(path_ + ": no answer within " + FormatDuration(timeout));
    }
    const std::string name = absl::StatusCodeToString(static_cast<absl::StatusCode>(ended.error_code()));
    const std::string message = name + ": " + ended.error_message();
    return ended.error_code() == grpc::StatusCode::UNAVAILABLE ? absl::UnavailableError(message)
                                                               : absl::AbortedError("status " + message);
  }

  const std::string path_;
  Protocol protocol_;
  std::unique_ptr<pb::util::TypeResolver> resolver_;  // Uses `protocol_`.
  pb::DynamicMessageFactory messages_;
  const pb::MethodDescriptor* method_ = nullptr;
  const pb::Message* answer_ = nullptr;  // Of `messages_`.
  grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcMethod>> ConnectMethod(const GrpcTarget& target) {
  auto method = std::make_unique<Method>(target);
  CD4ML_RETURN_IF_ERROR(method->Prepare(target));
  return method;
}

}  // namespace cd4ml::rpc
