// What S3 says and wants to hear, as text: no network here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/http/remote_data.h"

namespace cd4ml::http {

struct S3Name {
  std::string bucket, key;
};
// Takes "s3://bucket/key" apart; the key may be empty.
absl::StatusOr<S3Name> ParseS3Url(std::string_view url);

// Returns `text` with every byte but unreserved ones as %XX; a slash stays when `keep_slashes`.
std::string UrlEncode(std::string_view text, bool keep_slashes);

// Returns the URL of an object ("" key: of the bucket), path style.
std::string S3Url(const S3Settings& s3, const S3Name& name);

// Returns the canonical query of one page of a listing: sorted by name, as signing needs it.
std::string ListQuery(const std::string& prefix, int count_max, const std::string& continuation);

struct S3Object {
  std::string key, etag;
  int64_t size = 0;
  UtcTime modified;             // Not set: the server does not say.
};
struct S3Page {
  std::vector<S3Object> objects;
  std::string continuation;     // Empty: this was the last page.
};
absl::StatusOr<S3Page> ParseListing(std::string_view xml);

// Returns "NoSuchKey: The specified key does not exist.", or "" when `xml` is no such answer.
std::string ParseS3Error(std::string_view xml);

}  // namespace cd4ml::http
