// The port RemoteData over libcurl: plain downloads, and S3 with its signatures (version 4).
#include "cd4ml/http/remote_data.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "cd4ml/base/digest.h"
#include "cd4ml/base/status.h"
#include "http/curl.h"
#include "http/s3.h"

namespace cd4ml::http {
namespace {

constexpr long kRedirectsMax = 5;
constexpr size_t kHeadersMax = size_t{64} << 10;
constexpr char kLongHeaders[] = "the answer has more than 64 KiB of headers";
constexpr size_t kErrorTextMax = size_t{4} << 10;
constexpr int64_t kListingMax = int64_t{16} << 20;
constexpr int kPageObjectsMax = 1'000;

// A moment of the server's own clock that is this much earlier than its answer cannot come again.
constexpr time_t kModifiedAge = 60;

// Stamps of what was found after redirects begin with this many bytes that tell where.
constexpr std::string_view kElsewhere = "at ";
constexpr size_t kPlaceSize = kElsewhere.size() + 64 + 1;

// Returns the name of a part of the query that stands for what only its owner may know, or "".
std::string SecretIn(std::string_view url) {
  constexpr std::array<std::string_view, 10> kEndings = {"token",  "secret",   "signature",  "password",  "passwd",
                                                         "pwd",    "apikey",   "credential", "accesskey", "accesskeyid"};
  url = url.substr(0, url.find('#'));
  size_t at = url.find('?');
  while (at != std::string_view::npos) {
    url.remove_prefix(at + 1);
    const std::string_view name = url.substr(0, url.find_first_of("=&;"));
    std::string plain;
    for (const unsigned char c : name) {
      if (std::isalnum(c)) plain.push_back(static_cast<char>(std::tolower(c)));
    }
    const bool is_secret = plain == "sig" || std::any_of(kEndings.begin(), kEndings.end(), [&](std::string_view ending) {
      return plain.ends_with(ending);
    });
    if (is_secret) return std::string(name);
    at = url.find_first_of("&;");
  }
  return "";
}

// Credentials belong to the daemon; a URL that carries some would show them in every message and in the record.
absl::Status CheckUrl(const std::string& url) {
  if (std::any_of(url.begin(), url.end(), [](unsigned char c) { return c <= ' ' || c == 0x7F; })) {
    return absl::InvalidArgumentError("a URL has no spaces and no control characters: write %20");
  }
  const size_t host = url.find("://") + 3;
  if (url.substr(host, url.find_first_of("/?#", host) - host).find('@') != std::string::npos) {
    return absl::InvalidArgumentError("a URL must not hold a user or a password");
  }
  if (const std::string name = SecretIn(url); !name.empty()) {
    return absl::InvalidArgumentError("a URL must not hold a secret, such as `" + name + "` in its query; use s3:// with the "
                                      "daemon's credentials, or an address that needs none");
  }
  return absl::OkStatus();
}

// One answer on its way in.
struct Transfer {
  const RemoteSink& sink;
  int64_t size_max;
  const std::stop_token& stop;
  CURL* curl;

  std::map<std::string, std::string> headers = {};   // Of the last answer; names in lower case.
  size_t header_bytes = 0;
  int64_t received = 0;
  bool is_conditional = false;      // What is known was named: it may still hold.
  std::string error_text = {};      // The body of an answer that is none.
  absl::Status refused = {};        // Why we stopped it.

