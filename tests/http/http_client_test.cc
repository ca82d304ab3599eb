// The client against a real server: answers of every kind, and services that misbehave.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <cstdlib>
#include <set>
#include <thread>

#include "cd4ml/base/status.h"
#include "cd4ml/http/connect.h"
#include "cd4ml/os/os.h"
#include "raw_server.h"

namespace cd4ml::http {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The client that is tested, by its name: the one for use and the one for measuring keep the same promises.
class HttpClients : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<HttpClient> Make() const { return GetParam() == "Curl" ? MakeHttpClient() : MakeLoadClient(*clock_); }

  const std::unique_ptr<Clock> clock_ = os::MakeClock();
};

class HttpClientTest : public HttpClients {
 protected:
  HttpClientTest() : client_(Make()) {
    server_.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response&) {
      ports_.insert(request.remote_port);
      return httplib::Server::HandlerResponse::Unhandled;
    });
    server_.Get("/hello", [](const httplib::Request&, httplib::Response& response) {
      response.set_header("X-Twice", "a");
      response.headers.emplace("X-Twice", "b");
      response.set_content("hello", "text/plain");
    });
    const auto echo = [](const httplib::Request& request, httplib::Response& response) {
      response.set_header("X-Method", request.method);
      response.set_header("X-Type", request.get_header_value("Content-Type", 0).empty()
                                        ? "none"
                                        : request.get_header_value("Content-Type", 0));
      response.set_header("X-Extra", request.has_header("X-Extra") ? "sent" : "not sent");
      response.set_content(request.body, "application/octet-stream");
    };
    server_.Post("/echo", echo);
    server_.Put("/echo", echo);
    server_.Patch("/echo", echo);
    server_.Delete("/echo", echo);
    server_.Get("/away", [](const httplib::Request&, httplib::Response& response) {
      response.set_redirect("/hello");
    });
    server_.Get("/broken", [](const httplib::Request&, httplib::Response& response) {
      response.status = 503;
    });
    server_.Get("/huge", [](const httplib::Request&, httplib::Response& response) {
      response.set_content(std::string((16 << 20) + 1, 'x'), "text/plain");
    });
    server_.Get("/large", [](const httplib::Request&, httplib::Response& response) {
      response.set_content(std::string(16 << 20, 'x'), "text/plain");
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    // Only a server that has answered can be stopped.
    EXPECT_TRUE(MakeHttpClient()->Send({.url = Url("/hello")}).ok());
    ports_.clear();
  }
  ~HttpClientTest() override {
    client_.reset();
    server_.stop();
    thread_.join();
  }

  std::string Url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  absl::StatusOr<HttpResponse> Get(const std::string& path) {
    return client_->Send({.url = Url(path)});
  }

  httplib::Server server_;
  std::set<int>
      ports_;  // Of the client's connections. The server answers one request at a time here.
  int port_ = 0;
  std::thread thread_;
  std::unique_ptr<HttpClient> client_;
};

std::string NameOf(const ::testing::TestParamInfo<std::string>& info) { return info.param; }
INSTANTIATE_TEST_SUITE_P(, HttpClientTest, ::testing::Values("Curl", "Load"), NameOf);
INSTANTIATE_TEST_SUITE_P(, HttpClients, ::testing::Values("Curl", "Load"), NameOf);

TEST_P(HttpClientTest, ReturnsStatusHeadersBodyAndTime) {
  const absl::StatusOr<HttpResponse> response = Get("/hello");

  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "hello");
  EXPECT_EQ(response->headers.at("content-type"), "text/plain");
  EXPECT_EQ(response->headers.at("x-twice"), "a, b");
  EXPECT_GT(response->seconds, 0);
}

TEST_P(HttpClientTest, SendsEveryMethodWithItsBodyUnchanged) {
  const std::string body("{\"a\": 1}\0\xFF", 10);
  for (const char* method : {"POST", "PUT", "PATCH", "DELETE"}) {
    const auto response =
        client_->Send({.method = method,
                       .url = Url("/echo"),
                       .headers = {{"content-type", "application/json"}, {"X-Extra", "1"}},
                       .body = body});
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->body, body) << method;
    EXPECT_EQ(response->headers.at("x-method"), method);
    EXPECT_EQ(response->headers.at("x-type"), "application/json");
    EXPECT_EQ(response->headers.at("x-extra"), "sent");
  }
}

TEST_P(HttpClientTest, AddsNoContentTypeAndSendsAnEmptyBody) {
  const auto response = client_->Send({.method = "POST", .url = Url("/echo")});

  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->headers.at("x-type"), "none");
  EXPECT_EQ(response->body, "");
}

TEST_P(HttpClientTest, AHeadRequestHasNoBodyAndDoesNotWaitForOne) {
  const auto response = client_->Send({.method = "HEAD", .url = Url("/hello")});

  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "");
}

TEST_P(HttpClientTest, AnyStatusIsAnAnswerAndNoRedirectIsFollowed) {
  EXPECT_EQ(Get("/broken")->status, 503);
  EXPECT_EQ(Get("/nothing")->status, 404);
  EXPECT_EQ(Get("/away")->status, 302);
  EXPECT_EQ(Get("/away")->headers.at("location"), "/hello");
}

