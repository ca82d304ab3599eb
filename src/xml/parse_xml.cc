// The reader of XML: expat calls back, and a stack of elements grows into a tree.
#include "cd4ml/xml/parse_xml.h"

#include <expat.h>

#include <memory>

namespace cd4ml::xml {
namespace {

struct ParserEnd {
  void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
};
using Parser = std::unique_ptr<std::remove_pointer_t<XML_Parser>, ParserEnd>;

void AppendCut(std::string& text, std::string_view more) {
  if (text.size() < kTextMax) text.append(more.substr(0, kTextMax - text.size()));
}

// What expat tells, put together. `open` are the elements from the root to where the parser is.
class Builder {
 public:
  explicit Builder(XML_Parser parser) : parser_(parser) {
    XML_SetUserData(parser, this);
    XML_SetElementHandler(
        parser, [](void* self, const char* name, const char** attributes) { Of(self).Begin(name, attributes); },
        [](void* self, const char*) { Of(self).End(); });
    XML_SetCharacterDataHandler(parser, [](void* self, const char* text, int size) {
      Builder& builder = Of(self);
      if (!builder.open_.empty()) AppendCut(builder.open_.back().text, {text, static_cast<size_t>(size)});
    });
    // Entities are defined in a document type alone: without one there are no bombs, and nothing to fetch.
    XML_SetStartDoctypeDeclHandler(parser, [](void* self, const char*, const char*, const char*, int) {
      Of(self).Refuse("it has a document type, which a result file needs not");
    });
  }

  const std::string& refused() const { return refused_; }
  core::XmlElement TakeRoot() { return std::move(root_); }

 private:
  static Builder& Of(void* self) { return *static_cast<Builder*>(self); }

  void Refuse(std::string why) {
    if (refused_.empty()) refused_ = std::move(why);
    XML_StopParser(parser_, XML_FALSE);
  }

  void Begin(std::string_view name, const char** attributes) {
    if (!refused_.empty()) return;
    if (open_.size() >= kDepthMax) return Refuse("its elements are nested deeper than " + std::to_string(kDepthMax));
    if (++elements_ > kElementsMax) return Refuse("it has more than " + std::to_string(kElementsMax) + " elements");
    core::XmlElement& element = open_.emplace_back();
    element.name = name.substr(name.rfind(':') + 1);
    for (; attributes[0] != nullptr; attributes += 2) AppendCut(element.attributes[attributes[0]], attributes[1]);
  }

  void End() {
    if (!refused_.empty()) return;
    core::XmlElement element = std::move(open_.back());
    open_.pop_back();
    (open_.empty() ? root_ : open_.back().children.emplace_back()) = std::move(element);
  }

  const XML_Parser parser_;
  std::vector<core::XmlElement> open_;
  core::XmlElement root_;
  int elements_ = 0;
  std::string refused_;
};

}  // namespace

absl::StatusOr<core::XmlElement> ParseXml(std::string_view text) {
  constexpr size_t kPiece = 1 << 20;   // Expat counts bytes in an int.
  const Parser parser(XML_ParserCreate(nullptr));
  Builder builder(parser.get());
  bool is_last = false;
  while (!is_last) {
    const std::string_view piece = text.substr(0, kPiece);
    text.remove_prefix(piece.size());
    is_last = text.empty();
    if (XML_Parse(parser.get(), piece.data(), static_cast<int>(piece.size()), is_last) == XML_STATUS_OK) continue;
    const std::string why = builder.refused().empty() ? std::string("it is not well-formed XML: ") +
                                                            XML_ErrorString(XML_GetErrorCode(parser.get()))
                                                      : builder.refused();
    return absl::InvalidArgumentError(why + " (line " + std::to_string(XML_GetCurrentLineNumber(parser.get())) + ")");
  }
  return builder.TakeRoot();
}

}  // namespace cd4ml::xml