  int status() const {
    long code = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    return static_cast<int>(code);
  }
  std::string Header(const char* name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

size_t TakeHeader(char* bytes, size_t, size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const std::string_view line(bytes, size);
  if (line.starts_with("HTTP/")) transfer.headers.clear();
  transfer.header_bytes += size;
  if (transfer.header_bytes > kHeadersMax) {
    transfer.refused = absl::ResourceExhaustedError(kLongHeaders);
    return 0;
  }
  AddHeader(line, transfer.headers);
  return size;
}

// Says whether an answer is the object: others of this class have none, or a part of it.
bool IsObject(int status) { return status == 200 || status == 203; }

size_t TakeBody(char* bytes, size_t, size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (!IsObject(transfer.status())) {
    transfer.error_text.append(bytes, std::min(size, kErrorTextMax - transfer.error_text.size()));
    return size;
  }
  transfer.received += static_cast<int64_t>(size);
  curl_off_t announced = -1;
  curl_easy_getinfo(transfer.curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
  if (std::max<int64_t>(transfer.received, announced) > transfer.size_max) {
    transfer.refused = absl::ResourceExhaustedError("it has more than " + FormatSize(transfer.size_max));
    return 0;
  }
  transfer.refused = transfer.sink({bytes, size});
  return transfer.refused.ok() ? size : 0;
}

int Progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Transfer*>(user)->stop.stop_requested() ? 1 : 0;
}

// Returns the beginning of a stamp: "", or after redirects what tells the place that answered, because an ETag says nothing
// about another one. Only a digest: a place that one is sent to may have a secret in its query.
std::string PlaceOf(const Transfer& transfer) {
  long redirects = 0;
  char* url = nullptr;
  curl_easy_getinfo(transfer.curl, CURLINFO_REDIRECT_COUNT, &redirects);
  curl_easy_getinfo(transfer.curl, CURLINFO_EFFECTIVE_URL, &url);
  return redirects == 0 || url == nullptr ? "" : std::string(kElsewhere) + Sha256(url).hex() + ' ';
}

// Returns what tells whether the object is the same the next time, or "".
std::string StampOf(const Transfer& transfer) {
  const std::string etag = transfer.Header("etag");
  // A weak one promises the same meaning, not the same bytes.
  if (etag.starts_with('"')) return PlaceOf(transfer) + "etag " + etag;
  const std::string modified = transfer.Header("last-modified");
  const time_t then = curl_getdate(modified.c_str(), nullptr);
  const time_t now = curl_getdate(transfer.Header("date").c_str(), nullptr);
  return then > 0 && now - then >= kModifiedAge ? PlaceOf(transfer) + "modified " + modified : "";
}

class CurlRemoteData final : public RemoteData {
 public:
  CurlRemoteData(S3Settings s3, S3Patience patience) : s3_(std::move(s3)), patience_(patience) {}

  absl::StatusOr<std::vector<RemoteObject>> List(const RemotePlace& place, int64_t count_max,
                                                 const std::stop_token& stop) override {
    CD4ML_ASSIGN_OR_RETURN(S3Name name, ParseS3Url(place.url));
    if (!name.key.empty() && !name.key.ends_with('/')) {
      // Names are sorted by their bytes: if the key itself is there, it comes first.
      CD4ML_ASSIGN_OR_RETURN(const S3Page page, ListPage(place, name, 1, "", stop));
      if (!page.objects.empty() && page.objects.front().key == name.key) {
        return std::vector<RemoteObject>{{"", page.objects.front().size, StampOf(page.objects.front())}};
      }
      name.key += '/';
    }
    std::vector<RemoteObject> objects;
    std::string continuation;
    do {
      CD4ML_ASSIGN_OR_RETURN(S3Page page, ListPage(place, name, kPageObjectsMax, continuation, stop));
      for (S3Object& object : page.objects) {
        // What consoles make when someone clicks "new folder".
        if (object.key.ends_with('/') && object.size == 0) continue;
        if (object.key == name.key) {
          return absl::InvalidArgumentError(place.url + ": the object \"" + object.key + "\" has " + FormatSize(object.size) +
                                            ", and a file's name does not end in a slash; copy it to another key");
        }
        if (!object.key.starts_with(name.key)) return Annotate(absl::InternalError("it lists what was not asked for"), place.url);
        objects.push_back({object.key.substr(name.key.size()), object.size, StampOf(object)});
      }
      if (static_cast<int64_t>(objects.size()) > count_max) {
        return absl::ResourceExhaustedError(place.url + " holds more than " + std::to_string(count_max) + " objects");
      }
      if (page.continuation == continuation && !continuation.empty()) {
        return absl::UnavailableError(place.url + ": the server gives the same page of the listing for ever");
      }
      continuation = std::move(page.continuation);
    } while (!continuation.empty());
    std::sort(objects.begin(), objects.end(),
              [](const RemoteObject& a, const RemoteObject& b) { return a.path < b.path; });
    return objects;
  }

  absl::StatusOr<RemoteAnswer> Read(const RemotePlace& place, const std::string& known_stamp, int64_t size_max,
                                    const RemoteSink& sink, const std::stop_token& stop) override {
    CD4ML_ASSIGN_OR_RETURN(RemoteAnswer answer, Ask(place, known_stamp, size_max, sink, stop));
    // Redirects lead elsewhere by now, and what is unchanged there is not what is known.
    if (answer.unchanged && answer.stamp != known_stamp) return Ask(place, "", size_max, sink, stop);
    return answer;
  }

 private:
  absl::StatusOr<RemoteAnswer> Ask(const RemotePlace& place, const std::string& known_stamp, int64_t size_max,
                                   const RemoteSink& sink, const std::stop_token& stop) {
    const size_t begin = known_stamp.starts_with(kElsewhere) ? std::min(kPlaceSize, known_stamp.size()) : 0;
    const std::string known = known_stamp.substr(begin);
    std::vector<std::string> headers;
    if (known.starts_with("etag ")) headers.push_back("If-None-Match: " + known.substr(5));
    if (known.starts_with("modified ")) headers.push_back("If-Modified-Since: " + known.substr(9));
    Transfer transfer{sink, size_max, stop, curl_};
    transfer.is_conditional = !headers.empty();
    CD4ML_RETURN_IF_ERROR(Perform(place, "", std::move(headers), transfer));
    if (transfer.status() == 304) return RemoteAnswer{.unchanged = true, .stamp = PlaceOf(transfer) + known, .size = 0};
    return RemoteAnswer{.unchanged = false, .stamp = StampOf(transfer), .size = transfer.received};
  }

  static std::string StampOf(const S3Object& object) { return object.etag.empty() ? "" : "etag " + object.etag; }
  static std::string StampOf(const Transfer& transfer) { return http::StampOf(transfer); }

  absl::StatusOr<S3Page> ListPage(const RemotePlace& place, const S3Name& name, int count_max,
                                  const std::string& continuation, const std::stop_token& stop) {
    std::string xml;
    const RemoteSink sink = [&xml](std::string_view piece) {
      xml += piece;
      return absl::OkStatus();
    };
    Transfer transfer{sink, kListingMax, stop, curl_};
    CD4ML_RETURN_IF_ERROR(Perform(place, ListQuery(name.key, count_max, continuation), {}, transfer));
    auto page = ParseListing(xml);
    return page.ok() ? std::move(page) : Annotate(page.status(), place.url);
  }

  // Asks for the object, or with a query for a listing of its bucket.
  absl::Status Perform(const RemotePlace& place, const std::string& query, const std::vector<std::string>& headers,
                       Transfer& transfer) {
    Duration wait = patience_.first_wait;
    for (int attempt = 1;; ++attempt, wait *= 4) {
      const absl::Status status = PerformOnce(place, query, headers, transfer);
      // What the sink has taken cannot be taken back.
      const bool may_pass = absl::IsUnavailable(status) && transfer.received == 0 && place.url.starts_with("s3://");
      if (!may_pass || attempt == patience_.attempts || !Pause(wait, transfer.stop)) return status;
    }
  }

  absl::Status PerformOnce(const RemotePlace& place, const std::string& query, std::vector<std::string> headers,
                           Transfer& transfer) {
    transfer.headers.clear();
    transfer.header_bytes = 0;
    transfer.error_text.clear();
    curl_easy_reset(curl_);  // Options only: connections stay.
    std::string url = place.url;
    if (url.starts_with("s3://")) {
      S3Settings s3 = s3_;
      if (!place.endpoint.empty()) s3.endpoint = place.endpoint;
      if (!place.region.empty()) s3.region = place.region;
      CD4ML_ASSIGN_OR_RETURN(S3Name name, ParseS3Url(url));
      if (!query.empty()) name.key.clear();
      url = S3Url(s3, name);
      if (!query.empty()) url.back() = '?', url += query;
      SignS3(curl_, s3, headers);
    } else {
      CD4ML_RETURN_IF_ERROR(CheckUrl(place.url));
      curl_easy_setopt(curl_, CURLOPT_FOLLOWLOCATION, 1L);
      curl_easy_setopt(curl_, CURLOPT_MAXREDIRS, kRedirectsMax);
      curl_easy_setopt(curl_, CURLOPT_REDIR_PROTOCOLS_STR, url.starts_with("https://") ? "https" : "http,https");
    }
    curl_slist* list = nullptr;
    for (const std::string& header : headers) list = curl_slist_append(list, header.c_str());
    char error[CURL_ERROR_SIZE] = "";
    SetOptions(url, list, error, transfer);
    const CURLcode code = curl_easy_perform(curl_);
    curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, nullptr);
    curl_slist_free_all(list);
    return Annotate(Outcome(code, error, transfer), place.url);
  }

  void SetOptions(const std::string& url, curl_slist* headers, char* error, Transfer& transfer) {
    curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
    SetTransferOptions(curl_, patience_.silence_max);
    curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl_, CURLOPT_HEADERFUNCTION, &TakeHeader);
    curl_easy_setopt(curl_, CURLOPT_HEADERDATA, &transfer);
    curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, &TakeBody);
    curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(curl_, CURLOPT_XFERINFOFUNCTION, &Progress);
    curl_easy_setopt(curl_, CURLOPT_XFERINFODATA, &transfer);
    curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, error);
  }

