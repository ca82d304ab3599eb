// The port ObjectStore over libcurl and S3. Every body is signed by its hash, so that the server refuses what has changed
// on its way.
#include "cd4ml/http/object_store.h"

#include <curl/curl.h>

#include <algorithm>
#include <map>
#include <utility>

#include "cd4ml/base/digest.h"
#include "cd4ml/base/status.h"
#include "http/curl.h"
#include "http/s3.h"

namespace cd4ml::http {
namespace {

constexpr int64_t kPageBytesMax = int64_t{16} << 20;
constexpr int kPageKeysMax = 1'000;

struct S3Request {
  const char* method;
  std::string key;                        // Below the folder.
  std::string query = {};
  std::vector<std::string> headers = {};
  std::string_view body = {};
  int64_t size_max = int64_t{64} << 10;   // Of the answer.
};

struct S3Answer {
  int64_t size_max;
  const std::stop_token& stop;
  int status = 0;
  std::map<std::string, std::string> headers = {};   // Names in lower case.
  std::string body = {};
  bool is_too_large = false;
};

size_t TakeAnswerHeader(char* bytes, size_t, size_t size, void* user) {
  auto& answer = *static_cast<S3Answer*>(user);
  const std::string_view line(bytes, size);
  if (line.starts_with("HTTP/")) answer.headers.clear();
  if (answer.headers.size() < 200) AddHeader(line, answer.headers);
  return size;
}

size_t TakeAnswerBody(char* bytes, size_t, size_t size, void* user) {
  auto& answer = *static_cast<S3Answer*>(user);
  answer.is_too_large = static_cast<int64_t>(answer.body.size() + size) > answer.size_max;
  if (answer.is_too_large) return 0;
  answer.body.append(bytes, size);
  return size;
}

int WatchAnswer(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<S3Answer*>(user)->stop.stop_requested() ? 1 : 0;
}

// Returns how old something is that was changed `then`, according to the server's own clock.
Duration AgeAt(const std::map<std::string, std::string>& headers, int64_t then_ms) {
  const auto date = headers.find("date");
  const time_t now = date == headers.end() ? -1 : curl_getdate(date->second.c_str(), nullptr);
  // A server that does not say what time it is has nothing that is old.
  if (now < 0 || then_ms < 0) return Duration(0);
  return Duration(std::max<int64_t>(0, int64_t{now} * 1000 - then_ms));
}

class S3Folder final : public ObjectStore {
 public:
  S3Folder(S3Settings s3, S3Name folder, S3Patience patience)
      : s3_(std::move(s3)), folder_(std::move(folder)), patience_(patience) {}

  std::string name() const override { return "s3://" + folder_.bucket + '/' + folder_.key; }

  absl::Status Put(const std::string& key, std::string_view bytes, const std::stop_token& stop) override {
    return Ask({.method = "PUT", .key = key, .headers = {"Content-Type: application/octet-stream"}, .body = bytes}, stop)
        .status();
  }

  absl::StatusOr<std::string> Get(const std::string& key, int64_t size_max, const std::stop_token& stop) override {
    CD4ML_ASSIGN_OR_RETURN(S3Answer answer, Ask({.method = "GET", .key = key, .size_max = size_max}, stop));
    return std::move(answer.body);
  }

  absl::StatusOr<std::string> GetHead(const std::string& key, int64_t count, const std::stop_token& stop) override {
    const std::string range = "Range: bytes=0-" + std::to_string(count - 1);
    CD4ML_ASSIGN_OR_RETURN(
        S3Answer answer,
        Ask({.method = "GET", .key = key, .headers = {range}, .size_max = std::max(count, int64_t{64} << 10)}, stop));
    return answer.body.substr(0, static_cast<size_t>(count));
  }

