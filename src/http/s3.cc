// The little of XML and URLs that S3 needs. Names in a listing are asked for URL-encoded, so that any key survives XML.
#include "http/s3.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <optional>
#include <utility>

#include "cd4ml/base/ini.h"
#include "cd4ml/base/status.h"

namespace cd4ml::http {
namespace {

// Returns what stands between the next <tag> and </tag> of `xml` and cuts it off; nullopt when there is none.
std::optional<std::string_view> TakeElement(std::string_view& xml, std::string_view tag) {
  const std::string open = "<" + std::string(tag) + ">", close = "</" + std::string(tag) + ">";
  const size_t begin = xml.find(open);
  if (begin == std::string_view::npos) return std::nullopt;
  const size_t end = xml.find(close, begin);
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view content = xml.substr(begin + open.size(), end - begin - open.size());
  xml.remove_prefix(end + close.size());
  return content;
}

void AppendUtf8(uint32_t letter, std::string& text) {
  const auto tail = [&](int shift) { text.push_back(static_cast<char>(0x80 | ((letter >> shift) & 0x3F))); };
  if (letter < 0x80) return text.push_back(static_cast<char>(letter));
  if (letter < 0x800) {
    text.push_back(static_cast<char>(0xC0 | (letter >> 6)));
  } else if (letter < 0x10000) {
    text.push_back(static_cast<char>(0xE0 | (letter >> 12)));
    tail(6);
  } else {
    text.push_back(static_cast<char>(0xF0 | (letter >> 18)));
    tail(12), tail(6);
  }
  tail(0);
}

// Appends the letter that `xml` begins with as its number, &#27; or &#x1B;, and returns its size there; 0 when there is none.
size_t TakeNumber(std::string_view xml, std::string& text) {
  if (!xml.starts_with("&#")) return 0;
  const bool is_hex = xml.size() > 2 && (xml[2] == 'x' || xml[2] == 'X');
  const char* begin = xml.data() + (is_hex ? 3 : 2);
  uint32_t letter = 0;
  const auto [end, error] = std::from_chars(begin, xml.data() + xml.size(), letter, is_hex ? 16 : 10);
  const bool is_letter = letter <= 0x10FFFF && (letter < 0xD800 || letter > 0xDFFF);
  if (error != std::errc() || end == xml.data() + xml.size() || *end != ';' || !is_letter) return 0;
  AppendUtf8(letter, text);
  return static_cast<size_t>(end - xml.data()) + 1;
}

std::string Unescape(std::string_view xml) {
  static constexpr std::pair<std::string_view, char> kEntities[] = {
      {"&quot;", '"'}, {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&apos;", '\''}};
  std::string text;
  while (!xml.empty()) {
    if (const size_t size = TakeNumber(xml, text); size > 0) {
      xml.remove_prefix(size);
      continue;
    }
    const auto* entity = std::find_if(std::begin(kEntities), std::end(kEntities),
                                      [&](const auto& known) { return xml.starts_with(known.first); });
    const bool is_known = entity != std::end(kEntities);
    text.push_back(is_known ? entity->second : xml.front());
    xml.remove_prefix(is_known ? entity->first.size() : 1);
  }
  return text;
}

std::string TextOf(std::string_view xml, std::string_view tag) {
  const auto content = TakeElement(xml, tag);
  return content ? Unescape(*content) : "";
}

std::optional<std::string> UrlDecode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      decoded.push_back(' ');
    } else if (text[i] != '%') {
      decoded.push_back(text[i]);
    } else {
      unsigned byte = 0;
      const std::string_view digits = text.substr(i + 1, 2);
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
      if (digits.size() != 2 || error != std::errc() || end != digits.data() + 2) return std::nullopt;
      decoded.push_back(static_cast<char>(byte));
      i += 2;
    }
  }
  return decoded;
}

}  // namespace

