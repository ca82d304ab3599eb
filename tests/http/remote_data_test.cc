// Data behind URLs: what counts as an answer, what an answer says of the next one, and what a URL must not hold.
#include "cd4ml/http/remote_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>

#include "cd4ml/base/status.h"
#include "raw_server.h"

namespace cd4ml::http {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Taken {
  absl::StatusOr<RemoteAnswer> answer;
  std::string bytes;
};

Taken Take(const std::string& url, const std::string& known_stamp = "") {
  Taken taken;
  const RemoteSink sink = [&](std::string_view piece) {
    taken.bytes += piece;
    return absl::OkStatus();
  };
  taken.answer = MakeRemoteData({})->Read({.url = url}, known_stamp, 1 << 20, sink, {});
  return taken;
}

TEST(RemoteData, RefusesToBeToldThatWhatItNeverHadIsUnchanged) {
  const RawServer server("HTTP/1.1 304 Not Modified\r\n\r\n");

  for (const char* unknown : {"", "nothing that a server could be asked about"}) {
    const auto answer = Take(server.url(), unknown).answer;
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kFailedPrecondition) << answer.status();
    EXPECT_THAT(Message(answer.status()), HasSubstr("304"));
  }
  EXPECT_TRUE(Take(server.url(), "etag \"1\"").answer->unchanged);
}

TEST(RemoteData, TakesOnlyAnswersThatAreTheObject) {
  for (const char* head : {"201 Created", "202 Accepted", "204 No Content", "205 Reset Content", "206 Partial Content"}) {
    const RawServer server("HTTP/1.1 " + std::string(head) + "\r\nContent-Length: 0\r\n\r\n");
    const auto answer = Take(server.url()).answer;
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kFailedPrecondition) << head;
    EXPECT_THAT(Message(answer.status()), HasSubstr("the server answers 20")) << head;
  }
  for (const char* head : {"200 OK", "203 Non-Authoritative"}) {
    const std::string begin = "HTTP/1.1 " + std::string(head) + "\r\n";
    EXPECT_EQ(Take(RawServer(begin + "Content-Length: 3\r\n\r\nabc").url()).bytes, "abc") << head;
    const RawServer endless(begin + "\r\nabc");
    EXPECT_THAT(Message(Take(endless.url()).answer.status()), HasSubstr("whether all of it came")) << head;
  }
}

TEST(RemoteData, AnETagSaysNothingOfAnotherPlace) {
  httplib::Server server;
  std::atomic<const char*> place = "/v1";
  server.Get("/latest", [&](const httplib::Request&, httplib::Response& response) { response.set_redirect(place.load()); });
  for (const char* version : {"/v1", "/v2"}) {
    server.Get(version, [version](const httplib::Request& request, httplib::Response& response) {
      response.set_header("ETag", "\"1\"");
      if (request.get_header_value("If-None-Match", 0) == "\"1\"") {
        response.status = 304;
      } else {
        response.set_content(version, "text/plain");
      }
    });
  }
  const std::string url = "http://127.0.0.1:" + std::to_string(server.bind_to_any_port("127.0.0.1"));
  std::thread thread([&] { server.listen_after_bind(); });

  const Taken first = Take(url + "/latest");
  const Taken same = Take(url + "/latest", first.answer->stamp);
  place = "/v2";
  const Taken moved = Take(url + "/latest", first.answer->stamp);
  const Taken again = Take(url + "/latest", moved.answer->stamp);
  const Taken direct = Take(url + "/v2", Take(url + "/v2").answer->stamp);
  server.stop();
  thread.join();

  EXPECT_EQ(first.bytes, "/v1");
  EXPECT_TRUE(same.answer->unchanged);
  EXPECT_EQ(same.answer->stamp, first.answer->stamp);
  EXPECT_FALSE(moved.answer->unchanged);
  EXPECT_EQ(moved.bytes, "/v2");
  EXPECT_TRUE(again.answer->unchanged);
  EXPECT_TRUE(direct.answer->unchanged);
  EXPECT_THAT(first.answer->stamp, Not(HasSubstr("127.0.0.1"))) << "where one is sent to may be a secret";
}

TEST(RemoteData, SaysThatHeadersAreTooLong) {
  for (const size_t size : {size_t{70'000}, size_t{200'000}}) {
    const RawServer server("HTTP/1.1 200 OK\r\nX: " + std::string(size, 'x') + "\r\nContent-Length: 1\r\n\r\na");
    EXPECT_THAT(Message(Take(server.url()).answer.status()), HasSubstr("more than 64 KiB of headers")) << size;
  }
}

