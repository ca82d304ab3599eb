// A scanner for the part of YAML that definitions use.
//
// yaml-cpp 0.7 accepts unclosed quotes, empty entries, control characters and text behind the end
// of a document without a word, loops for ever on a stray comma, and needs hundreds of megabytes
// for a row of brackets. This scanner knows just enough of the grammar to tell where each scalar
// begins and ends; the loader (tree.cc) then refuses a text that the library sees otherwise.
#include "yaml/scan.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "cd4ml/base/text.h"

namespace cd4ml::yaml {
namespace {

namespace code = core::code;

bool IsBlank(char c) { return c == ' ' || c == '\t'; }
bool IsBreakOrEnd(char c) { return c == '\n' || c == '\r' || c == '\0'; }
bool IsFlowMark(char c) { return c == ',' || c == '[' || c == ']' || c == '{' || c == '}'; }

// Returns the length of the no-break or other wide space at the beginning of `text`, or 0.
size_t WideSpace(std::string_view text) {
  for (std::string_view space : {"\u00A0", "\u2007", "\u202F", "\u3000", "\uFEFF"}) {
    if (text.starts_with(space)) return space.size();
  }
  return 0;
}

// Returns what is wrong with the character at the beginning of `text`, or "".
std::string_view ControlCharacter(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  const uint8_t lead = byte(0);
  if (lead >= 0x20 && lead < 0x7F) return "";
  if (lead == '\n' || lead == '\t' || (lead == '\r' && byte(1) == '\n')) return "";
  if (lead == 0) return "NUL";
  if (lead == '\r') return "a carriage return without a line feed";
  if (lead == 0x1B) return "ESC";
  if (lead < 0x20 || lead == 0x7F || (lead == 0xC2 && byte(1) < 0xA0)) return "a control character";
  const bool turns = lead == 0xE2 && ((byte(1) == 0x80 && byte(2) >= 0xAA && byte(2) <= 0xAE) ||
                                      (byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9));
  return turns ? "a mark that reverses the direction of text" : "";
}

struct Bracket {
  core::Place place;
  char mark;
};

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  Scan Run() {
    scan_.scalars.reserve(std::min(text_.size() / 8, kValuesMax));  // Touched only as far as used.
    if (CheckBytes()) ScanTokens();
    return std::move(scan_);
  }

 private:
  // --- bytes ---

  bool CheckBytes() {
    if (text_.size() > kBytesMax) {
      return Refuse({}, code::kTooLarge,
                    "file has " + std::to_string(text_.size()) + " bytes, more than " +
                        std::to_string(kBytesMax));
    }
    if (text_.starts_with("\xEF\xBB\xBF") || text_.starts_with("\xFF\xFE") ||
        text_.starts_with("\xFE\xFF")) {
      return Refuse({1, 1, 1}, code::kByteOrderMark, "file begins with a byte order mark");
    }
    const bool is_utf8 = IsUtf8(text_);
    for (size_t i = 0, begin = 0; i < text_.size(); ++i) {
      const std::string_view what = ControlCharacter(text_.substr(i));
      if (!what.empty()) {
        return Refuse(PlaceAt(i, 1), code::kControlCharacter, "text contains " + std::string(what));
      }
      if (text_[i] != '\n' && i + 1 < text_.size()) continue;
      if (!is_utf8 && !IsUtf8(text_.substr(begin, i + 1 - begin))) {
        return Refuse(PlaceAt(begin, 1), code::kNotUtf8, "this line is not UTF-8");
      }
      NextLine(i + 1);
      begin = i + 1;
    }
    line_ = 1;
    line_begin_ = 0;
    return true;
  }

  // --- tokens ---

  void ScanTokens() {
    while (scan_.findings.empty() && at_ < text_.size()) {
      if (at_ == line_begin_ && !BeginLine()) continue;
      ScanToken();
    }
    if (scan_.findings.empty()) CheckColon();
    if (scan_.findings.empty() && !open_.empty()) {
      Refuse(open_.back().place, code::kUnclosed,
             "\"" + std::string(1, open_.back().mark) + "\" is not closed");
    }
  }