  absl::StatusOr<ObjectFacts> Find(const std::string& key, const std::stop_token& stop) override {
    CD4ML_ASSIGN_OR_RETURN(S3Answer answer, Ask({.method = "HEAD", .key = key}, stop));
    curl_off_t size = -1;
    curl_easy_getinfo(curl_, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &size);
    if (size < 0) return absl::FailedPreconditionError(name() + key + ": the server does not say how large it is");
    const time_t modified = curl_getdate(answer.headers["last-modified"].c_str(), nullptr);
    return ObjectFacts{key, size, AgeAt(answer.headers, modified < 0 ? -1 : int64_t{modified} * 1000)};
  }

  absl::Status Copy(const std::string& from, const std::string& to, const std::stop_token& stop) override {
    S3Request request{.method = "PUT", .key = to};
    request.headers = {"Content-Type: application/octet-stream",
                       "x-amz-copy-source: /" + folder_.bucket + '/' + UrlEncode(folder_.key + from, /*keep_slashes=*/true),
                       "x-amz-metadata-directive: REPLACE"};
    CD4ML_ASSIGN_OR_RETURN(const S3Answer answer, Ask(request, stop));
    // S3 begins such an answer before it knows how it ends.
    const std::string error = ParseS3Error(answer.body);
    return error.empty() ? absl::OkStatus() : absl::UnavailableError(name() + to + ": it could not be copied, " + error);
  }

  absl::Status Remove(const std::string& key, const std::stop_token& stop) override {
    const absl::Status removed = Ask({.method = "DELETE", .key = key}, stop).status();
    return absl::IsNotFound(removed) ? absl::OkStatus() : removed;
  }

