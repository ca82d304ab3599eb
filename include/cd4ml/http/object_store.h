// Opens a folder of a bucket of S3.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cd4ml/http/remote_data.h"
#include "cd4ml/ports/object_store.h"

namespace cd4ml::http {

// `url` is "s3://bucket" or "s3://bucket/prefix". INVALID_ARGUMENT: it is neither. Nobody is asked yet.
absl::StatusOr<ObjectStoreOpener> MakeS3Folder(const S3Settings& s3, const std::string& url, const S3Patience& patience = {});

}  // namespace cd4ml::http
