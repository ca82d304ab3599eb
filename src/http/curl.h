// What everything in this module shares.
#pragma once

#include <map>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "cd4ml/http/remote_data.h"
#include "cd4ml/ports/http_client.h"

namespace cd4ml::http {

// Makes libcurl's global state before the first handle; it lives as long as the program.
void InitialiseOnce();

// A handle of libcurl with its connections. Used by one thread at a time.
class Handle {
 public:
  Handle();
  ~Handle();
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator void*() const { return curl_; }

 private:
  void* const curl_;
};

// Adds a line "Name: value" under the name in lower case; a repeated header means the same as one with a list.
void AddHeader(std::string_view line, std::map<std::string, std::string>& headers);

// Says whether the end of the answer that came can be told from a broken connection.
bool HasEnd(void* curl, const std::map<std::string, std::string>& headers);

// Waits before the next attempt; returns false when it was told to stop.
bool Pause(Duration span, const std::stop_token& stop);

// Says what to do about an answer 401 or 403, whose text is `error`.
std::string AccessHint(std::string_view error, std::string_view otherwise);

// INVALID_ARGUMENT: the method, URL or a header would not be one on the wire.
absl::Status CheckRequest(const HttpRequest& request);

// Has the request of a handle of libcurl signed, when there is a key, with what `headers` say too.
void SignS3(void* curl, const S3Settings& s3, std::vector<std::string>& headers);

// Sets what holds for every transfer of data: no surprise from the environment, and no waiting for a silent server.
void SetTransferOptions(void* curl, Duration silence_max);

}  // namespace cd4ml::http
