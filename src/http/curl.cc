// What everything over libcurl shares.
#include "http/curl.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>

#include "cd4ml/base/check.h"

namespace cd4ml::http {
namespace {

std::string Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1));
}

}  // namespace

void InitialiseOnce() {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  CD4ML_CHECK(initialised == CURLE_OK, "libcurl cannot be initialised");
}

void AddHeader(std::string_view line, std::map<std::string, std::string>& headers) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || line.starts_with("HTTP/")) return;
  std::string name = Trim(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  std::string& value = headers[name];
  value += (value.empty() ? "" : ", ") + Trim(line.substr(colon + 1));
}

}  // namespace cd4ml::http