TEST(RemoteData, RefusesSecretsInAQueryWithoutShowingThem) {
  for (const char* name : {"token", "access_token", "X-Amz-Signature", "X-Goog-Credential", "sig", "AWSAccessKeyId", "api_key"}) {
    const auto answer = Take("http://127.0.0.1:9/x?year=2024&" + std::string(name) + "=very-secret#end").answer;
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(Message(answer.status()), HasSubstr("`" + std::string(name) + "`"));
    EXPECT_THAT(Message(answer.status()), Not(HasSubstr("very-secret")));
  }
  const RawServer server("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
  for (const char* query : {"?year=2024&tokenizer=b&design=c", "?a=token", "#token=x"}) EXPECT_EQ(Take(server.url() + query).bytes, "a") << query;
}

// A bucket "b" of three objects, which is busy for so many requests.
class BusyBucket {
 public:
  explicit BusyBucket(int busy) : busy_(busy) {
    server_.Get(".*", [this](const httplib::Request& request, httplib::Response& response) {
      ++asked_;
      if (busy_-- > 0) {
        response.status = 503;
        response.set_content("<Error><Code>SlowDown</Code><Message>Later.</Message></Error>", "application/xml");
      } else if (request.path == "/b/k") {
        response.set_content("bytes", "text/plain");
      } else if (request.get_param_value("prefix") == "x/part/") {
        response.set_content("<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>x/part/</Key><Size>41</Size></Contents>"
                             "</ListBucketResult>", "application/xml");
      } else {
        response.set_content("<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>x/</Key><Size>0</Size></Contents>"
                             "<Contents><Key>x/a</Key><Size>1</Size></Contents><Contents><Key>x/part/</Key><Size>41</Size></Contents>"
                             "</ListBucketResult>", "application/xml");
      }
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
  }
  ~BusyBucket() {
    server_.stop();
    thread_.join();
  }
  std::unique_ptr<RemoteData> Open() const {
    return MakeRemoteData({.endpoint = "http://127.0.0.1:" + std::to_string(port_)}, {.attempts = 3, .first_wait = Duration(1)});
  }
  int asked() const { return asked_; }

 private:
  std::atomic<int> busy_, asked_ = 0;
  int port_ = 0;
  httplib::Server server_;
  std::thread thread_;
};

TEST(RemoteData, AsksABusyBucketAgain) {
  std::string bytes;
  const RemoteSink sink = [&](std::string_view piece) {
    bytes += piece;
    return absl::OkStatus();
  };
  EXPECT_TRUE(BusyBucket(2).Open()->Read({.url = "s3://b/k"}, "", 100, sink, {}).ok());
  EXPECT_EQ(bytes, "bytes");
  EXPECT_TRUE(BusyBucket(2).Open()->List({.url = "s3://b/x/"}, 100, {}).ok());

  const BusyBucket never(1000);
  const auto refused = never.Open()->Read({.url = "s3://b/k"}, "", 100, sink, {});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(never.asked(), 3);
}

TEST(RemoteData, DoesNotAskAgainForWhatHasBegun) {
  RawServer server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
  const auto remote = MakeRemoteData({.endpoint = server.url()}, {.attempts = 3, .first_wait = Duration(1)});

  const auto cut = remote->Read({.url = "s3://b/k"}, "", 100, [](std::string_view) { return absl::OkStatus(); }, {});

  EXPECT_EQ(cut.status().code(), absl::StatusCode::kUnavailable) << cut.status();
  const std::string requests = server.Requests();
  EXPECT_EQ(requests.find("GET"), requests.rfind("GET"));
}

TEST(RemoteData, ListsWhatEndsInASlashAndHasContent) {
  const BusyBucket bucket(0);

  const auto objects = bucket.Open()->List({.url = "s3://b/x"}, 100, {});
  const auto itself = bucket.Open()->List({.url = "s3://b/x/part/"}, 100, {});

  ASSERT_TRUE(objects.ok()) << objects.status();
  ASSERT_EQ(objects->size(), 2u) << "the empty one is a folder of a console";
  EXPECT_EQ(objects->at(1).path, "part/");
  EXPECT_THAT(Message(itself.status()), HasSubstr("the object \"x/part/\" has 41 B"));
}

TEST(RemoteData, SaysThatAClockIsWrong) {
  const RawServer server("HTTP/1.1 403 Forbidden\r\nContent-Length: 72\r\n\r\n"
                         "<Error><Code>RequestTimeTooSkewed</Code><Message>Off.</Message></Error> ");
  const auto remote = MakeRemoteData({.endpoint = server.url()}, {.attempts = 1});

  const auto refused = remote->Read({.url = "s3://b/k"}, "", 100, [](std::string_view) { return absl::OkStatus(); }, {});

  EXPECT_THAT(Message(refused.status()), HasSubstr("RequestTimeTooSkewed: Off.; set the clock"));
}

}  // namespace
}  // namespace cd4ml::http
