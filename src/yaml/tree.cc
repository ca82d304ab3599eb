// Builds the tree from the events of yaml-cpp. The only file that knows yaml-cpp.
#include "yaml/tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <istream>
#include <streambuf>

#include "yaml/scan.h"

namespace cd4ml::yaml {
namespace {

namespace code = core::code;

// Lets the library read the text where it lies.
class TextBuffer : public std::streambuf {
 public:
  explicit TextBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // A get area is never written to.
    setg(begin, begin, begin + text.size());
  }
};

// Collects events into nodes and checks them against the scanner's tokens.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(Tree& tree, const std::vector<ScalarToken>& scalars)
      : tree_(tree), scalars_(scalars) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    core::Place place = PlaceOf(mark);
    std::string_view word;
    if (IsNextScalar(place) && IsNullWord(scalars_[next_].text)) {
      place = scalars_[next_].place;
      word = scalars_[next_++].text;
    }
    CheckProperties(place, "?", anchor);
    Add({.place = place, .text = word});
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Find(PlaceOf(mark), code::kAnchor, "aliases are not part of the language");
    Add({.place = PlaceOf(mark)});
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Node node{.kind = tag == "!" ? Node::Kind::kQuoted : Node::Kind::kPlain,
              .place = PlaceOf(mark)};
    std::string_view source;
    // A scalar with an anchor or a tag is placed where that begins.
    const bool has_property = CheckProperties(node.place, tag, anchor);
    if (IsNextScalar(node.place) || (has_property && !has_seen_all())) {
      source = scalars_[next_].text;
      node.place = scalars_[next_++].place;
    } else if (tree_.findings.empty()) {
      Find(node.place, code::kAmbiguous, "this text can be read in more than one way");
    }
    if (HasControlCharacter(value)) {  // From an escape: "\0", "\e".
      Find(node.place, code::kControlCharacter, "this text contains a control character");
    }
    if (IsBlock(source)) node.kind = Node::Kind::kQuoted;
    const size_t at = source.find(value);
    node.text = at == std::string_view::npos ? tree_.Keep(value) : source.substr(at, value.size());
    Add(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(Node::Kind::kList, mark, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(Node::Kind::kMap, mark, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapEnd() override { Close(); }

  bool has_seen_all() const { return next_ == scalars_.size(); }

 private:
  static core::Place PlaceOf(const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1, 1}; }
  static bool IsNullWord(std::string_view text) {
    return text == "null" || text == "~" || text == "Null" || text == "NULL";
  }
  static bool IsBlock(std::string_view source) {
    return !source.empty() && (source[0] == '|' || source[0] == '>');
  }

  bool IsNextScalar(const core::Place& place) const {
    return next_ < scalars_.size() && scalars_[next_].place.line == place.line &&
           scalars_[next_].place.column == place.column;
  }

  // Returns whether there is an anchor or a tag, which is an error.
  bool CheckProperties(const core::Place& place, const std::string& tag, YAML::anchor_t anchor) {
    const bool has_anchor = anchor != YAML::NullAnchor;
    const bool has_tag = !tag.empty() && tag != "?" && tag != "!";
    if (has_anchor) Find(place, code::kAnchor, "anchors are not part of the language");
    if (has_tag) Find(place, code::kTag, "tags are not part of the language");
    return has_anchor || has_tag;
  }

  void CheckKeys(const Node& map) {
    std::vector<const Node*> keys;
    for (size_t i = 0; i < map.member_count(); ++i) {
      const Node& key = map.key(i);
      if (!key.is_scalar()) {
        Find(key.place, code::kKeyNotText,
             "a key must be a text, this is " + std::string(Described(key)));
      } else if (key.kind == Node::Kind::kPlain && key.text == "<<") {
        Find(key.place, code::kMergeKey, "merge keys are not part of the language");
      } else {
        keys.push_back(&key);
      }
    }
    std::stable_sort(keys.begin(), keys.end(),
                     [](const Node* a, const Node* b) { return a->text < b->text; });
    for (size_t i = 1; i < keys.size(); ++i) {
      if (keys[i]->text != keys[i - 1]->text) continue;
      Find(keys[i]->place, code::kDuplicateKey, "duplicate key " + core::Quoted(keys[i]->text),
           "the first stands in line " + std::to_string(keys[i - 1]->place.line));
    }
  }

  // The library places a value that is not there at whatever follows; it belongs to its key.
  static void PlaceMissing(Node& map) {
    for (size_t i = 0; i < map.member_count(); ++i) {
      if (map.value(i).is_null() && map.value(i).text.empty())
        map.value(i).place = map.key(i).place;
    }
  }

  void Open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    CheckProperties(PlaceOf(mark), tag, anchor);
    if (skipped_depth_ > 0 || open_.size() >= kDepthMax) {
      if (skipped_depth_++ == 0) {
        Find(PlaceOf(mark), code::kTooDeep,
             "nested deeper than " + std::to_string(kDepthMax) + " levels");
      }
      return;
    }
    open_.push_back({{.kind = kind, .place = PlaceOf(mark)}, complete_.size()});
  }

  void Close() {
    if (skipped_depth_ > 0) {
      // What was skipped stands as nothing, so that keys and values still come in pairs.
      if (--skipped_depth_ == 0) Add({.place = open_.back().node.place});
      return;
    }
    Node node = std::move(open_.back().node);
    const auto first = complete_.begin() + static_cast<std::ptrdiff_t>(open_.back().first_child);
    node.children.assign(std::move_iterator(first), std::move_iterator(complete_.end()));
    complete_.erase(first, complete_.end());
    open_.pop_back();
    if (node.is_map()) {
      CheckKeys(node);
      PlaceMissing(node);
    }
    Add(std::move(node));
  }

  void Add(Node node) {
    if (skipped_depth_ > 0) return;
    if (open_.empty()) {
      tree_.root = std::move(node);
    } else {
      complete_.push_back(std::move(node));
    }
  }

  void Find(const core::Place& place, std::string_view code, std::string message,
            std::string label = "") {
    if (tree_.findings.size() >= kFindingsMax) return;
    tree_.findings.push_back(core::MakeError(code, place, std::move(message), std::move(label)));
  }

  Tree& tree_;
  const std::vector<ScalarToken>& scalars_;
  size_t next_ = 0;  // The next scalar that the scanner saw.
  struct OpenNode {
    Node node;
    size_t first_child;  // In complete_.
  };
  std::vector<OpenNode> open_;  // Lists and maps that are not complete, the innermost last.
  std::vector<Node>
      complete_;           // Their children so far: each gets one allocation when all are known.
  int skipped_depth_ = 0;  // Levels below kDepthMax that are left out.
};

// Says in our words what the library says in its own.
std::string Translated(const std::string& message) {
  static constexpr std::pair<std::string_view, std::string_view> kTexts[] = {
      {"end of map not found",
       "the map that ends here is not well-formed; is the indentation right?"},
      {"end of sequence not found",
       "the list that ends here is not well-formed; is the indentation right?"},
      {"end of map flow not found", "the map in { } is not well-formed; is a comma missing?"},
      {"end of sequence flow not found", "the list in [ ] is not well-formed; is a comma missing?"},
      {"illegal map value", "a value cannot stand here; does a text with \": \" lack quotes?"},
      {"illegal block entry", "an entry \"- \" cannot stand here; is the indentation right?"},
      {"illegal map key", "a key cannot stand here; is the indentation right?"},
      {"bad file", "this part of the file cannot be read"},
  };
  for (const auto& [theirs, ours] : kTexts) {
    if (message.find(theirs) != std::string::npos) return std::string(ours);
  }
  return "not valid YAML: " + message;
}

void ReadEvents(std::string_view text, const Scan& scan, Tree& tree) {
  TextBuffer buffer(text);
  std::istream stream(&buffer);
  TreeBuilder builder(tree, scan.scalars);
  const auto find = [&](core::Place place, std::string_view code, std::string message) {
    tree.findings.push_back(core::MakeError(code, place, std::move(message)));
  };
  try {
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) {
      find({}, code::kEmptyFile, "the file is empty");
      return;
    }
    Tree rest;
    const std::vector<ScalarToken> none;
    TreeBuilder ignored(rest, none);
    if (parser.HandleNextDocument(ignored)) {
      find(rest.root.place, code::kMoreDocuments, "text follows the end of the document");
    } else if (!builder.has_seen_all() && tree.findings.empty()) {
      find({}, code::kAmbiguous, "a part of the file can be read in more than one way");
    }
    tree.is_usable = true;
  } catch (const YAML::Exception& error) {
    const bool has_place = !error.mark.is_null();
    find(has_place ? core::Place{error.mark.line + 1, error.mark.column + 1, 1} : core::Place{},
         code::kNotYaml, Translated(error.msg));
  }
}