  absl::Status List(const std::string& prefix, const std::function<absl::Status(const ObjectFacts&)>& visit,
                    const std::stop_token& stop) override {
    std::string continuation;
    do {
      S3Request request{.method = "GET", .key = "", .size_max = kPageBytesMax};
      request.query = ListQuery(folder_.key + prefix, kPageKeysMax, continuation);
      CD4ML_ASSIGN_OR_RETURN(const S3Answer answer, Ask(request, stop));
      auto page = ParseListing(answer.body);
      if (!page.ok()) return Annotate(page.status(), name() + prefix);
      for (const S3Object& object : page->objects) {
        if (!object.key.starts_with(folder_.key + prefix)) {
          return absl::InternalError(name() + prefix + ": it lists what was not asked for");
        }
        CD4ML_RETURN_IF_ERROR(visit({object.key.substr(folder_.key.size()), object.size,
                                     AgeAt(answer.headers, object.modified.is_set() ? object.modified.ms : -1)}));
      }
      if (page->continuation == continuation && !continuation.empty()) {
        return absl::UnavailableError(name() + ": the server gives the same page of the listing for ever");
      }
      continuation = std::move(page->continuation);
    } while (!continuation.empty());
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<S3Answer> Ask(const S3Request& request, const std::stop_token& stop) {
    Duration wait = patience_.first_wait;
    for (int attempt = 1;; ++attempt, wait *= 4) {
      S3Answer answer{request.size_max, stop};
      const absl::Status status = AskOnce(request, answer);
      if (status.ok()) return answer;
      const bool is_last = attempt == patience_.attempts;
      if (absl::IsUnavailable(status) && !is_last && Pause(wait, stop)) continue;
      const std::string what = name() + (request.query.empty() ? request.key : "");
      if (!absl::IsUnavailable(status)) return Annotate(status, what);
      return absl::UnavailableError(what + ": " + Message(status) + " (attempt " + std::to_string(attempt) + " of " +
                                    std::to_string(patience_.attempts) + ")");
    }
  }

  absl::Status AskOnce(const S3Request& request, S3Answer& answer) {
    curl_easy_reset(curl_);  // Options only: connections stay.
    std::vector<std::string> headers = request.headers;
    std::string url = S3Url(s3_, {folder_.bucket, request.query.empty() ? folder_.key + request.key : ""});
    if (!request.query.empty()) url.back() = '?', url += request.query;
    const bool has_body = std::string_view(request.method) == "PUT";
    if (has_body && !s3_.access_key.empty()) headers.push_back("x-amz-content-sha256: " + Sha256(request.body).hex());
    SignS3(curl_, s3_, headers);
    curl_slist* list = nullptr;
    for (const std::string& header : headers) list = curl_slist_append(list, header.c_str());
    SetTransferOptions(curl_, patience_.silence_max);
    curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(curl_, CURLOPT_CUSTOMREQUEST, request.method);
    if (has_body) {
      curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, request.body.empty() ? "" : request.body.data());
      curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    }
    if (std::string_view(request.method) == "HEAD") curl_easy_setopt(curl_, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(curl_, CURLOPT_HEADERFUNCTION, &TakeAnswerHeader);
    curl_easy_setopt(curl_, CURLOPT_HEADERDATA, &answer);
    curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, &TakeAnswerBody);
    curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(curl_, CURLOPT_XFERINFOFUNCTION, &WatchAnswer);
    curl_easy_setopt(curl_, CURLOPT_XFERINFODATA, &answer);
    char error[CURL_ERROR_SIZE] = "";
    curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, error);
    const CURLcode code = curl_easy_perform(curl_);
    curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, nullptr);
    curl_slist_free_all(list);
    long status = 0;
    curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
    answer.status = static_cast<int>(status);
    if (code == CURLE_OK) return Judge(request, answer);
    if (answer.is_too_large) return absl::ResourceExhaustedError("it has more than " + FormatSize(answer.size_max));
    if (code == CURLE_ABORTED_BY_CALLBACK) return absl::CancelledError("cancelled");
    if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL) {
      return absl::InvalidArgumentError(curl_easy_strerror(code));
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
      return absl::UnavailableError("the server sent and took nothing for " + FormatDuration(patience_.silence_max));
    }
    const std::string why = error[0] == '\0' ? curl_easy_strerror(code) : error;
    return absl::UnavailableError(answer.headers.empty() ? why : "the server stopped in the middle (" + why + ")");
  }

  absl::Status Judge(const S3Request& request, const S3Answer& answer) const {
    if (answer.status >= 200 && answer.status <= 299) return JudgeSuccess(request, answer);
    const std::string text = ParseS3Error(answer.body);
    const std::string message = "the server answers " + std::to_string(answer.status) + (text.empty() ? "" : ", " + text);
    if (text.starts_with("NoSuchBucket")) return absl::FailedPreconditionError(message + "; make the bucket first");
    if (answer.status == 404) return absl::NotFoundError(message);
    if (answer.status == 401 || answer.status == 403) {
      return absl::PermissionDeniedError(
          message + " to " + request.method +
          AccessHint(text, "; check the credentials and that they may list, read, write and delete there"));
    }
    if (answer.status == 429 || answer.status >= 500) return absl::UnavailableError(message);
    return absl::FailedPreconditionError(message);
  }

  // Whoever stands in between may say 200, too.
  absl::Status JudgeSuccess(const S3Request& request, const S3Answer& answer) const {
    const auto type = answer.headers.find("content-type");
    if (type != answer.headers.end() && type->second.starts_with("text/html")) {
      return absl::UnavailableError("the server answers " + std::to_string(answer.status) +
                                    " with a page of HTML; is there a proxy in between?");
    }
    if (std::string_view(request.method) == "GET" && !HasEnd(curl_, answer.headers)) {
      return absl::UnavailableError("the server does not say how much it sends: nobody can tell whether all of it came");
    }
    return absl::OkStatus();
  }

  const S3Settings s3_;
  const S3Name folder_;
  const S3Patience patience_;
  const Handle curl_;
};

}  // namespace

absl::StatusOr<ObjectStoreOpener> MakeS3Folder(const S3Settings& s3, const std::string& url, const S3Patience& patience) {
  CD4ML_ASSIGN_OR_RETURN(S3Name folder, ParseS3Url(url));
  while (folder.key.ends_with('/')) folder.key.pop_back();
  if (!folder.key.empty()) folder.key += '/';
  return [=]() -> std::unique_ptr<ObjectStore> { return std::make_unique<S3Folder>(s3, folder, patience); };
}

}  // namespace cd4ml::http
