// What S3 says, read: pages, names of any bytes, answers that make no sense.
#include "http/s3.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "cd4ml/base/status.h"

namespace cd4ml::http {
namespace {

using ::testing::HasSubstr;

TEST(S3, TakesUrlsApart) {
  EXPECT_EQ(ParseS3Url("s3://lake/cars/a b.csv")->key, "cars/a b.csv");
  EXPECT_EQ(ParseS3Url("s3://lake")->bucket, "lake");
  EXPECT_EQ(ParseS3Url("s3://lake/")->key, "");
  for (const char* bad : {"s3://", "s3:///key", "s3://la ke/x", "s3://a@b/x", "s3"}) EXPECT_FALSE(ParseS3Url(bad).ok()) << bad;
}

TEST(S3, EncodesKeysAndKeepsSlashesInPaths) {
  EXPECT_EQ(UrlEncode("a b/ü+~", true), "a%20b/%C3%BC%2B~");
  EXPECT_EQ(UrlEncode("a/b", false), "a%2Fb");
  EXPECT_EQ(S3Url({.endpoint = "http://h:9/"}, {"b", "k y"}), "http://h:9/b/k%20y");
  EXPECT_EQ(S3Url({.region = "eu-1"}, {"b", "k"}), "https://s3.eu-1.amazonaws.com/b/k");
}

TEST(S3, SortsTheQueryAsSigningNeedsIt) {
  EXPECT_EQ(ListQuery("a/b", 7, "t=1"),
            "continuation-token=t%3D1&encoding-type=url&list-type=2&max-keys=7&prefix=a%2Fb");
}

TEST(S3, ReadsAPageOfAListing) {
  const auto page = ParseListing(
      "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
      "<NextContinuationToken>x&amp;y</NextContinuationToken><Contents><Key>a+b%2Fc.csv</Key><ETag>&quot;e1&quot;</ETag><Size>12</Size></Contents>"
      "<Contents><Key>d</Key><ETag>&#34;e2&#34;</ETag><Size>0</Size></Contents></ListBucketResult>");

  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->continuation, "x&y");
  ASSERT_EQ(page->objects.size(), 2u);
  EXPECT_EQ(page->objects[0].key, "a b/c.csv");
  EXPECT_EQ(page->objects[0].etag, "\"e1\"");
  EXPECT_EQ(page->objects[0].size, 12);
  EXPECT_EQ(page->objects[1].etag, "\"e2\"");
}

TEST(S3, TakesKeysAsTheyAreWhereTheServerDoesNotSayThatItEncodesThem) {
  const auto page = ParseListing("<ListBucketResult><IsTruncated>false</IsTruncated>"
                                 "<Contents><Key>a+b%20&amp;c</Key><Size>1</Size></Contents></ListBucketResult>");

  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->objects[0].key, "a+b%20&c");
}

TEST(S3, RefusesListingsThatMakeNoSense) {
  const std::string good = "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>";
  for (const std::string& bad : std::vector<std::string>{
        "<html>", good, "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        good + "<Contents><Key></Key><Size>1</Size></Contents></ListBucketResult>",
        good + "<Contents><Key>a%G1</Key><Size>1</Size></Contents></ListBucketResult>",
        good + "<Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
        good + "<Contents><Key>a</Key></Contents></ListBucketResult>"}) {
    EXPECT_FALSE(ParseListing(bad).ok()) << bad;
  }
}

TEST(S3, ReadsLettersThatAreWrittenAsNumbers) {
  EXPECT_EQ(ParseS3Error("<Error><Code>A&#27;[1m</Code><Message>&#xFC; &#8364;&#x1F600; &#34;x&#34; &amp;#27; &#; &#x; &#xD800; &#12</Message></Error>"),
            "A\x1b[1m: ü €😀 \"x\" &#27; &#; &#x; &#xD800; &#12");
}

TEST(S3, TakesCredentialsFromVariablesElseFromTheFile) {
  std::map<std::string, std::string> variables;
  const auto get = [&](const std::string& name) { return variables[name]; };
  const std::string file = "[default]\naws_access_key_id = AK\naws_secret_access_key = SK\n[work]\naws_access_key_id=WK\n";

  EXPECT_EQ(ReadS3Settings(get, file).access_key, "AK");
  EXPECT_EQ(ReadS3Settings(get, file).secret_key, "SK");
  EXPECT_EQ(ReadS3Settings(get, file).region, "us-east-1");
  variables = {{"AWS_PROFILE", "work"}, {"AWS_DEFAULT_REGION", "eu-1"}, {"AWS_ENDPOINT_URL", "http://e"}};
  EXPECT_EQ(ReadS3Settings(get, file).access_key, "WK");
  EXPECT_EQ(ReadS3Settings(get, file).region, "eu-1");
  EXPECT_EQ(ReadS3Settings(get, file).endpoint, "http://e");
  variables = {{"AWS_ACCESS_KEY_ID", "VK"}, {"AWS_SECRET_ACCESS_KEY", "VS"}};
  EXPECT_EQ(ReadS3Settings(get, file).access_key, "VK");
  EXPECT_EQ(ReadS3Settings(get, "").secret_key, "VS");
}

}  // namespace
}  // namespace cd4ml::http
