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

// `silence_max`: how long a server may send nothing.
std::unique_ptr<RemoteData> MakeRemoteData(const S3Settings& s3, Duration silence_max = Duration(60'000));

}  // namespace cd4ml::http