  absl::Status Outcome(CURLcode code, const std::string& error, const Transfer& transfer) const {
    if (!transfer.refused.ok()) return transfer.refused;
    const std::string why = error.empty() ? curl_easy_strerror(code) : error;
    switch (code) {
      case CURLE_OK:
        return OutcomeOf(transfer);
      case CURLE_ABORTED_BY_CALLBACK:
        return absl::CancelledError("cancelled while it was read");
      case CURLE_TOO_MANY_REDIRECTS:
        return absl::FailedPreconditionError("it is redirected more than " + std::to_string(kRedirectsMax) + " times");
      case CURLE_URL_MALFORMAT:
      case CURLE_UNSUPPORTED_PROTOCOL:
        return absl::InvalidArgumentError(why);
      case CURLE_OUT_OF_MEMORY:
        // What libcurl says of a header line that is longer than it takes.
        return absl::ResourceExhaustedError(kLongHeaders);
      case CURLE_OPERATION_TIMEDOUT:
        return absl::UnavailableError("the server sent nothing for " + FormatDuration(patience_.silence_max) + " after " +
                                      FormatSize(transfer.received) + "; start the run again");
      default:
        if (transfer.headers.empty()) return absl::UnavailableError(why);
        return absl::UnavailableError("the server stopped after " + FormatSize(transfer.received) + " (" + why +
                                      "); nothing of it was kept, start the run again");
    }
  }

