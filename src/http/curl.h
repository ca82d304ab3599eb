// What everything in this module shares.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "cd4ml/ports/http_client.h"

namespace cd4ml::http {

// Makes libcurl's global state before the first handle; it lives as long as the program.
void InitialiseOnce();

// Adds a line "Name: value" under the name in lower case; a repeated header means the same as one with a list.
void AddHeader(std::string_view line, std::map<std::string, std::string>& headers);

// INVALID_ARGUMENT: the method, URL or a header would not be one on the wire.
absl::Status CheckRequest(const HttpRequest& request);

}  // namespace cd4ml::http
