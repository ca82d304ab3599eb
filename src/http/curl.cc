// What everything in this module shares.
#include "http/curl.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <condition_variable>
#include <mutex>

#include "cd4ml/base/check.h"

namespace cd4ml::http {
namespace {

std::string Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1));
}

bool HasControlCharacter(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](unsigned char c) { return c < 0x20 && c != '\t'; });
}

}  // namespace

void InitialiseOnce() {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  CD4ML_CHECK(initialised == CURLE_OK, "libcurl cannot be initialised");
}

Handle::Handle() : curl_((InitialiseOnce(), curl_easy_init())) { CD4ML_CHECK(curl_ != nullptr, "out of memory"); }

Handle::~Handle() { curl_easy_cleanup(curl_); }

void AddHeader(std::string_view line, std::map<std::string, std::string>& headers) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || line.starts_with("HTTP/")) return;
  std::string name = Trim(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  std::string& value = headers[name];
  value += (value.empty() ? "" : ", ") + Trim(line.substr(colon + 1));
}

bool HasEnd(void* curl, const std::map<std::string, std::string>& headers) {
  long version = 0;
  curl_easy_getinfo(curl, CURLINFO_HTTP_VERSION, &version);
  const auto coding = headers.find("transfer-encoding");
  return version >= CURL_HTTP_VERSION_2_0 || headers.contains("content-length") ||
         (coding != headers.end() && coding->second.find("chunked") != std::string::npos);
}

bool Pause(Duration span, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, span, [] { return false; });
  return !stop.stop_requested();
}

std::string AccessHint(std::string_view error, std::string_view otherwise) {
  return error.starts_with("RequestTimeTooSkewed") ? "; set the clock of the daemon's machine" : std::string(otherwise);
}

absl::Status CheckRequest(const HttpRequest& request) {
  if (request.method.empty() || !std::all_of(request.method.begin(), request.method.end(),
                                             [](unsigned char c) { return std::isupper(c); })) {
    return absl::InvalidArgumentError("\"" + request.method + "\" is no HTTP method");
  }
  if (HasControlCharacter(request.url))
    return absl::InvalidArgumentError("the URL holds a control character");
  for (const auto& [name, value] : request.headers) {
    if (name.empty() || HasControlCharacter(name) || HasControlCharacter(value) ||
        name.find_first_of(": \t") != std::string::npos) {
      return absl::InvalidArgumentError("the header \"" + name + "\" is malformed");
    }
  }
  return absl::OkStatus();
}

void SignS3(void* curl, const S3Settings& s3, std::vector<std::string>& headers) {
  if (s3.access_key.empty()) return;
  curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, ("aws:amz:" + s3.region + ":s3").c_str());
  curl_easy_setopt(curl, CURLOPT_USERNAME, s3.access_key.c_str());
  curl_easy_setopt(curl, CURLOPT_PASSWORD, s3.secret_key.c_str());
  if (!s3.session_token.empty()) headers.push_back("x-amz-security-token: " + s3.session_token);
}

void SetTransferOptions(void* curl, Duration silence_max) {
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
  // The path is what was signed: libcurl must not squash dots in it.
  curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
  const long seconds = std::max<long>(1, static_cast<long>(silence_max.count() / 1000));
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, seconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, seconds);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

}  // namespace cd4ml::http
