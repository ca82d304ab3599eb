// Opens an HTTP client: how gates and deploys reach services.
#pragma once

#include <memory>

#include "cd4ml/ports/clock.h"
#include "cd4ml/ports/http_client.h"

namespace cd4ml::http {

std::unique_ptr<HttpClient> MakeHttpClient();

// One for measuring plain http:// URLs: it takes hardly more of the machine than the kernel does for it.
std::unique_ptr<HttpClient> MakeLoadClient(const Clock& clock);

}  // namespace cd4ml::http