  static absl::Status OutcomeOf(const Transfer& transfer) {
    const int status = transfer.status();
    if (IsObject(status) && !HasEnd(transfer.curl, transfer.headers)) {
      return absl::FailedPreconditionError(
          "the server neither says how much it sends nor sends it in chunks: nobody can tell whether all of it came");
    }
    if (IsObject(status) || (status == 304 && transfer.is_conditional)) return absl::OkStatus();
    if (status == 304) {
      return absl::FailedPreconditionError("the server answers 304, not modified, though nothing is known of it here");
    }
    const std::string text = ParseS3Error(transfer.error_text);
    const std::string message = "the server answers " + std::to_string(status) + (text.empty() ? "" : ", " + text);
    if (status == 404 || status == 410) return absl::NotFoundError(message);
    if (status == 401 || status == 403) {
      return absl::PermissionDeniedError(message + AccessHint(text, "; check the daemon's credentials"));
    }
    if (status == 429 || status >= 500) return absl::UnavailableError(message + "; start the run again");
    return absl::FailedPreconditionError(message);
  }

  const S3Settings s3_;
  const S3Patience patience_;
  const Handle curl_;
};

}  // namespace

std::unique_ptr<RemoteData> MakeRemoteData(const S3Settings& s3, const S3Patience& patience) {
  return std::make_unique<CurlRemoteData>(s3, patience);
}

}  // namespace cd4ml::http
