// Parameter files in YAML and JSON.
#include "yaml/params_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "cd4ml/base/status.h"
#include "yaml/scan.h"
#include "yaml/tree.h"

namespace cd4ml::yaml {
namespace {

namespace code = core::code;

enum class Format { kYaml, kJson };

// DVC's own files are read with the same strictness, but their keys are paths.
bool IsOfDvc(std::string_view file) {
  return file.ends_with(".dvc") || file.ends_with("dvc.lock") || file.ends_with("dvc.yaml");
}

absl::StatusOr<Format> FormatOf(std::string_view file) {
  if (file.ends_with(".yaml") || file.ends_with(".yml") || IsOfDvc(file)) return Format::kYaml;
  if (file.ends_with(".json")) return Format::kJson;
  return absl::InvalidArgumentError(std::string(file) +
                                    ": such files end in .yaml, .yml, .json or .toml");
}

// Returns whether some reader of YAML takes `text` for true, false or null.
bool IsWord(std::string_view text) {
  static constexpr std::array<std::string_view, 9> kWords = {"y",   "n",    "yes",   "no",  "on",
                                                             "off", "true", "false", "null"};
  if (text.size() > 5) return false;
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(kWords.begin(), kWords.end(), lower) != kWords.end();
}

// YAML 1.1, which PyYAML reads, has more words for true, false and null than we have. A program and
// the record must not be told two things, so such words are refused.
bool IsAmbiguous(const Node& node) {
  return node.kind == Node::Kind::kPlain && node.text.size() > 1 && IsWord(node.text) &&
         node.text != "true" && node.text != "false";
}

// YAML's own way to write what no JSON number is.
std::optional<double> SpecialNumber(std::string_view text) {
  if (text == ".nan" || text == ".NaN" || text == ".NAN") return std::nan("");
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  if (text != ".inf" && text != ".Inf" && text != ".INF") return std::nullopt;
  const double infinity = std::numeric_limits<double>::infinity();
  return is_negative ? -infinity : infinity;
}

// Numbers that YAML has and JSON has not: +1, .5, 1., .inf.
Value ParamScalar(const Node& node) {
  Value value = ScalarValue(node);
  if (node.kind != Node::Kind::kPlain || !value.is_string()) return value;
  if (const auto special = SpecialNumber(node.text)) return Value(*special);
  if (node.text.find_first_of("0123456789") == std::string_view::npos) return value;
  std::string text(node.text);
  const size_t sign = text.starts_with('+') || text.starts_with('-') ? 1 : 0;
  if (text.size() > sign && text[sign] == '.') text.insert(sign, "0");
  if (text.ends_with('.')) text += "0";
  if (text.starts_with('+')) text.erase(0, 1);
  if (text == node.text) return value;
  const Value number = ScalarValue({.kind = Node::Kind::kPlain, .text = text});
  return number.is_number() ? number : value;
}

Value Convert(const Node& node, core::Diagnostics& findings) {
  if (node.is_list()) {
    Value::List list;
    for (const Node& child : node.children) list.push_back(Convert(child, findings));
    return list;
  }
  if (node.is_map()) {
    Value::Map map;
    for (size_t i = 0; i < node.member_count(); ++i) {
      map.emplace(std::string(node.key(i).text), Convert(node.value(i), findings));
    }
    return map;
  }
  if (IsAmbiguous(node) && findings.size() < kFindingsMax) {
    findings.push_back(core::MakeError(
        code::kAmbiguous, node.place,
        std::string(node.text) + " is text to some readers of YAML and not to others", "",
        "write true, false or null, or put it in quotes"));
  }
  return ParamScalar(node);
}

absl::Status ToStatus(std::string_view text, std::string_view file, core::Diagnostics findings) {
  core::Locate(text, file, findings);
  std::string message;
  for (const core::Diagnostic& finding : findings)
    message += (message.empty() ? "" : "; ") + core::Brief(finding);
  return absl::InvalidArgumentError(message);
}

absl::StatusOr<Value> ReadYaml(std::string_view text, std::string_view file) {
  Tree tree = LoadTree(text);
  // A file of comments only holds no parameters, and that is no mistake.
  const bool is_empty = tree.findings.size() == 1 && tree.findings[0].code == code::kEmptyFile;
  if (is_empty || (tree.findings.empty() && tree.root.is_null())) return Value(Value::Map());
  if (!tree.findings.empty()) return ToStatus(text, file, std::move(tree.findings));
  core::Diagnostics findings;
  Value value = Convert(tree.root, findings);
  if (!findings.empty()) return ToStatus(text, file, std::move(findings));
  return value;
}

// Returns a key with a dot, which cannot be told from a nested parameter, or "".
std::string DottedKey(const Value& value) {
  if (!value.is_map()) return "";
  for (const auto& [key, member] : value.map()) {
    if (key.find('.') != std::string::npos) return key;
    if (std::string dotted = DottedKey(member); !dotted.empty()) return dotted;
  }
  return "";
}

// --- writing ---

// PyYAML takes a float only with a point, and an exponent only with a sign.
std::string NumberText(double number) {
  if (std::isnan(number)) return ".nan";
  if (std::isinf(number)) return number > 0 ? ".inf" : "-.inf";
  std::string text = ToJson(Value(number));
  const size_t exponent = text.find('e');
  if (exponent == std::string::npos) return text;
  if (text[exponent + 1] != '-' && text[exponent + 1] != '+') text.insert(exponent + 1, "+");
  if (text.find('.') == std::string::npos) text.insert(exponent, ".0");
  return text;
}

// JSON's text is YAML's too, but for characters that YAML takes for line breaks or for none at all.
std::string QuotedText(const std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kEscapes[] = {
      {"\x7F", "\\x7F"},           {"\u2028", "\\u2028"}, {"\u2029", "\\u2029"},
      {"\xEF\xBB\xBF", "\\uFEFF"}, {"\uFFFE", "\\uFFFE"}, {"\uFFFF", "\\uFFFF"}};
  const std::string json = ToJson(Value(text));
  std::string out;
  for (size_t i = 0; i < json.size(); ++i) {
    const std::string_view rest = std::string_view(json).substr(i);
    const auto* escape = std::find_if(std::begin(kEscapes), std::end(kEscapes),
                                      [&](const auto& one) { return rest.starts_with(one.first); });
    if (escape != std::end(kEscapes)) {
      out += escape->second;
      i += escape->first.size() - 1;
    } else if (rest[0] == '\xC2' && static_cast<uint8_t>(rest[1]) < 0xA0) {  // U+0080 to U+009F.
      static constexpr char kDigits[] = "0123456789ABCDEF";
      const auto low = static_cast<uint8_t>(json[++i]);
      out += {'\\', 'x', kDigits[low >> 4], kDigits[low & 15]};
    } else {
      out.push_back(json[i]);
    }
  }
  return out;
}

std::string KeyText(const std::string& key) {
  const bool is_plain =
      !key.empty() && !IsWord(key) && std::all_of(key.begin(), key.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
      });
  return is_plain ? key : QuotedText(key);
}

bool Nests(const Value& value) {
  return (value.is_map() && !value.map().empty()) || (value.is_list() && !value.list().empty());
}

std::string ScalarText(const Value& value, Format format) {
  if (format == Format::kJson) return ToJson(value);
  if (const auto* number = std::get_if<double>(&value.data)) return NumberText(*number);
  return value.is_string() ? QuotedText(value.string()) : ToJson(value);
}

void Append(const Value& value, size_t indent, std::string& out) {
  const std::string margin(indent, ' ');
  if (!Nests(value)) {
    out += " " + ScalarText(value, Format::kYaml) + "\n";
  } else if (value.is_map()) {
    if (indent > 0) out += "\n";
    for (const auto& [key, member] : value.map()) {
      out += margin + KeyText(key) + ":";
      Append(member, indent + 2, out);
    }
  } else {
    out += "\n";
    for (const Value& item : value.list()) {
      out += margin + "-";
      Append(item, indent + 2, out);
    }
  }
}

// --- editing: the file as people wrote it, with other scalars ---

struct Edit {
  core::Place place;
  std::string text;
};

// Notes which scalars have to change. Returns false when more than scalars differs.
bool FindEdits(const Node& node, const Value& wanted, Format format, std::vector<Edit>& edits) {
  if (node.is_map()) {
    if (!wanted.is_map() || wanted.map().size() != node.member_count()) return false;
    for (size_t i = 0; i < node.member_count(); ++i) {
      const Value* member = wanted.Find(node.key(i).text);
      if (member == nullptr || !FindEdits(node.value(i), *member, format, edits)) return false;
    }
    return true;
  }
  if (node.is_list()) {
    if (!wanted.is_list() || wanted.list().size() != node.children.size()) return false;
    for (size_t i = 0; i < node.children.size(); ++i) {
      if (!FindEdits(node.children[i], wanted.list()[i], format, edits)) return false;
    }
    return true;
  }
  if (wanted.is_list() || wanted.is_map()) return false;
  if (ToJson(ParamScalar(node)) == ToJson(wanted)) return true;
  edits.push_back({node.place, ScalarText(wanted, format)});
  return !node.text.empty() || node.kind == Node::Kind::kQuoted;
}

// Returns `text` with other scalars, if that is all that has to change.
std::optional<std::string> Edited(std::string_view text, const Value& wanted, Format format) {
  const Tree tree = LoadTree(text);
  std::vector<Edit> edits;
  if (!tree.findings.empty() || !FindEdits(tree.root, wanted, format, edits)) return std::nullopt;
  std::vector<size_t> lines = {0};
  for (size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) lines.push_back(at + 1);
  std::sort(edits.begin(), edits.end(), [](const Edit& a, const Edit& b) {
    return std::pair(a.place.line, a.place.column) > std::pair(b.place.line, b.place.column);
  });
  std::string edited(text);
  for (const Edit& edit : edits) {
    const size_t begin = lines.at(static_cast<size_t>(edit.place.line) - 1) + static_cast<size_t>(edit.place.column) - 1;
    edited.replace(begin, static_cast<size_t>(edit.place.length), edit.text);
  }
  return edited;
}

}  // namespace

