// What a statement says, and that an envelope is what was signed.
#include <gtest/gtest.h>

#include "cd4ml/base/value.h"
#include "cd4ml/core/envelope.h"
#include "cd4ml/core/origin.h"

namespace cd4ml::core {
namespace {

Version MakeVersion(VersionKind kind, const std::string& name, const std::string& digest, bool is_tree = false) {
  Version version;
  version.kind = kind;
  version.name = name;
  version.digest = digest;
  version.artifact.is_tree = is_tree;
  version.artifact.size = 12;
  return version;
}

Origin MakeOrigin() {
  Origin origin;
  origin.recorder = "0123abcd";
  origin.run = "cars/12";
  origin.pipeline = "cars";
  origin.lane = "production";
  origin.trigger = {.kind = TriggerKind::kMonitor, .key = "k1", .by = "cars/watch", .reason = "psi(age) 0.61 > 0.25"};
  origin.pins.repo = "/srv/cars.git";
  origin.pins.commit = std::string(40, 'c');
  origin.pins.file = "cars.cd4ml.yaml";
  origin.pins.definition = Sha256("definition");
  origin.pins.params = Value::Map{{"train", Value::Map{{"max_depth", 6}}}};
  origin.pins.param_sources = {{"train.max_depth", "trigger"}};
  origin.stage = "train";
  origin.kind = StageKind::kTrain;
  origin.attempt.number = 2;
  origin.attempt.agent = "agent-a";
  origin.attempt.granted = UtcTime{1'772'452'799'000};
  origin.attempt.started = UtcTime{1'772'452'800'000};
  origin.attempt.ended = UtcTime{1'772'452'860'500};
  origin.attempt.outcome.environment = Value::Map{{"python", "3.11.2"}};
  origin.attempt.outcome.metrics = {{"mae", 1513.25}};
  origin.used = {MakeVersion(VersionKind::kCode, "cars", origin.pins.commit),
                 MakeVersion(VersionKind::kData, "cars/listings", std::string(64, 'd'), true)};
  origin.produced = {MakeVersion(VersionKind::kModel, "cars/train.model", std::string(64, 'e'))};
  return origin;
}

std::string At(const std::string& statement, const std::string& path) {
  const Value parsed = ParseJson(statement).value();
  const Value* value = parsed.FindPath(path);
  return value == nullptr ? "(none)" : ToJson(*value);
}

TEST(ProvenanceStatement, NamesEverythingThatTheOutputCameFrom) {
  const std::string statement = ProvenanceStatement(MakeOrigin());

  EXPECT_EQ(At(statement, "_type"), "\"https://in-toto.io/Statement/v1\"");
  EXPECT_EQ(At(statement, "predicateType"), "\"https://slsa.dev/provenance/v1\"");
  EXPECT_EQ(At(statement, "subject"),
            "[{\"annotations\":{\"files\":1,\"kind\":\"model\",\"size\":12},\"digest\":{\"sha256\":\"" +
                std::string(64, 'e') + "\"},\"name\":\"cars/train.model\"}]");
  const std::string build = "predicate.buildDefinition.";
  EXPECT_EQ(At(statement, build + "externalParameters"),
            R"({"lane":"production","parameterSources":{"train.max_depth":"trigger"},)"
            R"("parameters":{"train":{"max_depth":6}},"pipeline":"cars","stage":"train",)"
            R"("trigger":{"by":"cars/watch","key":"k1","kind":"monitor","reason":"psi(age) 0.61 > 0.25"}})");
  EXPECT_EQ(At(statement, build + "internalParameters"),
            R"({"agent":"agent-a","attempt":2,"isolation":"none","kind":"train","run":"cars/12"})");
  EXPECT_EQ(At(statement, "predicate.runDetails.builder"), R"({"id":"urn:cd4ml:daemon:0123abcd"})");
  EXPECT_EQ(At(statement, "predicate.runDetails.metadata"),
            R"({"finishedOn":"2026-03-02T12:01:00.500Z","invocationId":"cars/12/train/2",)"
            R"("startedOn":"2026-03-02T12:00:00.000Z"})");
  const Value parsed = ParseJson(statement).value();
  const Value::List& dependencies = parsed.FindPath(build + "resolvedDependencies")->list();
  ASSERT_EQ(dependencies.size(), 3u);
  EXPECT_EQ(ToJson(*dependencies[0].Find("uri")),
            "\"git+file:///srv/cars.git@" + std::string(40, 'c') + "\"");
  EXPECT_EQ(ToJson(*dependencies[0].Find("digest")), "{\"gitCommit\":\"" + std::string(40, 'c') + "\"}");
  EXPECT_EQ(ToJson(*dependencies[1].Find("digest")), "{\"sha256\":\"" + std::string(64, 'd') + "\"}");
  EXPECT_EQ(ToJson(*dependencies[1].Find("mediaType")), "\"application/vnd.cd4ml.tree\"");
  EXPECT_EQ(ToJson(*dependencies[2].Find("digest")), "{\"sha256\":\"" + Sha256("definition").hex() + "\"}");
}

// The agent's words may say anything, and change nothing outside of the byproducts.
TEST(ProvenanceStatement, KeepsWhatTheAgentSaysApart) {
  Origin origin = MakeOrigin();
  const Value before = ParseJson(ProvenanceStatement(origin)).value();
  origin.attempt.outcome.environment =
      *ParseJson(R"({"builder":{"id":"urn:evil"},"buildDefinition":{},"\",\"_type\":\"x":1})");
  origin.attempt.outcome.metrics = {{"predicate.runDetails.builder.id", 1}, {"subject", 0}};
  Value after = ParseJson(ProvenanceStatement(origin)).value();