bool IsJsonNumber(std::string_view text) {
  size_t at = text.starts_with('-') ? 1 : 0;
  const auto digits = [&] {
    const size_t begin = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at - begin;
  };
  const bool starts_with_zero = at < text.size() && text[at] == '0';
  const size_t whole = digits();
  if (whole == 0 || (starts_with_zero && whole > 1)) return false;
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (digits() == 0) return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (digits() == 0) return false;
  }
  return at == text.size();
}

void AppendJson(const Node& node, std::string& out) {
  switch (node.kind) {
    case Node::Kind::kNull:
      out += "null";
      return;
    case Node::Kind::kPlain:
      if (!ScalarValue(node).is_string()) {
        out += node.text;
        return;
      }
      [[fallthrough]];
    case Node::Kind::kQuoted:
      out += cd4ml::ToJson(Value(node.text));
      return;
    case Node::Kind::kList:
    case Node::Kind::kMap:
      out.push_back(node.is_map() ? '{' : '[');
      for (size_t i = 0; i < node.children.size(); ++i) {
        const bool is_value = node.is_map() && i % 2 == 1;
        if (i > 0) out += is_value ? ": " : ", ";
        const bool is_key = node.is_map() && !is_value;
        if (is_key) {
          out += cd4ml::ToJson(Value(node.children[i].text));
        } else {
          AppendJson(node.children[i], out);
        }
      }
      out.push_back(node.is_map() ? '}' : ']');
      return;
  }
}

}  // namespace

