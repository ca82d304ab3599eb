// A YAML document as a tree of nodes that know their places.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "cd4ml/base/value.h"
#include "cd4ml/core/diagnostic.h"

namespace cd4ml::yaml {

// A null, a scalar, a list or a map. The children of a map are key, value, key, value, ...
struct Node {
  enum class Kind : uint8_t { kNull, kPlain, kQuoted, kList, kMap };
  Kind kind = Kind::kNull;
  core::Place place = {};
  // Of scalars, and of a null that is written. Lives as long as the tree and the source text.
  std::string_view text = {};
  std::vector<Node> children = {};

  bool is_null() const { return kind == Kind::kNull; }
  bool is_scalar() const { return kind == Kind::kPlain || kind == Kind::kQuoted; }
  bool is_list() const { return kind == Kind::kList; }
  bool is_map() const { return kind == Kind::kMap; }

  size_t member_count() const { return children.size() / 2; }
  const Node& key(size_t i) const { return children[2 * i]; }
  Node& value(size_t i) { return children[2 * i + 1]; }
  const Node& value(size_t i) const { return children[2 * i + 1]; }
};

struct Tree {
  Node root;
  std::deque<std::string> texts;  // Texts that do not stand in the source as they are.
  core::Diagnostics findings;     // What is wrong with the form; no more than a bounded number.
  bool is_usable = false;         // Whether `root` holds the document, possibly with findings.

  // Keeps `text` as long as the tree.
  std::string_view Keep(std::string text);
};

constexpr size_t kFindingsMax = 100;

// Reads `text`, which must outlive the tree. Never throws; linear in time and memory.
Tree LoadTree(std::string_view text);

// Returns the value of a scalar without quotes: null, true, false and numbers as JSON writes them
// have their types, everything else is text.
Value ScalarValue(const Node& node);

// Returns the whole as a value. Duplicate keys were refused by LoadTree.
Value ToValue(const Node& node);

// Returns `value` as nodes at `place`.
Node ToNode(const Value& value, const core::Place& place, Tree& tree);

// Returns whether `text` holds control characters other than line breaks and tabs.
bool HasControlCharacter(std::string_view text);

// Returns compact JSON in the order of the tree. Reading that again gives the same tree.
std::string ToJson(const Node& node);

// Returns "a list", "a map", "a text", "a number", "true or false" or "nothing", for messages.
std::string_view Described(const Node& node);

}  // namespace cd4ml::yaml