  EXPECT_NE(before, after);
  SetPath(after, "predicate.runDetails.byproducts", *before.FindPath("predicate.runDetails.byproducts"));
  EXPECT_EQ(before, after);
}

TEST(ProvenanceStatement, NamesTheOverridesByWhichItsGateLetTheOutputsPass) {
  Origin origin = MakeOrigin();
  origin.attempt.outcome.verdict.emplace();
  const std::string path = "predicate.buildDefinition.internalParameters.overrides";
  EXPECT_EQ(At(ProvenanceStatement(origin), path), "(none)");
  origin.attempt.outcome.verdict->overrides = {{.rule = "mae", .by = "ana", .reason = "tax", .at = UtcTime{1'772'452'799'000}, .expires = UtcTime{1'772'452'860'500}}};
  EXPECT_EQ(At(ProvenanceStatement(origin), path),
            R"([{"by":"ana","reason":"tax","rule":"mae","since":"2026-03-02T11:59:59.000Z","until":"2026-03-02T12:01:00.500Z"}])");
}

ModelRecord MakeRecord() {
  Origin clean;
  clean.run = "cars/12";
  clean.pins = MakeOrigin().pins;
  clean.stage = "clean";
  clean.used = {MakeVersion(VersionKind::kData, "cars/raw", std::string(64, 'f'))};
  clean.produced = {MakeVersion(VersionKind::kDataset, "cars/clean.listings", std::string(64, 'd'))};
  Origin train = MakeOrigin();
  train.used[1] = clean.produced[0];
  Origin package;
  package.produced = {MakeVersion(VersionKind::kDeployable, "cars/package.service", std::string(64, 'a'))};
  ModelRecord record = FindModelRecord({package, train, clean}).value();
  Verdict verdict = Conclude({{.name = "mae", .outcome = VerdictOutcome::kPass, .observed = "1513.25", .bound = "<= 1650"}});
  record.judgements.push_back({{"cars/12", "evaluate", 1}, {{"mae", 1513.25}}, verdict});
  return record;
}

TEST(ModelRecord, IsOfTheNearestModelAndWhatStandsBehindIt) {
  const ModelRecord record = MakeRecord();

  EXPECT_EQ(record.model.name, "cars/train.model");
  ASSERT_EQ(record.upstream.size(), 1u);
  EXPECT_EQ(record.upstream[0].stage, "clean");
  EXPECT_TRUE(absl::IsFailedPrecondition(FindModelRecord({record.upstream[0]}).status()));
}

TEST(ModelCard, KeepsWhatUsersWriteInItsCell) {
  ModelRecord record = MakeRecord();
  record.origin.pins.commit_subject = "a | b\n## heading <script> [x](y)";

  const std::string card = ModelCard(record);

  EXPECT_NE(card.find("a \\| b \\#\\# heading &lt;script\\> \\[x\\](y) |\n"), std::string::npos) << card;
  EXPECT_NE(card.find("| evaluate.mae | pass | 1513.25 | &lt;= 1650 |  |\n"), std::string::npos) << card;
  EXPECT_NE(card.find("| train.max\\_depth | 6 | trigger |\n"), std::string::npos) << card;
  EXPECT_NE(card.find("datasets: [\"cars/clean.listings\"]\n"), std::string::npos) << card;
}

TEST(ModelCard, NamesTheOverridesOfItsGates) {
  ModelRecord record = MakeRecord();
  EXPECT_EQ(ModelCard(record).find("Overrides"), std::string::npos);
  ModelRecord::Judgement& judgement = record.judgements.at(0);
  judgement.verdict->overrides = {{.rule = "mae", .by = "ana", .reason = "tax", .at = UtcTime{1'772'452'799'000}, .expires = UtcTime{1'772'452'860'500}}};

  const std::string card = ModelCard(record);

  EXPECT_NE(card.find("| evaluate.mae | ana | tax | 2026-03-02T11:59:59.000Z | 2026-03-02T12:01:00.500Z |\n"), std::string::npos) << card;
}

TEST(ModelBom, ListsWhatTheModelWasMadeFromAndHowItHangsTogether) {
  const std::string text = ModelBom(MakeRecord());
  const Value bom = ParseJson(text).value();

  EXPECT_EQ(text, ModelBom(MakeRecord()));
  EXPECT_EQ(bom.FindPath("metadata.component.type")->string(), "machine-learning-model");
  std::vector<std::string> names;
  for (const Value& component : bom.Find("components")->list()) names.push_back(component.Find("name")->string());
  EXPECT_EQ(names, (std::vector<std::string>{"cars", "cars/clean.listings", "cars/raw"}));
  const std::string clean = "dataset:cars/clean.listings@" + std::string(64, 'd');
  EXPECT_EQ(ToJson(*bom.Find("dependencies")),
            "[{\"dependsOn\":[\"code:cars@" + std::string(40, 'c') + "\",\"" + clean + "\"],\"ref\":\"model:cars/train.model@" +
                std::string(64, 'e') + "\"},{\"dependsOn\":[\"data:cars/raw@" + std::string(64, 'f') + "\"],\"ref\":\"" + clean +
                "\"}]");
}

// The example of the DSSE specification.
TEST(PreAuthEncoding, IsTheStandards) {
  EXPECT_EQ(PreAuthEncoding("http://example.com/HelloWorld", "hello world"),
            "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
  EXPECT_EQ(PreAuthEncoding("", ""), "DSSEv1 0  0 ");
}

TEST(Envelope, ReadsWhatItWrites) {
  const Envelope envelope = {"application/x", std::string("a\0\xff\n", 4), {{"id", std::string(64, '\x80')}}};

  EXPECT_EQ(ParseEnvelope(FormatEnvelope(envelope)).value(), envelope);
  EXPECT_EQ(ParseBundle(FormatEnvelope(envelope) + "\n\n" + FormatEnvelope(envelope)).value().size(), 2u);
  EXPECT_EQ(ParseBundle(ToPrettyJson(ParseJson(FormatEnvelope(envelope)).value())).value().size(), 1u);
}

TEST(Envelope, RefusesWhatIsNone) {
  for (const char* text :
       {"", "[]", "{}", R"({"payload":"YQ==","payloadType":"x","signatures":[]})", R"({"payload":"YQ==","signatures":[{"sig":"YQ=="}]})",
        R"({"payload":"YQ=","payloadType":"x","signatures":[{"sig":"YQ=="}]})",
        R"({"payload":"YR==","payloadType":"x","signatures":[{"sig":"YQ=="}]})",
        R"({"payload":"YQ==","payloadType":"x","signatures":[{"sig":5}]})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseBundle(text).status())) << text;
  }
}

}  // namespace
}  // namespace cd4ml::core