absl::StatusOr<Value> ReadDocument(std::string_view text, std::string_view file) {
  CD4ML_ASSIGN_OR_RETURN(const Format format, FormatOf(file));
  if (text.size() > kBytesMax) {
    return absl::InvalidArgumentError(std::string(file) + " is larger than " +
                                      std::to_string(kBytesMax) + " bytes");
  }
  absl::StatusOr<Value> value = format == Format::kJson ? ParseJson(text) : ReadYaml(text, file);
  if (!value.ok()) return format == Format::kJson ? Annotate(value.status(), file) : value.status();
  if (!value->is_map()) {
    return absl::InvalidArgumentError(std::string(file) +
                                      " must hold a map, it holds a " +
                                      std::string(TypeName(*value)));
  }
  return value;
}

absl::StatusOr<Value> ReadParamsFile(std::string_view text, std::string_view file) {
  absl::StatusOr<Value> value = ReadDocument(text, file);
  if (!value.ok()) return value;
  if (const std::string key = DottedKey(*value); !key.empty() && !IsOfDvc(file)) {
    return absl::InvalidArgumentError(std::string(file) + ": a dot in " + core::Quoted(key) +
                                      " cannot be told from a nested parameter");
  }
  return value;
}

absl::StatusOr<std::string> WriteParamsFile(const Value& params, std::string_view text,
                                            std::string_view file) {
  CD4ML_ASSIGN_OR_RETURN(const Format format, FormatOf(file));
  // Nothing is taken on trust: what was edited has to say what is wanted when it is read again.
  if (const auto edited = Edited(text, params, format)) {
    const absl::StatusOr<Value> again = ReadParamsFile(*edited, file);
    if (again.ok() && ToJson(*again) == ToJson(params)) return *edited;
  }
  if (format == Format::kJson) return ToPrettyJson(params) + "\n";
  std::string out;
  Append(params, 0, out);
  return params == Value(Value::Map()) ? "{}\n" : out;
}

}  // namespace cd4ml::yaml