bool HasControlCharacter(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<uint8_t>(c);
    return (byte < 0x20 && c != '\n' && c != '\t' && c != '\r') || byte == 0x7F;
  });
}

std::string_view Tree::Keep(std::string text) { return texts.emplace_back(std::move(text)); }

Tree LoadTree(std::string_view text) {
  Tree tree;
  Scan scan = ScanText(text);
  if (scan.findings.empty()) {
    ReadEvents(text, scan, tree);
  } else {
    tree.findings = std::move(scan.findings);
  }
  return tree;
}

Value ScalarValue(const Node& node) {
  if (node.is_null()) return Value();
  if (node.kind == Node::Kind::kPlain) {
    if (node.text == "true" || node.text == "false") return Value(node.text == "true");
    if (IsJsonNumber(node.text)) {
      const char* end = node.text.data() + node.text.size();
      int64_t integer = 0;
      const auto read = std::from_chars(node.text.data(), end, integer);
      if (read.ec == std::errc() && read.ptr == end) return Value(integer);
      double number = 0;
      if (std::from_chars(node.text.data(), end, number).ec == std::errc()) return Value(number);
    }
  }
  return Value(node.text);
}

Value ToValue(const Node& node) {
  if (node.is_list()) {
    Value::List list;
    for (const Node& child : node.children) list.push_back(ToValue(child));
    return list;
  }
  if (node.is_map()) {
    Value::Map map;
    for (size_t i = 0; i < node.member_count(); ++i) {
      map.emplace(std::string(node.key(i).text), ToValue(node.value(i)));
    }
    return map;
  }
  return ScalarValue(node);
}

Node ToNode(const Value& value, const core::Place& place, Tree& tree) {
  Node node{.place = place};
  if (value.is_list()) {
    node.kind = Node::Kind::kList;
    for (const Value& item : value.list()) node.children.push_back(ToNode(item, place, tree));
  } else if (value.is_map()) {
    node.kind = Node::Kind::kMap;
    for (const auto& [key, item] : value.map()) {
      node.children.push_back(ToNode(Value(key), place, tree));
      node.children.push_back(ToNode(item, place, tree));
    }
  } else if (!value.is_null()) {
    node.kind = value.is_string() ? Node::Kind::kQuoted : Node::Kind::kPlain;
    node.text = tree.Keep(ToText(value));
  }
  return node;
}

std::string ToJson(const Node& node) {
  std::string out;
  AppendJson(node, out);
  return out;
}

std::string_view Described(const Node& node) {
  if (node.is_null()) return "nothing";
  if (node.is_list()) return "a list";
  if (node.is_map()) return "a map";
  const Value value = ScalarValue(node);
  return value.is_number() ? "a number" : value.is_bool() ? "true or false" : "a text";
}

}  // namespace cd4ml::yaml