absl::StatusOr<S3Name> ParseS3Url(std::string_view url) {
  S3Name name;
  std::string_view rest = url.substr(std::min<size_t>(url.size(), 5));
  name.bucket = rest.substr(0, rest.find('/'));
  if (name.bucket.size() < rest.size()) name.key = rest.substr(name.bucket.size() + 1);
  const bool is_bucket = !name.bucket.empty() && std::all_of(name.bucket.begin(), name.bucket.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '-' || c == '_';
  });
  if (!url.starts_with("s3://") || !is_bucket || name.key.size() > 1024) {
    return absl::InvalidArgumentError("\"" + std::string(url) + "\" is no s3://BUCKET/KEY");
  }
  return name;
}

std::string UrlEncode(std::string_view text, bool keep_slashes) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || c == '-' || c == '.' || c == '_' || c == '~' || (keep_slashes && c == '/')) {
      encoded.push_back(c);
    } else {
      encoded += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return encoded;
}

std::string S3Url(const S3Settings& s3, const S3Name& name) {
  std::string endpoint = s3.endpoint;
  if (endpoint.empty()) endpoint = "https://s3." + s3.region + ".amazonaws.com";
  while (endpoint.ends_with('/')) endpoint.pop_back();
  return endpoint + '/' + name.bucket + '/' + UrlEncode(name.key, /*keep_slashes=*/true);
}

std::string ListQuery(const std::string& prefix, int count_max, const std::string& continuation) {
  std::string query;
  if (!continuation.empty()) query = "continuation-token=" + UrlEncode(continuation, false) + "&";
  return query + "encoding-type=url&list-type=2&max-keys=" + std::to_string(count_max) +
         "&prefix=" + UrlEncode(prefix, false);
}

absl::StatusOr<S3Page> ParseListing(std::string_view xml) {
  const auto refuse = [](std::string_view what) {
    return absl::InternalError("the listing makes no sense: " + std::string(what));
  };
  if (xml.find("</ListBucketResult>") == std::string_view::npos) return refuse("it has no end");
  S3Page page;
  // Some servers pass over what was asked for.
  const bool is_encoded = TextOf(xml, "EncodingType") == "url";
  const bool has_more = TextOf(xml, "IsTruncated") == "true";
  page.continuation = TextOf(xml, "NextContinuationToken");
  if (has_more == page.continuation.empty()) return refuse("whether there is more");
  while (const auto content = TakeElement(xml, "Contents")) {
    S3Object& object = page.objects.emplace_back();
    std::optional<std::string> key = TextOf(*content, "Key");
    if (is_encoded) key = UrlDecode(*key);
    if (!key || key->empty()) return refuse("an object without a key");
    object.key = *std::move(key);
    object.etag = TextOf(*content, "ETag");
    object.modified = ParseTime(TextOf(*content, "LastModified")).value_or(UtcTime());
    const std::string size = TextOf(*content, "Size");
    const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), object.size);
    if (error != std::errc() || end != size.data() + size.size() || object.size < 0) {
      return refuse("the size of an object is \"" + size + '"');
    }
  }
  return page;
}

std::string ParseS3Error(std::string_view xml) {
  if (xml.find("<Error>") == std::string_view::npos) return "";
  return TextOf(xml, "Code") + ": " + TextOf(xml, "Message");
}

S3Settings ReadS3Settings(const std::function<std::string(const std::string&)>& get, std::string_view file) {
  const auto first_of = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (std::string value = get(name); !value.empty()) return value;
    }
    return std::string();
  };
  S3Settings s3;
  s3.endpoint = first_of({"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"});
  if (const std::string region = first_of({"AWS_REGION", "AWS_DEFAULT_REGION"}); !region.empty()) s3.region = region;
  s3.access_key = get("AWS_ACCESS_KEY_ID");
  s3.secret_key = get("AWS_SECRET_ACCESS_KEY");
  s3.session_token = get("AWS_SESSION_TOKEN");
  if (!s3.access_key.empty()) return s3;
  auto sections = ParseIni(file);
  const std::string profile = first_of({"AWS_PROFILE"});
  IniSection& section = sections[profile.empty() ? "default" : profile];
  s3.access_key = section["aws_access_key_id"];
  s3.secret_key = section["aws_secret_access_key"];
  s3.session_token = section["aws_session_token"];
  return s3;
}

}  // namespace cd4ml::http
