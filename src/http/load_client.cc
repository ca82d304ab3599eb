// The port HttpClient for measuring: HTTP/1.1 over one socket, so that what is measured is the service and not the client.
//
// libcurl spends several times as long on a request as the kernel does, and takes that time from a service on the same
// machine. This client does what it must: it keeps its connection, reads what any server may send, and bounds all of it.
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "cd4ml/base/status.h"
#include "cd4ml/http/connect.h"
#include "http/curl.h"

namespace cd4ml::http {
namespace {

constexpr size_t kBodyMax = size_t{16} << 20;
constexpr size_t kHeadersMax = size_t{64} << 10;
constexpr timeval kLook{0, 100'000};  // How often it is looked whether the time is over.

class LoadClient : public HttpClient {
 public:
  explicit LoadClient(const Clock& clock) : clock_(clock) {}
  ~LoadClient() override { Close(); }
  LoadClient(const LoadClient&) = delete;
  LoadClient& operator=(const LoadClient&) = delete;

  absl::StatusOr<HttpResponse> Send(const HttpRequest& request) override {
    const int64_t start = clock_.Ticks();
    deadline_ = clock_.Steady() + request.timeout;
    absl::StatusOr<HttpResponse> response = Exchange(request);
    if (response.ok()) {
      response->seconds = static_cast<double>(clock_.Ticks() - start) / 1e9;
      return response;
    }
    Close();
    if (absl::IsDeadlineExceeded(response.status())) {
      return absl::DeadlineExceededError(request.method + " " + request.url + ": no answer within " +
                                         FormatDuration(request.timeout));
    }
    return Annotate(response.status(), request.method + " " + request.url);
  }

 private:
  absl::StatusOr<HttpResponse> Exchange(const HttpRequest& request) {
    CD4ML_RETURN_IF_ERROR(CheckRequest(request));
    if (!request.url.starts_with("http://") || request.url.size() == 7) {
      return absl::InvalidArgumentError("only http:// can be measured");
    }
    const size_t slash = std::min(request.url.find('/', 7), request.url.size());
    const std::string authority = request.url.substr(7, slash - 7);
    const bool is_kept = fd_ >= 0 && authority == authority_;
    if (!is_kept) CD4ML_RETURN_IF_ERROR(Connect(authority));
    std::string text = request.method + " " + (slash == request.url.size() ? "/" : request.url.substr(slash)) +
                       " HTTP/1.1\r\nHost: " + authority + "\r\n";
    for (const auto& [name, value] : request.headers) text += name + (value.empty() ? ":" : ": ") + value + "\r\n";
    const bool has_body = !request.body.empty() || (request.method != "GET" && request.method != "HEAD");
    if (has_body) text += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
    text += "\r\n" + request.body;
    buffer_.clear();
    absl::Status sent = Write(text);
    if (sent.ok()) sent = More();
    // The server may have closed a kept connection while nothing was asked; nothing of an answer has come then.
    if (is_kept && absl::IsUnavailable(sent) && buffer_.empty()) {
      CD4ML_RETURN_IF_ERROR(Connect(authority));
      sent = Write(text);
    }
    CD4ML_RETURN_IF_ERROR(sent);
    return Receive(request.method == "HEAD");
  }

  absl::Status Connect(const std::string& authority) {
    Close();
    const size_t colon = authority.rfind(':');
    const std::string host = authority.substr(0, colon);
    const std::string port = colon == std::string::npos ? "80" : authority.substr(colon + 1);
    addrinfo hints{}, *addresses = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &addresses); error != 0) {
      return absl::UnavailableError(gai_strerror(error));
    }
    int why = 0;
    for (const addrinfo* one = addresses; one != nullptr && fd_ < 0; one = one->ai_next) {
      fd_ = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
      setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &kLook, sizeof kLook);
      setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &kLook, sizeof kLook);
      const int on = 1;
      setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      if (connect(fd_, one->ai_addr, one->ai_addrlen) == 0) break;
      why = errno;
      Close();
    }
    freeaddrinfo(addresses);
    if (fd_ < 0) return absl::UnavailableError(std::strerror(why));
    authority_ = authority;
    return absl::OkStatus();
  }

  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  // Returns OK when it is worth another try.
  absl::Status Again(const char* what) const {
    if (errno != EAGAIN && errno != EINTR) return absl::UnavailableError(std::string(what) + ": " + std::strerror(errno));
    return clock_.Steady() < deadline_ ? absl::OkStatus() : absl::DeadlineExceededError("");
  }

  absl::Status Write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0) {
        CD4ML_RETURN_IF_ERROR(Again("sending"));
      } else {
        bytes.remove_prefix(static_cast<size_t>(sent));
      }
    }
    return absl::OkStatus();
  }

  // Appends to the buffer what has come. UNAVAILABLE: the connection is closed.
  absl::Status More() {
    char bytes[16 << 10];
    while (true) {
      const ssize_t got = recv(fd_, bytes, sizeof bytes, 0);
      if (got == 0) return absl::UnavailableError("the connection was closed");
      if (got < 0) {
        CD4ML_RETURN_IF_ERROR(Again("receiving"));
        continue;
      }
      buffer_.append(bytes, static_cast<size_t>(got));
      // A trickle never makes recv wait for long.
      return clock_.Steady() < deadline_ ? absl::OkStatus() : absl::DeadlineExceededError("");
    }
  }

  absl::StatusOr<HttpResponse> Receive(bool is_head) {
    HttpResponse response;
    do {  // An interim answer, as 100 Continue, is followed by the one that counts.
      size_t end;
      while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
        if (buffer_.size() > kHeadersMax) return absl::OutOfRangeError("the answer has more than 64 KiB of headers");
        CD4ML_RETURN_IF_ERROR(More());
      }
      CD4ML_RETURN_IF_ERROR(ReadHead(std::string_view(buffer_).substr(0, end), response));
      buffer_.erase(0, end + 4);
    } while (response.status < 200);
    const bool has_none = is_head || response.status == 204 || response.status == 304;
    if (!has_none) CD4ML_RETURN_IF_ERROR(ReadBody(response));
    const auto connection = response.headers.find("connection");
    if (connection != response.headers.end() && connection->second == "close") Close();
    return response;
  }

  static absl::Status ReadHead(std::string_view head, HttpResponse& response) {
    response.headers.clear();
    const std::string_view digits = head.substr(std::min<size_t>(9, head.size()), 3);
    const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), response.status);
    if (!head.starts_with("HTTP/1.") || error != std::errc() || digits.size() != 3) {
      return absl::UnavailableError("the answer is no HTTP");
    }
    for (size_t at = head.find('\n'); at != std::string_view::npos; at = head.find('\n', at + 1)) {
      AddHeader(head.substr(at + 1, head.find('\n', at + 1) - at - 1), response.headers);
    }
    return absl::OkStatus();
  }

  absl::Status ReadBody(HttpResponse& response) {
    const auto encoding = response.headers.find("transfer-encoding");
    if (encoding != response.headers.end()) return ReadChunks(response.body);
    const auto length = response.headers.find("content-length");
    if (length == response.headers.end()) {
      absl::Status more;
      while ((more = More()).ok() && buffer_.size() <= kBodyMax) continue;
      Close();
      if (!more.ok() && !absl::IsUnavailable(more)) return more;
      return Take(buffer_.size(), response.body);
    }
    size_t size = 0;
    const std::string& text = length->second;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), size);
    if (error != std::errc() || rest != text.data() + text.size()) {
      return absl::UnavailableError("the Content-Length \"" + text.substr(0, 40) + "\" is no number");
    }
    return Take(size, response.body);
  }

  // Moves so many bytes from the buffer to the end of `body`.
  absl::Status Take(size_t size, std::string& body) {
    if (size > kBodyMax || body.size() + size > kBodyMax) return absl::OutOfRangeError("the answer is larger than 16 MiB");
    while (buffer_.size() < size) CD4ML_RETURN_IF_ERROR(More());
    body.append(buffer_, 0, size);
    buffer_.erase(0, size);
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Line() {
    size_t end;
    while ((end = buffer_.find("\r\n")) == std::string::npos) {
      if (buffer_.size() > kHeadersMax) return absl::UnavailableError("a chunk has no size");
      CD4ML_RETURN_IF_ERROR(More());
    }
    std::string line = buffer_.substr(0, end);
    buffer_.erase(0, end + 2);
    return line;
  }

  absl::Status ReadChunks(std::string& body) {
    while (true) {
      CD4ML_ASSIGN_OR_RETURN(const std::string line, Line());
      size_t size = 0;
      const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), size, 16);
      if (error != std::errc()) return absl::UnavailableError("a chunk has no size");
      if (size == 0) break;
      CD4ML_RETURN_IF_ERROR(Take(size, body));
      CD4ML_RETURN_IF_ERROR(Line().status());
    }
    for (size_t trailers = 0; trailers < kHeadersMax;) {
      CD4ML_ASSIGN_OR_RETURN(const std::string trailer, Line());
      if (trailer.empty()) return absl::OkStatus();
      trailers += trailer.size();
    }
    return absl::OutOfRangeError("the answer has more than 64 KiB of headers");
  }

  const Clock& clock_;
  int fd_ = -1;
  std::string authority_;  // Whom `fd_` is connected to.
  std::string buffer_;     // What has come and is not read.
  Duration deadline_{0};
};

}  // namespace

std::unique_ptr<HttpClient> MakeLoadClient(const Clock& clock) { return std::make_unique<LoadClient>(clock); }

}  // namespace cd4ml::http