TEST_P(HttpClientTest, OptionsOfOneRequestDoNotReachTheNext) {
  ASSERT_TRUE(client_->Send({.method = "HEAD", .url = Url("/hello")}).ok());
  ASSERT_TRUE(
      client_
          ->Send(
              {.method = "POST", .url = Url("/echo"), .headers = {{"X-Extra", "1"}}, .body = "x"})
          .ok());

  EXPECT_EQ(Get("/hello")->body, "hello");
  EXPECT_EQ(client_->Send({.method = "PUT", .url = Url("/echo")})->headers.at("x-extra"),
            "not sent");
}

TEST_P(HttpClientTest, KeepsTheConnectionOpen) {
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Get("/hello").ok());

  EXPECT_EQ(ports_.size(), 1u);
}

TEST_P(HttpClientTest, RefusesAnAnswerThatIsTooLarge) {
  EXPECT_EQ(Get("/large")->body.size(), size_t{16} << 20);

  const absl::Status status = Get("/huge").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(Message(status), HasSubstr("larger than 16 MiB"));
  EXPECT_EQ(Get("/hello")->body, "hello") << "the client goes on";
}

TEST_P(HttpClientTest, IgnoresProxiesOfTheEnvironment) {
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  EXPECT_TRUE(Get("/hello").ok());
  unsetenv("http_proxy");
}

TEST_P(HttpClientTest, RefusesRequestsThatAreNone) {
  for (const HttpRequest& request :
       std::vector<HttpRequest>{{.url = ""},
                                {.url = "file:///etc/passwd"},
                                {.url = "gopher://127.0.0.1/"},
                                {.url = "http://"},
                                {.url = Url("/a\r\nX: y")},
                                {.method = "GET / HTTP/1.1\r\nX:", .url = Url("/")},
                                {.method = "", .url = Url("/")},
                                {.url = Url("/"), .headers = {{"X", "a\r\nY: b"}}},
                                {.url = Url("/"), .headers = {{"X: y", "a"}}}}) {
    EXPECT_EQ(client_->Send(request).status().code(), absl::StatusCode::kInvalidArgument)
        << request.method << " " << request.url;
  }
}

TEST_P(HttpClients, SendsTheHeadersAsTheyAreAndNoneOfItsOwnMaking) {
  RawServer server("HTTP/1.1 204 No Content\r\n\r\n");

  const auto response = Make()->Send({.method = "POST",
                                                .url = server.url(),
                                                .headers = {{"X-Empty", ""}, {"X-B", "b: c"}},
                                                .body = std::string(2000, 'x')});

  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->status, 204);
  const std::string& sent = server.Requests();
  EXPECT_THAT(sent, HasSubstr("\r\nX-Empty:\r\n"));
  EXPECT_THAT(sent, HasSubstr("\r\nX-B: b: c\r\n"));
  EXPECT_THAT(sent, Not(HasSubstr("Expect")));
  EXPECT_THAT(sent, Not(HasSubstr("Content-Type")));
}

TEST_P(HttpClients, SaysThatNobodyAnswers) {
  std::string url;
  {
    RawServer gone("");
    url = gone.url();
  }
  const absl::Status status = Make()->Send({.url = url}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Message(status), HasSubstr("GET " + url));

  EXPECT_EQ(Make()
                ->Send({.url = "http://no-such-host.invalid/", .timeout = Duration(2000)})
                .status()
                .ok(),
            false);
}

TEST_P(HttpClients, GivesUpAfterTheTimeout) {
  const RawServer silent("");

  const absl::Status status =
      Make()->Send({.url = silent.url(), .timeout = Duration(50)}).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(Message(status), HasSubstr("no answer within 50ms"));
  EXPECT_EQ(Make()->Send({.url = silent.url(), .timeout = Duration(0)}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_P(HttpClients, SurvivesServersThatDoNotSpeakHttp) {
  for (const std::string& answer :
       {std::string("nonsense\r\n\r\n"),
        std::string("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
        std::string("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), std::string("\0\0\0", 3)}) {
    const RawServer server(answer);
    EXPECT_FALSE(Make()->Send({.url = server.url(), .timeout = Duration(2000)}).ok())
        << answer;
  }
}

TEST_P(HttpClients, ReadsBodiesInChunksAndUpToTheEndOfTheConnection) {
  for (const std::string& answer :
       {std::string("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n"),
        std::string("HTTP/1.0 200 OK\r\n\r\nabcde")}) {
    const RawServer server(answer);
    const auto client = Make();
    for (int i = 0; i < 2; ++i) {
      const auto response = client->Send({.url = server.url()});
      ASSERT_TRUE(response.ok()) << response.status();
      EXPECT_EQ(response->body, "abcde");
    }
  }
}

TEST_P(HttpClients, GivesUpOnABodyWithoutEndAndOnChunksThatAreNone) {
  const RawServer endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1100000\r\n" + std::string(17 << 20, 'x'));
  EXPECT_EQ(Make()->Send({.url = endless.url()}).status().code(), absl::StatusCode::kOutOfRange);
  const RawServer short_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
  EXPECT_FALSE(Make()->Send({.url = short_of.url()}).ok());
}

TEST_P(HttpClients, RefusesEndlessHeaders) {
  std::string answer = "HTTP/1.1 200 OK\r\n";
  for (int i = 0; i < 3000; ++i)
    answer += "X-" + std::to_string(i) + ": " + std::string(40, 'x') + "\r\n";
  const RawServer server(answer + "\r\n");

  EXPECT_THAT(Message(Make()->Send({.url = server.url()}).status()),
              HasSubstr("64 KiB of headers"));
}

}  // namespace
}  // namespace cd4ml::http