  // Looks at the beginning of a line. Returns false when nothing is to be read there.
  bool BeginLine() {
    after_value_ = after_value_ && !open_.empty();
    bool has_tab = false;
    while (IsBlank(Here())) has_tab |= text_[at_++] == '\t';
    if (IsBreakOrEnd(Here()) || Here() == '#') {
      SkipBlankOrComment();
      return false;
    }
    if (WideSpace(text_.substr(at_)) > 0 || (has_tab && open_.empty())) {
      return Refuse(PlaceAt(at_ > line_begin_ && has_tab ? line_begin_ : at_, 1),
                    code::kBadIndentation,
                    has_tab ? "this line is indented with a tab"
                            : "this line is indented with a no-break space");
    }
    if (at_ == line_begin_ &&
        (text_.substr(at_).starts_with("---") || text_.substr(at_).starts_with("...")) &&
        (IsBlank(Peek(3)) || IsBreakOrEnd(Peek(3)))) {
      return ScanDocumentMark();
    }
    if (open_.empty() && plain_may_go_on_ && Column() > top_indent_) {
      ScanPlain(/*goes_on=*/true);
      return false;
    }
    plain_may_go_on_ = false;
    // A value is indented deeper than its key; what is not is the next key or "- ".
    if (open_.empty() && Column() <= top_indent_) expects_value_ = false;
    return CheckColon();
  }

  // The library takes a line without ":" for a key without a value.
  bool CheckColon() {
    if (key_without_colon_.line == 0) return true;
    return Refuse(key_without_colon_, code::kNotYaml,
                  "\":\" is missing after this, or it stands too far left");
  }

  // One "---" before everything else is the only mark of documents.
  bool ScanDocumentMark() {
    if (text_[at_] == '.' || has_content_ || has_mark_ || !open_.empty()) {
      return Refuse(PlaceAt(at_, 3), code::kMoreDocuments,
                    "a file holds one document, and nothing follows it");
    }
    has_mark_ = true;
    at_ += 3;
    while (IsBlank(Here())) ++at_;
    if (!IsBreakOrEnd(Here()) && Here() != '#') {
      return Refuse(PlaceAt(at_, 1), code::kNotYaml, "a text cannot begin on the line of \"---\"");
    }
    SkipLine();
    return false;
  }

  void ScanToken() {
    while (IsBlank(Here())) ++at_;
    const char c = Here();
    if (IsBreakOrEnd(c) || (c == '#' && (at_ == line_begin_ || IsBlank(text_[at_ - 1])))) {
      return SkipBlankOrComment();
    }
    has_content_ = true;
    const bool spaced = IsBlank(Peek(1)) || IsBreakOrEnd(Peek(1));
    if (c == ':' && (spaced || (!open_.empty() && (after_value_ || IsFlowMark(Peek(1)))))) {
      return ScanColon();
    }
    if (IsFlowMark(c)) return ScanFlowMark(c);
    if (after_value_) {
      Refuse(PlaceAt(at_, 1), code::kNotYaml,
             open_.empty() ? "text follows a value that is complete"
                           : "a comma is missing before this");
      return;
    }
    if (c == '-' && spaced) return ScanDash();
    if (c == '"' || c == '\'') return ScanQuoted(c);
    if (c == '|' || c == '>') return ScanBlock();
    if (c == '&' || c == '*' || c == '!') return SkipProperty();
    if (c == '%' || c == '@' || c == '`') {
      Refuse(PlaceAt(at_, 1), code::kDirective,
             c == '%' && at_ == line_begin_
                 ? "directives (%) are not part of the language"
                 : "a text cannot begin with \"" + std::string(1, c) + "\" without quotes");
      return;
    }
    if (c == '?' && (spaced || !open_.empty())) {
      Refuse(PlaceAt(at_, 1), code::kKeyNotText, "keys after \"?\" are not part of the language");
      return;
    }
    ScanPlain(/*goes_on=*/false);
  }

  void ScanColon() {
    if (open_.empty()) {
      if (!key_may_end_ || scan_.scalars.empty() || scan_.scalars.back().place.line != line_) {
        Refuse(PlaceAt(at_, 1), after_value_ ? code::kKeyNotText : code::kNotYaml,
               after_value_ ? "a key must be a text on one line" : "\":\" has no key before it");
        return;
      }
      top_indent_ = scan_.scalars.back().place.column;
      expects_value_ = true;
      key_without_colon_ = {};
    } else {
      entry_is_empty_ = false;
    }
    key_may_end_ = false;
    after_value_ = false;
    plain_may_go_on_ = false;
    ++at_;
  }

