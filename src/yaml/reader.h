// Typed, strict reading of a tree: every wrong value becomes a finding, and reading goes on.
#pragma once

#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cd4ml/base/time.h"
#include "cd4ml/base/value.h"
#include "cd4ml/core/diagnostic.h"
#include "cd4ml/core/expression.h"
#include "cd4ml/core/pipeline.h"
#include "yaml/tree.h"

namespace cd4ml::yaml {

// Inclusive.
struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};

using Words = std::vector<std::string>;

// Returns whether `node` is a scalar with a ${{ }} that is not resolved.
bool HasTemplate(const Node& node);

// Reads single values. The `Read` functions return whether `out` was set; otherwise they have
// reported why not.
class Reader {
 public:
  // Without a scope, templates are only checked, and numbers, durations and booleans that come from
  // one get a stand-in.
  Reader(Tree& tree, const core::Scope* scope) : tree_(tree), scope_(scope) {}

  // From here on, templates may name only the parameters of its schema, or what is below them. It outlives the reader.
  void SetParams(const core::ParamsSpec& params);
  // What SetParams was given. REQUIRES: it was.
  const core::ParamsSpec& param_spec() const { return *param_spec_; }
  // Returns the parameter of the schema that has this name, or the map that it would be a member of; null: none.
  const core::ParamSchema* FindParam(std::string_view name) const;
  // Returns `did you mean "x"?` of the schema's parameters, or "".
  std::string SuggestParam(std::string_view name) const;
  // Null: there is none.
  const core::Scope* scope() const { return scope_; }
  // Errors say which cell of a matrix they are of, where it is one.
  void SetScope(const core::Scope* scope, std::string cell = "") {
    scope_ = scope;
    cell_ = std::move(cell);
  }
  // From here on and until it is null, the names in expressions are added to `names`.
  void NoteNames(std::set<std::string>* names) { noted_ = names; }
  size_t finding_count() const { return findings_.size(); }
  std::string_view Keep(std::string text) { return tree_.Keep(std::move(text)); }
  // What matrices make of a file counts as if it stood in it. Returns whether there is still room for so much.
  bool TakeRoom(size_t values, size_t bytes);
  // What the next messages call the value: the key before it.
  void SetKey(std::string_view key) { key_ = key; }

  bool Read(Node& node, std::string& out);  // A text that is not empty.
  bool Read(Node& node, bool& out);
  bool Read(Node& node, int64_t& out, Range range = {});
  bool Read(Node& node, int& out, Range range = {});
  bool Read(Node& node, double& out, Range range = {});
  bool Read(Node& node, Duration& out);                  // Longer than nothing.
  bool ReadSize(Node& node, int64_t& out);               // In bytes; more than nothing.
  bool Read(Node& node, std::vector<std::string>& out);  // Texts; not empty.
  bool Read(Node& node,
            core::CommandSpec& out);  // A script or an argument list, without templates.
  bool Read(Node& node, Value& out);  // Anything.
  // Scalars of any type, as they are written.
  bool ReadScalarText(Node& node, std::string& out);
  bool ReadScalarTexts(Node& node, std::vector<std::string>& out);
  // One of `allowed`; or a name; both without templates.
  bool ReadWord(Node& node, std::string& out, const Words& allowed);
  bool ReadName(Node& node, std::string& out);
  // A text that takes no templates, such as a reference.
  bool ReadLiteral(Node& node, std::string& out);
  bool ReadLiterals(Node& node, std::vector<std::string>& out);
  // An expression whose names all begin with one of `roots`; and the same inside one ${{ }}.
  bool ReadExpression(Node& node, std::string& out, const Words& roots);
  bool ReadCondition(Node& node, std::string& out);

  // Reports a template where none may stand, and returns whether there is one.
  bool RefuseTemplate(const Node& node);

  // Reports an error; at most a bounded number is kept.
  void Error(std::string_view code, const core::Place& place, std::string message,
             std::string label = "", std::string help = "");
  void WrongType(const Node& node, std::string_view wanted);
  // Reports that `word`, at `place`, is part of the language but not available yet.
  void NotYet(std::string_view code, const core::Place& place, std::string_view word);

  core::Diagnostics TakeFindings() { return std::move(findings_); }

 private:
  // Reads a number with a unit by `parse`.
  bool ReadWithUnit(Node& node, std::string_view wanted, int64_t& out,
                    absl::StatusOr<int64_t> (*parse)(std::string_view));

