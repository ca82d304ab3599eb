// Opens an HTTP client: how gates and deploys reach services.
#pragma once

#include <memory>

#include "cd4ml/ports/http_client.h"

namespace cd4ml::http {

std::unique_ptr<HttpClient> MakeHttpClient();

}  // namespace cd4ml::http