  void ScanFlowMark(char c) {
    if (c == '[' || c == '{') {
      if (after_value_) {
        Refuse(PlaceAt(at_, 1), code::kNotYaml,
               open_.empty() ? "text follows a value that is complete"
                             : "a comma is missing before this");
      } else if (open_.size() >= kDepthMax) {
        Refuse(PlaceAt(at_, 1), code::kTooDeep,
               "brackets are nested deeper than " + std::to_string(kDepthMax));
      } else if (open_.empty() && !expects_value_) {
        Refuse(PlaceAt(at_, 1), code::kNotYaml, "a value cannot stand here");
      } else if (Count()) {
        expects_value_ = false;
        open_.push_back({PlaceAt(at_++, 1), c});
        entry_is_empty_ = true;
      }
      return;
    }
    if (open_.empty()) {
      Refuse(PlaceAt(at_, 1), code::kNotYaml, "unexpected \"" + std::string(1, c) + "\"");
    } else if (c == ',') {
      if (entry_is_empty_) {
        Refuse(PlaceAt(at_, 1), code::kEmptyEntry, "no value stands before this comma");
        return;
      }
      entry_is_empty_ = true;
      after_value_ = false;
      ++at_;
    } else if ((c == ']') != (open_.back().mark == '[')) {
      Refuse(PlaceAt(at_, 1), code::kUnclosed,
             "\"" + std::string(1, c) + "\" does not close the \"" +
                 std::string(1, open_.back().mark) + "\" of line " +
                 std::to_string(open_.back().place.line));
    } else {
      open_.pop_back();
      entry_is_empty_ = false;
      after_value_ = true;
      key_may_end_ = false;
      ++at_;
    }
  }

  void ScanDash() {
    if (!open_.empty()) {
      Refuse(PlaceAt(at_, 1), code::kNotYaml, "\"- \" cannot stand between brackets");
    } else if (line_ == dash_line_ && ++dashes_ > kDepthMax) {
      Refuse(PlaceAt(at_, 1), code::kTooDeep,
             "lists are nested deeper than " + std::to_string(kDepthMax));
    } else if (Count()) {
      if (line_ != dash_line_) dashes_ = 1;
      dash_line_ = line_;
      top_indent_ = Column();
      expects_value_ = true;
      ++at_;
    }
  }

