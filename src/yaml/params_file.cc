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

// DVC's own files are read with the same strictness, but their keys are paths, and DVC writes YAML 1.2.
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

// Returns whether YAML 1.2, which DVC reads and writes, takes `text` for text and 1.1 does not.
bool IsOldWord(std::string_view text) {
  return IsWord(text) && std::string_view("ynoYNO").find(text[0]) != std::string_view::npos;
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

constexpr std::string_view kDecimal = "0123456789", kGrouped = "0123456789_";

// Removes what `text` begins with of `characters`; returns how much.
size_t Skip(std::string_view& text, std::string_view characters, size_t most = std::string_view::npos) {
  const size_t count = std::min({text.find_first_not_of(characters), text.size(), most});
  text.remove_prefix(count);
  return count;
}

bool SkipExponent(std::string_view& text, bool is_signed) {
  return Skip(text, "eE", 1) == 1 && (Skip(text, "+-", 1) == 1 || !is_signed) && Skip(text, kDecimal) > 0;
}

// Returns whether every reader takes `text` for the same number: 12, -0.5, .5, 1., 1.0e-3.
bool IsPlainNumber(std::string_view text) {
  const bool is_signed = Skip(text, "+-", 1) == 1, has_zero = text.starts_with('0');
  const size_t whole = Skip(text, kDecimal);
  if ((has_zero && whole > 1) || (whole == 0 && is_signed)) return false;   // PyYAML takes -.5 for text.
  if (text.empty()) return whole > 0;
  if (Skip(text, ".", 1) == 0 || (Skip(text, kDecimal) == 0 && whole == 0)) return false;
  return text.empty() || (SkipExponent(text, /*is_signed=*/true) && text.empty());
}

// Returns whether some reader of YAML 1.1 or 1.2 takes `text` for a number: also 1e3, 0x1F, 010, 1_000, and 1:30 for 90.
bool IsSomeNumber(std::string_view text) {
  Skip(text, "+-", 1);
  for (const auto& [prefix, digits] : {std::pair("0b", "01_"), std::pair("0o", "01234567_"),
                                       std::pair("0x", "0123456789abcdefABCDEF_")}) {
    if (text.starts_with(prefix) && text.size() > 2) return text.find_first_not_of(digits, 2) == std::string_view::npos;
  }
  const size_t first = text.starts_with('.') ? 1 : 0;
  if (text.size() == first || kDecimal.find(text[first]) == std::string_view::npos) return false;
  const bool has_zero = text.starts_with('0');
  Skip(text, kGrouped);
  bool is_sixties = false;
  while (text.starts_with(':')) {
    text.remove_prefix(1);
    const bool is_two = text.size() > 1 && kDecimal.find(text[1]) != std::string_view::npos;
    if ((is_two && text[0] > '5') || Skip(text, kDecimal, 2) == 0) return false;
    is_sixties = true;
  }
  if (text.empty()) return !is_sixties || !has_zero;
  const bool has_point = Skip(text, ".", 1) == 1;
  if (is_sixties && !has_point) return false;
  if (has_point) Skip(text, kGrouped);
  return text.empty() || (!is_sixties && SkipExponent(text, /*is_signed=*/false) && text.empty());
}

// Returns whether YAML 1.1 takes `text` for a date or a time: 2024-01-01, 2024-1-1 10:00:00Z.
bool IsSomeTime(std::string_view text) {
  if (Skip(text, kDecimal) != 4 || Skip(text, "-", 1) == 0) return false;
  const size_t month = Skip(text, kDecimal);
  if (month < 1 || month > 2 || Skip(text, "-", 1) == 0) return false;
  const size_t day = Skip(text, kDecimal);
  if (day < 1 || day > 2) return false;
  if (text.empty()) return month == 2 && day == 2;
  if (Skip(text, "Tt", 1) == 0 && Skip(text, " \t") == 0) return false;
  return !text.empty() && kDecimal.find(text[0]) != std::string_view::npos && text.find(':') != std::string_view::npos &&
         text.find_first_not_of("0123456789:.+-Z \t") == std::string_view::npos;
}

// Returns what to write in place of a scalar that is another value to a program that reads YAML than to the record; "" for
// any other.
std::string Misread(const Node& node, const Value& value) {
  if (node.kind != Node::Kind::kPlain || SpecialNumber(node.text)) return "";
  const auto* number = std::get_if<double>(&value.data);
  const bool is_whole = node.text.find_first_of(".eE") == std::string_view::npos;
  if (value.is_number() && IsPlainNumber(node.text) && !(number != nullptr && is_whole)) return "";
  if (!value.is_number() && !IsSomeNumber(node.text) && !IsSomeTime(node.text)) return "";
  if (number == nullptr || is_whole || !std::isfinite(*number)) return "put it in quotes, or write a plain number";
  return "write " + NumberText(*number) + ", or put it in quotes";
}

// What is read: who else reads it.
enum class Readers { kPrograms, kUs, kDvc };

Value Convert(const Node& node, Readers readers, core::Diagnostics& findings) {
  if (node.is_list()) {
    Value::List list;
    for (const Node& child : node.children) list.push_back(Convert(child, readers, findings));
    return list;
  }
  if (node.is_map()) {
    Value::Map map;
    for (size_t i = 0; i < node.member_count(); ++i) {
      map.emplace(std::string(node.key(i).text), Convert(node.value(i), readers, findings));
    }
    return map;
  }
  if (IsAmbiguous(node) && !(readers == Readers::kDvc && IsOldWord(node.text)) && findings.size() < kFindingsMax) {
    findings.push_back(core::MakeError(
        code::kAmbiguous, node.place,
        std::string(node.text) + " is text to some readers of YAML and not to others", "",
        "write true, false or null, or put it in quotes"));
  }
  Value value = ParamScalar(node);
  const std::string instead = readers == Readers::kPrograms ? Misread(node, value) : "";
  if (!instead.empty() && findings.size() < kFindingsMax) {
    findings.push_back(core::MakeError(code::kAmbiguous, node.place,
                                       std::string(node.text.substr(0, 60)) +
                                           " is not the same to all readers of YAML", instead));
  }
  return value;
}

absl::Status ToStatus(std::string_view text, std::string_view file, core::Diagnostics findings) {
  core::Locate(text, file, findings);
  std::string message;
  for (const core::Diagnostic& finding : findings)
    message += (message.empty() ? "" : "; ") + core::Brief(finding);
  return absl::InvalidArgumentError(message);
}

// A file of comments only holds no parameters, and that is no mistake.
bool IsWithoutParams(const Tree& tree) {
  const bool is_empty = tree.findings.size() == 1 && tree.findings[0].code == code::kEmptyFile;
  return is_empty || (tree.findings.empty() && tree.root.is_null());
}

// For programs, whatever other readers of YAML read differently is refused.
absl::StatusOr<Value> ReadYaml(std::string_view text, std::string_view file, Readers readers) {
  Tree tree = LoadTree(text);
  if (IsWithoutParams(tree)) return Value(Value::Map());
  if (!tree.findings.empty()) return ToStatus(text, file, std::move(tree.findings));
  core::Diagnostics findings;
  Value value = Convert(tree.root, readers, findings);
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

// --- editing: the file as people wrote it, with other scalars and what it lacks ---

struct Edit {
  core::Place place;
  std::string text;
};

int LastLine(const Node& node) {
  int line = node.place.line;
  for (const Node& child : node.children) line = std::max(line, LastLine(child));
  return line;
}

// Notes where the members that a map of the file lacks are to be added. Returns false when they cannot be.
bool AddMembers(const Node& map, const Value::Map& members, Format format, std::vector<Edit>& edits) {
  if (map.member_count() == 0) return false;
  const core::Place& first = map.key(0).place;
  std::string text;
  if (map.place.line == first.line && map.place.column == first.column) {   // Nothing goes before the first key.
    const size_t indent = static_cast<size_t>(first.column) - 1;
    Append(Value(members), indent, text);
    if (indent > 0) text.erase(0, 1);
    edits.push_back({{LastLine(map) + 1, 1, 0}, std::move(text)});
    return true;
  }
  const Node& last = map.value(map.member_count() - 1);
  if (!last.is_scalar()) return false;
  for (const auto& [key, value] : members) {
    text += ", " + (format == Format::kJson ? ToJson(Value(key)) : KeyText(key)) + ": " +
            (Nests(value) ? ToJson(value) : ScalarText(value, format));
  }
  edits.push_back({{last.place.line, last.place.column + last.place.length, 0}, std::move(text)});
  return true;
}

// Notes which scalars have to change, and what has to be added. Returns false when more than that differs.
bool FindEdits(const Node& node, const Value& wanted, Format format, std::vector<Edit>& edits) {
  if (node.is_map()) {
    if (!wanted.is_map()) return false;
    Value::Map added = wanted.map();
    for (size_t i = 0; i < node.member_count(); ++i) {
      if (added.erase(std::string(node.key(i).text)) == 0) return false;
    }
    // Before what is added inside: of two texts for one place the one that is noted first comes last.
    if (!added.empty() && !AddMembers(node, added, format, edits)) return false;
    for (size_t i = 0; i < node.member_count(); ++i) {
      if (!FindEdits(node.value(i), *wanted.Find(node.key(i).text), format, edits)) return false;
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

// Returns `text` with other scalars and more members, if that is all that has to change.
std::optional<std::string> Edited(std::string_view text, const Value& wanted, Format format) {
  const Tree tree = LoadTree(text);
  std::vector<Edit> edits;
  std::string edited(text);
  if (!edited.empty() && edited.back() != '\n') edited += '\n';
  if (format == Format::kYaml && IsWithoutParams(tree)) {   // Comments, at most.
    if (!Nests(wanted)) return std::string(text);
    Append(wanted, 0, edited);
    return edited;
  }
  if (!tree.findings.empty() || !FindEdits(tree.root, wanted, format, edits)) return std::nullopt;
  const bool adds_lines = std::any_of(edits.begin(), edits.end(), [](const Edit& edit) { return edit.text.ends_with('\n'); });
  if (!adds_lines) edited = text;
  std::vector<size_t> lines = {0};
  for (size_t at = edited.find('\n'); at != std::string::npos; at = edited.find('\n', at + 1)) lines.push_back(at + 1);
  std::stable_sort(edits.begin(), edits.end(), [](const Edit& a, const Edit& b) {
    return std::pair(a.place.line, a.place.column) > std::pair(b.place.line, b.place.column);
  });
  for (const Edit& edit : edits) {
    const size_t line = static_cast<size_t>(edit.place.line) - 1;
    if (line >= lines.size()) return std::nullopt;
    const size_t begin = lines[line] + static_cast<size_t>(edit.place.column) - 1;
    if (begin > edited.size()) return std::nullopt;
    edited.replace(begin, static_cast<size_t>(edit.place.length), edit.text);
  }
  return edited;
}

absl::StatusOr<Value> Read(std::string_view text, std::string_view file, Readers readers) {
  CD4ML_ASSIGN_OR_RETURN(const Format format, FormatOf(file));
  if (text.size() > kBytesMax) {
    return absl::InvalidArgumentError(std::string(file) + " is larger than " +
                                      std::to_string(kBytesMax) + " bytes");
  }
  absl::StatusOr<Value> value = format == Format::kJson ? ParseJson(text) : ReadYaml(text, file, readers);
  if (!value.ok()) return format == Format::kJson ? Annotate(value.status(), file) : value.status();
  if (!value->is_map()) {
    return absl::InvalidArgumentError(std::string(file) +
                                      " must hold a map, it holds a " +
                                      std::string(TypeName(*value)));
  }
  return value;
}

}  // namespace

absl::StatusOr<Value> ReadDocument(std::string_view text, std::string_view file) {
  return Read(text, file, Readers::kUs);
}

absl::StatusOr<Value> ReadParamsFile(std::string_view text, std::string_view file) {
  absl::StatusOr<Value> value = Read(text, file, IsOfDvc(file) ? Readers::kDvc : Readers::kPrograms);
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
  if (const auto edited = Edited(text, params, format); edited && !edited->empty()) {
    const absl::StatusOr<Value> again = ReadParamsFile(*edited, file);
    if (again.ok() && ToJson(*again) == ToJson(params)) return *edited;
  }
  if (format == Format::kJson) return ToPrettyJson(params) + "\n";
  std::string out;
  Append(params, 0, out);
  return params == Value(Value::Map()) ? "{}\n" : out;
}

}  // namespace cd4ml::yaml
