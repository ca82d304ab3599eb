// The port HttpClient over libcurl: one easy handle, which keeps its connections between calls.
#include "cd4ml/ports/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>

#include "cd4ml/http/connect.h"
#include "http/curl.h"

namespace cd4ml::http {
namespace {

constexpr size_t kBodyMax = size_t{16} << 20;
constexpr size_t kHeadersMax = size_t{64} << 10;

// Receives one answer.
struct Answer {
  HttpResponse response;
  size_t header_bytes = 0;
  std::string refusal;  // Why the transfer was stopped by us.
};

size_t TakeBody(char* bytes, size_t, size_t size, void* user) {
  auto& answer = *static_cast<Answer*>(user);
  if (answer.response.body.size() + size > kBodyMax) {
    answer.refusal = "the answer is larger than 16 MiB";
    return 0;
  }
  answer.response.body.append(bytes, size);
  return size;
}

size_t TakeHeader(char* bytes, size_t, size_t size, void* user) {
  auto& answer = *static_cast<Answer*>(user);
  const std::string_view line(bytes, size);
  // A status line begins the headers anew: those before it belong to an interim answer (100
  // Continue).
  if (line.starts_with("HTTP/")) answer.response.headers.clear();
  answer.header_bytes += size;
  if (answer.header_bytes > kHeadersMax) {
    answer.refusal = "the answer has more than 64 KiB of headers";
    return 0;
  }
  AddHeader(line, answer.response.headers);
  return size;
}

class CurlHttpClient : public HttpClient {
 public:
  absl::StatusOr<HttpResponse> Send(const HttpRequest& request) override {
    if (const absl::Status checked = CheckRequest(request); !checked.ok()) return checked;
    curl_easy_reset(curl_);  // Options only: connections stay.
    Answer answer;
    SetLimits(request.timeout);
    SetRequest(request);
    curl_slist* headers = MakeHeaders(request);
    curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, &TakeBody);
    curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(curl_, CURLOPT_HEADERFUNCTION, &TakeHeader);
    curl_easy_setopt(curl_, CURLOPT_HEADERDATA, &answer);
    char error[CURL_ERROR_SIZE] = "";
    curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, error);
    const CURLcode code = curl_easy_perform(curl_);
    curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, nullptr);
    curl_slist_free_all(headers);
    // What libcurl says of a header line that is longer than it takes.
    if (code == CURLE_OUT_OF_MEMORY && answer.refusal.empty())
      answer.refusal = "the answer has more than 64 KiB of headers";
    if (code != CURLE_OK)
      return Failure(request, code, answer.refusal.empty() ? error : answer.refusal);

    long status = 0;
    curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
    answer.response.status = static_cast<int>(status);
    curl_easy_getinfo(curl_, CURLINFO_TOTAL_TIME, &answer.response.seconds);
    return std::move(answer.response);
  }

 private:
  void SetLimits(Duration timeout) {
    curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl_, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl_, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl_, CURLOPT_PROXY, "");
    curl_easy_setopt(curl_, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    curl_easy_setopt(curl_, CURLOPT_TCP_NODELAY, 1L);
    // Zero would mean "for ever" to libcurl.
    const long ms = static_cast<long>(std::clamp<int64_t>(timeout.count(), 1, 24LL * 3600 * 1000));
    curl_easy_setopt(curl_, CURLOPT_TIMEOUT_MS, ms);
    curl_easy_setopt(curl_, CURLOPT_CONNECTTIMEOUT_MS, ms);
  }

  void SetRequest(const HttpRequest& request) {
    curl_easy_setopt(curl_, CURLOPT_URL, request.url.c_str());
    if (request.method == "HEAD") {
      curl_easy_setopt(curl_, CURLOPT_NOBODY, 1L);
    } else if (!request.body.empty() || (request.method != "GET" && request.method != "DELETE")) {
      curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, request.body.data());
      curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE_LARGE,
                       static_cast<curl_off_t>(request.body.size()));
    }
    curl_easy_setopt(curl_, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }

  // libcurl would add a form's content type to a body, and wait a second for leave to send a large
  // one.
  static curl_slist* MakeHeaders(const HttpRequest& request) {
    curl_slist* list = curl_slist_append(nullptr, "Expect:");
    bool typed = false;
    for (const auto& [name, value] : request.headers) {
      // An empty value is written with ";": a bare ":" would remove the header.
      list = curl_slist_append(list, (value.empty() ? name + ";" : name + ": " + value).c_str());
      std::string lower = name;
      std::transform(lower.begin(), lower.end(), lower.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      typed = typed || lower == "content-type";
    }
    return typed ? list : curl_slist_append(list, "Content-Type:");
  }

  static absl::Status Failure(const HttpRequest& request, CURLcode code, std::string why) {
    if (why.empty()) why = curl_easy_strerror(code);
    const std::string message = request.method + " " + request.url + ": " + why;
    switch (code) {
      case CURLE_OPERATION_TIMEDOUT:
        return absl::DeadlineExceededError(request.method + " " + request.url +
                                           ": no answer within " + FormatDuration(request.timeout));
      case CURLE_URL_MALFORMAT:
      case CURLE_UNSUPPORTED_PROTOCOL:
        return absl::InvalidArgumentError(message);
      case CURLE_WRITE_ERROR:
      case CURLE_OUT_OF_MEMORY:
        return absl::OutOfRangeError(message);
      default:
        return absl::UnavailableError(message);
    }
  }

  const Handle curl_;
};

}  // namespace

std::unique_ptr<HttpClient> MakeHttpClient() { return std::make_unique<CurlHttpClient>(); }

}  // namespace cd4ml::http