  void ScanQuoted(char quote) {
    const size_t begin = at_++;
    const core::Place place = PlaceAt(begin, 1);
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\n') {
        NextLine(at_ + 1);
      } else if (quote == '"' && text_[at_] == '\\') {
        if (Peek(1) == '\n') NextLine(at_ + 2);
        ++at_;
      } else if (text_[at_] == quote) {
        if (quote == '\'' && Peek(1) == quote) {
          ++at_;
          continue;
        }
        ++at_;
        AddScalar(place, begin);
        after_value_ = true;
        return;
      }
    }
    Refuse(place, code::kUnclosed, "this quote is not closed");
  }

  // A text without quotes ends at ": ", at " #", at the end of its line, and between brackets at
  // any of
  // ,[]{}. In block style it may go on in the next lines that are indented deeper.
  void ScanPlain(bool goes_on) {
    const size_t begin = at_;
    const core::Place place = PlaceAt(begin, 1);
    size_t end = at_;
    for (; !IsBreakOrEnd(Here()); ++at_) {
      const char c = text_[at_];
      if (c == ':' &&
          (IsBlank(Peek(1)) || IsBreakOrEnd(Peek(1)) || (!open_.empty() && IsFlowMark(Peek(1))))) {
        break;
      }
      if (c == '#' && at_ > begin && IsBlank(text_[at_ - 1])) break;
      if (!open_.empty() && IsFlowMark(c)) break;
      if (!open_.empty() && c == '?') {
        Refuse(PlaceAt(at_, 1), code::kAmbiguous,
               "a text with \"?\" between brackets needs quotes");
        return;
      }
      if (!IsBlank(c)) end = at_ + 1;
    }
    if (goes_on) {
      if (Here() == ':') {
        Refuse(PlaceAt(at_, 1), code::kNotYaml,
               "a key cannot stand here: the line goes on with the text above it");
      }
      return;
    }
    const bool ends_line = IsBreakOrEnd(Here());
    at_ = end;
    if (!open_.empty() && ends_line && LacksComma()) return;
    AddScalar(place, begin);
    plain_may_go_on_ = open_.empty() && ends_line;
    after_value_ = !plain_may_go_on_;
  }

  // Between brackets, a text without quotes that goes on in the next line is a comma forgotten.
  bool LacksComma() {
    const size_t next = text_.find_first_not_of(" \t\r\n", at_);
    if (next == std::string_view::npos || IsFlowMark(text_[next]) || text_[next] == '#')
      return false;
    Refuse(PlaceAt(at_ - 1, 1), code::kNotYaml, "a comma is missing after this");
    return true;
  }

  // A block text reaches to the first line that is indented less than its first one.
  void ScanBlock() {
    const size_t begin = at_;
    const core::Place place = PlaceAt(begin, 1);
    if (!open_.empty()) {
      Refuse(place, code::kNotYaml, "a block text cannot stand between brackets");
      return;
    }
    int indent = 0;
    for (++at_; Here() == '-' || Here() == '+' || (Here() >= '1' && Here() <= '9'); ++at_) {
      if (Here() != '-' && Here() != '+') indent = std::max(top_indent_ - 1, 0) + (Here() - '0');
    }
    while (IsBlank(Here())) ++at_;
    if (!IsBreakOrEnd(Here()) && (Here() != '#' || !IsBlank(text_[at_ - 1]))) {
      Refuse(PlaceAt(at_, 1), code::kNotYaml, "text follows the mark of a block text");
      return;
    }
    AddScalar(place, begin);
    SkipLine();
    while (at_ < text_.size()) {
      size_t first = at_;
      while (first < text_.size() && text_[first] == ' ') ++first;
      const bool is_empty = first >= text_.size() || text_[first] == '\n' || text_[first] == '\r';
      const int spaces = static_cast<int>(first - at_);
      if (!is_empty && indent == 0 && spaces >= top_indent_) indent = std::max(spaces, 1);
      if (!is_empty && (indent == 0 || spaces < indent)) break;
      SkipLine();
    }
    key_may_end_ = false;
  }

  // Anchors, aliases and tags are refused by the loader, each at its place.
  void SkipProperty() {
    if (text_[at_] == '*' && Count()) entry_is_empty_ = false;
    while (!IsBlank(Here()) && !IsBreakOrEnd(Here()) && !(!open_.empty() && IsFlowMark(Here())))
      ++at_;
  }

  // --- small steps ---

  void AddScalar(core::Place place, size_t begin) {
    if (!Count()) return;
    place.length = static_cast<int>(at_ - begin);
    if (place.line != line_) place.length = 1;
    scan_.scalars.push_back({place, text_.substr(begin, at_ - begin)});
    if (open_.empty() && !expects_value_) key_without_colon_ = place;
    expects_value_ = false;
    entry_is_empty_ = false;
    key_may_end_ = place.line == line_;
  }

  bool Count() {
    if (++values_ <= kValuesMax) return true;
    return Refuse(PlaceAt(at_, 1), code::kTooManyValues,
                  "file has more than " + std::to_string(kValuesMax) + " values");
  }

  bool Refuse(core::Place place, std::string_view code, std::string message) {
    if (scan_.findings.empty())
      scan_.findings.push_back(core::MakeError(code, place, std::move(message)));
    return false;
  }

  char Peek(size_t ahead) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  char Here() const { return Peek(0); }
  int Column() const { return static_cast<int>(at_ - line_begin_) + 1; }
  core::Place PlaceAt(size_t offset, int length) const {
    return {line_, static_cast<int>(offset - line_begin_) + 1, length};
  }
  void NextLine(size_t begin) {
    ++line_;
    line_begin_ = begin;
  }
  void SkipBlankOrComment() {
    if (Here() == '#') plain_may_go_on_ = false;
    SkipLine();
  }
  void SkipLine() {
    const size_t end = text_.find('\n', at_);
    at_ = end == std::string_view::npos ? text_.size() : end + 1;
    NextLine(at_);
  }

  const std::string_view text_;
  Scan scan_;
  size_t at_ = 0;
  size_t line_begin_ = 0;
  int line_ = 1;
  size_t values_ = 0;
  std::vector<Bracket> open_;  // Those that are not closed yet.
  int top_indent_ = 0;         // Column of the innermost block list or map; 0: there is none.
  int dash_line_ = 0;          // The line of the last "- ", and how many it had.
  int dashes_ = 0;
  bool has_mark_ = false;  // "---" was seen.
  bool has_content_ = false;
  bool expects_value_ = true;  // Block style: a value may stand here, not only a key.
  core::Place key_without_colon_ = {0, 0, 0};  // Block style: this must turn out to be a key.
  bool entry_is_empty_ = false;   // Between brackets: nothing stands since the last comma.
  bool after_value_ = false;      // A value is complete: only a mark may follow it on its line.
  bool key_may_end_ = false;      // The last scalar may be a key.
  bool plain_may_go_on_ = false;  // The last line ended in a text without quotes.
};

}  // namespace

Scan ScanText(std::string_view text) { return Scanner(text).Run(); }

}  // namespace cd4ml::yaml
