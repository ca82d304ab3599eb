// Opens data behind http://, https:// and s3:// URLs.
#pragma once

#include <memory>
#include <string>

#include "cd4ml/base/time.h"
#include "cd4ml/ports/remote_data.h"

namespace cd4ml::http {

// How objects of s3:// URLs are reached. Without an access key requests are not signed: public buckets.
struct S3Settings {
  std::string endpoint;             // "https://host:port"; empty: AWS in the region.
  std::string region = "us-east-1";
  std::string access_key, secret_key, session_token;
};

// Takes what the usual variables and the usual file of credentials say; `get` reads a variable.
//
// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, else the section AWS_PROFILE (default) of `file`;
// AWS_REGION or AWS_DEFAULT_REGION; AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL.
S3Settings ReadS3Settings(const std::function<std::string(const std::string&)>& get, std::string_view file);

// How patient one is with a server.
struct S3Patience {
  Duration silence_max{30'000};       // It may send nothing for so long.
  int attempts = 4;
  Duration first_wait{200};           // Before the second attempt; four times as long before each later one.
};

// Of s3:// what was not begun is tried again; other servers are asked once.
std::unique_ptr<RemoteData> MakeRemoteData(const S3Settings& s3, const S3Patience& patience = {.silence_max = Duration(60'000)});

}  // namespace cd4ml::http
