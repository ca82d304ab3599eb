// A command is scanned for what opens and closes quotes: also comments, substitutions and here-documents, in which a
// quote may be none.
#include "cli/shell_text.h"

#include <algorithm>
#include <vector>

namespace cd4ml::cli {
namespace {

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  Quoting Scan() {
    while (at_ < text_.size()) Step();
    if (is_in_document_) return documents_.front().is_quoted ? Quoting::kDocument : Quoting::kExpands;
    return Inside() == '\'' ? Quoting::kSingle : Inside() == '$' ? Quoting::kEscapes : Quoting::kExpands;
  }

 private:
  struct Document {
    std::string word;
    bool is_quoted = false, strips_tabs = false;
  };

  // ' single quotes, $ those that escape, " double quotes, ` and ( substitutions and subshells, # arithmetic, or 0.
  char Inside() const { return inside_.empty() ? '\0' : inside_.back(); }
  bool IsNext(std::string_view what) const { return text_.substr(at_).starts_with(what); }

  void Open(std::string_view kinds, size_t size) {
    inside_ += kinds;
    at_ += size;
  }
  void Close() {
    inside_.pop_back();
    ++at_;
  }

  void Step() {
    const char c = text_[at_], inside = Inside();
    if (inside == '\'') return c == '\'' ? Close() : Skip();
    if (c == '\\') return Skip(2);
    if (inside == '$') return c == '\'' ? Close() : Skip();
    if (c == '`') return inside == '`' ? Close() : Open("`", 1);
    if (IsNext("$((")) return Open("##", 3);
    if (IsNext("$(")) return Open("(", 2);
    if (c == '"') return inside == '"' ? Close() : Open("\"", 1);
    if (inside == '"') return Skip();
    if (IsNext("$'")) return Open("$", 2);
    if (c == '\'') return Open("'", 1);
    if (inside == '#') return c == '(' ? Open("#", 1) : c == ')' ? Close() : Skip();
    if (IsNext("((")) return Open("##", 2);
    if (c == '(') return Open("(", 1);
    if (c == ')') return inside == '(' ? Close() : Skip();
    if (c == '#' && IsWordStart()) return Skip(std::min(text_.find('\n', at_), text_.size()) - at_);
    if (IsNext("<<<")) return Skip(3);
    if (IsNext("<<")) return ReadWord();
    Skip();
    if (c == '\n') SkipDocuments();
  }

  void Skip(size_t size = 1) { at_ += size; }

  bool IsWordStart() const { return at_ == 0 || std::string_view(" \t\n;&|()`").find(text_[at_ - 1]) != std::string_view::npos; }

  // Reads <<WORD, behind whose line the document begins.
  void ReadWord() {
    Document document;
    at_ += 2;
    document.strips_tabs = IsNext("-");
    if (document.strips_tabs) ++at_;
    at_ = std::min(text_.find_first_not_of(" \t", at_), text_.size());
    char quote = '\0';
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (quote == '\0' && std::string_view(" \t\n;&|<>()").find(c) != std::string_view::npos) break;
      if (c == quote) {
        quote = '\0';
      } else if (quote == '\0' && (c == '\'' || c == '"' || c == '\\')) {
        document.is_quoted = true;
        if (c != '\\') quote = c;
      } else {
        document.word.push_back(c);
      }
    }
    documents_.push_back(std::move(document));
  }

  void SkipDocuments() {
    while (!documents_.empty()) {
      const size_t end = text_.find('\n', at_);
      is_in_document_ = end == std::string_view::npos;
      if (is_in_document_) return Skip(text_.size() - at_);
      std::string_view line = text_.substr(at_, end - at_);
      at_ = end + 1;
      if (documents_.front().strips_tabs) line.remove_prefix(std::min(line.find_first_not_of('\t'), line.size()));
      if (line == documents_.front().word) documents_.erase(documents_.begin());
    }
  }

  const std::string_view text_;
  size_t at_ = 0;
  std::string inside_;
  std::vector<Document> documents_;      // Asked for and not yet ended.
  bool is_in_document_ = false;
};

}  // namespace

std::string ShellQuoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

Quoting QuotingAtEnd(std::string_view text) { return Scanner(text).Scan(); }

}  // namespace cd4ml::cli
