// The port JsonSchema over valijson.
#include <optional>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "cd4ml/base/check.h"
#include "cd4ml/base/status.h"
#include "cd4ml/schema/compile_schema.h"
#include "schema/translate.h"

namespace cd4ml::schema {
namespace {

using Adapter = valijson::adapters::NlohmannJsonAdapter;

constexpr size_t kShownMax = 120;

// valijson throws at what is no schema.
absl::Status Populate(const nlohmann::json& json, valijson::Schema& schema) {
  try {
    valijson::SchemaParser(valijson::SchemaParser::kDraft7).populateSchema(Adapter(json), schema);
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(error.what());
  }
}

// Returns `body.rows[1]` for the path of an error, and what lies there.
std::string PathOf(const std::vector<std::string>& context, std::string_view name, const Value*& value) {
  std::string path(name);
  for (size_t i = 1; i < context.size(); ++i) {
    const std::string& step = context[i];
    // "[1]" of a list, "[name]" of a map.
    const std::string inner = step.size() > 2 && step.front() == '[' ? step.substr(1, step.size() - 2) : step;
    path += value != nullptr && value->is_list() ? "[" + inner + "]" : "." + inner;
    if (value == nullptr) continue;
    value = value->is_list() ? Resolve(*value, "/" + inner) : value->Find(inner);
  }
  return path;
}

std::string Sentence(const valijson::ValidationResults::Error& error, const Value& answer, std::string_view name) {
  const Value* value = &answer;
  const std::string path = PathOf(error.context, name, value);
  std::string what = error.description;
  if (what == "Failed to match against any enum values.") what = "it is none of the allowed values";
  if (what.ends_with('.')) what.pop_back();
  if (value == nullptr) return path + ": " + what;
  std::string shown = ToJson(*value);
  if (shown.size() > kShownMax) shown = shown.substr(0, kShownMax) + " ...";
  return path + " is " + shown + ": " + what;
}

class ValijsonSchema : public JsonSchema {
 public:
  explicit ValijsonSchema(Translated translated) : translated_(std::move(translated)) {}

  std::string Breach(const Value& value, std::string_view name) const override {
    const absl::StatusOr<nlohmann::json> filled = Fill(translated_, value);
    if (!filled.ok()) return std::string(name) + " " + Message(filled.status());
    valijson::Schema schema;
    const absl::Status populated = Populate(*filled, schema);
    CD4ML_CHECK(populated.ok(), "the schema was populated before");
    const nlohmann::json json = ToNlohmann(value);
    // Without results it ends at the first breach; collecting them, it looks at everything.
    if (valijson::Validator().validate(schema, Adapter(json), nullptr)) return "";
    valijson::ValidationResults results;
    valijson::Validator().validate(schema, Adapter(json), &results);
    valijson::ValidationResults::Error error;
    return results.popError(error) ? Sentence(error, value, name) : std::string(name) + " does not fit the schema";
  }

 private:
  const Translated translated_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const JsonSchema>> CompileSchema(const Value& document, std::string_view pointer) {
  CD4ML_ASSIGN_OR_RETURN(Translated translated, Translate(document, pointer));
  CD4ML_ASSIGN_OR_RETURN(const nlohmann::json filled, Fill(translated, Value()));
  valijson::Schema schema;
  CD4ML_RETURN_IF_ERROR(Populate(filled, schema));
  return std::make_shared<const ValijsonSchema>(std::move(translated));
}

}  // namespace cd4ml::schema