  enum class Resolved { kValue, kOpen, kFailed };
  // Replaces a node that holds a template by its value. kOpen: there is no scope to do that in.
  Resolved Resolve(Node& node);
  bool CheckNames(const Node& node, const std::vector<core::Expression>& expressions,
                  const Words& roots);
  // Reports an error of core/expression.h at its column within the scalar.
  void ExpressionError(std::string_view code, const Node& node, const absl::Status& error);
  bool CheckParams(const Node& node, const std::vector<core::Expression>& expressions);
  // Resolves a value that is no text. Returns nothing when it failed or is a stand-in, which sets
  // `open`.
  std::optional<Value> Typed(Node& node, std::string_view wanted, bool& open);

  Tree& tree_;
  const core::Scope* scope_;
  std::string cell_;
  const core::ParamsSpec* param_spec_ = nullptr;
  std::optional<Words> params_;  // Sorted; absent while there is no schema.
  std::map<std::string_view, const core::ParamSchema*> schema_;
  std::set<std::string>* noted_ = nullptr;
  size_t values_ = 0, bytes_ = 0;  // What TakeRoom has given away.
  std::string_view key_;
  core::Diagnostics findings_;
};

// Reads the members of one map. Whatever is not asked for is reported as unknown by Finish.
class Fields {
 public:
  // `what` and `name`, which must outlive this, end the messages: `stage "train"`. A node that is
  // no map is reported, and then read as an empty one.
  Fields(Reader& reader, Node& node, std::string_view what, std::string_view name = "");

  // Returns the value of `key`, or null when there is none. Makes the key known.
  Node* Take(std::string_view key);
  // The same, but reports that the key is missing.
  Node* Need(std::string_view key);
  // Makes `key` known as one that is not available yet, and reports it when it is there.
  void NotYet(std::string_view key, std::string_view code);
  // Leaves these keys alone: another finding explains them.
  void Ignore(const Words& keys);
  bool Has(std::string_view key) const { return Find(key).has_value(); }
  bool HasTemplate(std::string_view key) const;
  // Returns the place of the value of `key`, or of the map when it has none.
  core::Place PlaceOf(std::string_view key) const;

  // Reads the value of `key` into `out` when it is there.
  template <typename Out, typename... More>
  bool Read(std::string_view key, Out& out, const More&... more) {
    Node* node = Take(key);
    return node != nullptr && reader_.Read(*node, out, more...);
  }
  template <typename Out, typename... More>
  bool ReadNeeded(std::string_view key, Out& out, const More&... more) {
    Node* node = Need(key);
    return node != nullptr && reader_.Read(*node, out, more...);
  }
  template <typename Out, typename... More>
  bool Read(std::string_view key, std::optional<Out>& out, const More&... more) {
    Out value{};
    if (!Read(key, value, more...)) return false;
    out = value;
    return true;
  }
  bool ReadWord(std::string_view key, std::string& out, const Words& allowed);

  // Reports every key that was not taken. `elsewhere` are keys that other maps of this sort have;
  // `kind` says which sort this one is.
  void Finish(const Words& elsewhere = {}, std::string_view kind = "");

  Reader& reader() { return reader_; }
  std::string where() const;
  Node& node() { return node_; }

 private:
  std::optional<size_t> Find(std::string_view key) const;

  Reader& reader_;
  Node& node_;
  const std::string_view what_, name_;
  std::vector<char> taken_;              // By member.
  std::vector<std::string_view> known_;  // Every key that was asked for.
};

// Calls `visit(name, key node, value node)` for every member of a map whose keys are names. Reports
// what is no map or no name.
template <typename Visit>
void ForEachNamed(Reader& reader, Node& map, std::string_view what, const Visit& visit);

// Reports that a map is wanted; used by ForEachNamed.
bool CheckNamedMap(Reader& reader, const Node& map, std::string_view what);
bool CheckName(Reader& reader, const Node& key, std::string_view what);

template <typename Visit>
void ForEachNamed(Reader& reader, Node& map, std::string_view what, const Visit& visit) {
  if (!CheckNamedMap(reader, map, what)) return;
  for (size_t i = 0; i < map.member_count(); ++i) {
    CheckName(reader, map.key(i), what);
    // What is no name has been reported, and goes on in a length that messages can bear.
    visit(std::string(map.key(i).text.substr(0, 63)), map.key(i), map.value(i));
  }
}

}  // namespace cd4ml::yaml
