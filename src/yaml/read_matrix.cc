// A stage with a matrix: what stands there once becomes a stage for every combination of values.
//
// In what a run keeps, such a stage is `{matrix: …, cells: {NAME: stage, …}}`: each cell as it would stand there itself, its
// expressions replaced by what they give with the cell's own parameters. Source text is brought into this form first, so
// that there is one way to read both.
#include <algorithm>

#include "cd4ml/base/text.h"
#include "cd4ml/core/matrix.h"
#include "cd4ml/core/params.h"
#include "yaml/read.h"

namespace cd4ml::yaml {
namespace {

namespace code = core::code;
using core::Quoted;

constexpr size_t kCellsMax = 1'000;
constexpr size_t kMembersMax = 50;   // More than that would multiply to too much.

using CellParams = std::map<std::string, Value>;

struct Dimension {
  std::string param;
  const core::ParamSchema* schema = nullptr;   // Null: none is known, or only of a map around it.
  std::vector<Value> values;
};

struct Cell {
  std::string name;
  CellParams params;
};

size_t CountValues(const Node& node) {
  size_t count = 1;
  for (const Node& child : node.children) count += CountValues(child);
  return count;
}

Node* FindMember(Node& map, std::string_view key) {
  for (size_t i = 0; map.is_map() && i < map.member_count(); ++i) {
    if (map.key(i).text == key) return &map.value(i);
  }
  return nullptr;
}

void Append(Node& map, std::string_view key, const core::Place& place, Node value) {
  map.children.push_back({.kind = Node::Kind::kQuoted, .place = place, .text = key});
  map.children.push_back(std::move(value));
}

// Reads what `matrix` holds.
class MatrixReader {
 public:
  MatrixReader(Reader& reader, const std::string& stage, const StageDefaults& defaults, Node& node, core::MatrixSpec& spec)
      : reader_(reader), stage_(stage), defaults_(defaults), node_(node), spec_(spec), fields_(reader, node, "\"matrix\" of stage", stage) {}

  // Returns the cells; none after saying what is wrong.
  std::vector<Cell> Read(core::Place& select) {
    if (!node_.is_map()) return {};
    Node* exclude = fields_.Take("exclude");
    fields_.Read("max_parallel", spec_.max_parallel, Range{1, kCellsMax});
    bool fail_fast = true;
    fields_.Read("fail_fast", fail_fast);
    spec_.goes_on = !fail_fast;
    if (Node* node = fields_.Take("select")) {
      Fields inner(reader_, *node, "\"select\"");
      if (Node* metric = inner.Need("metric")) {
        reader_.ReadLiteral(*metric, spec_.select);
        select = metric->place;
      }
      inner.Finish();
    }
    if (node_.member_count() > kMembersMax) {
      Error(node_.place, "a matrix has at most " + std::to_string(kMembersMax) + " keys");
      return {};
    }
    for (size_t i = 0; i < node_.member_count(); ++i) {
      static const Words kOwn = {"exclude", "max_parallel", "fail_fast", "select"};
      if (std::find(kOwn.begin(), kOwn.end(), node_.key(i).text) == kOwn.end()) ReadDimension(node_.key(i), node_.value(i));
    }
    if (is_good_ && dimensions_.empty()) {
      Error(node_.place, "a matrix needs the name of a parameter and its values", "write it as `train.depth: [8, 12]`");
    }
    if (exclude != nullptr) ReadExcluded(*exclude);
    return is_good_ ? Combine() : std::vector<Cell>();
  }

 private:
  void Error(const core::Place& place, std::string message, std::string help = "", std::string_view code = code::kBadMatrix) {
    is_good_ = false;
    reader_.Error(code, place, std::move(message), "", std::move(help));
  }

  void ReadDimension(const Node& key, Node& list) {
    Dimension dimension{.param = std::string(key.text), .values = {}};
    reader_.SetKey(key.text);
    for (const Dimension& other : dimensions_) {
      if (!core::Overlap(other.param, dimension.param)) continue;
      return Error(key.place, Quoted(dimension.param) + " and " + Quoted(other.param) +
                                  " lie within one another, so a cell could not have both values");
    }
    if (!FindSchema(key, dimension)) return;
    if (defaults_.names.contains("params." + dimension.param)) {
      Error(key.place, "`defaults` asks for " + Quoted("params." + dimension.param) + " and would get one value for all cells",
            "say that key in the stages");
    }
    if (!list.is_list()) {
      is_good_ = false;
      return reader_.WrongType(list, "a list");
    }
    if (list.children.size() > kCellsMax) return TooMany();
    if (list.children.empty()) Error(list.place, Quoted(dimension.param) + " lists no values, so there is no cell");
    for (const Node& item : list.children) {
      const std::optional<Value> value = ReadValue(item, dimension);
      if (!value) continue;
      const bool is_twice = std::any_of(dimension.values.begin(), dimension.values.end(), [&](const Value& other) {
        return ToText(other) == ToText(*value) || (other.is_number() && value->is_number() && other.number() == value->number());
      });
      if (is_twice) Error(item.place, Quoted(dimension.param) + " lists " + ToText(*value) + " twice");
      dimension.values.push_back(*value);
    }
    dimensions_.push_back(std::move(dimension));
  }

  // Dimensions are parameters: of the schema, or of a file.
  bool FindSchema(const Node& key, Dimension& dimension) {
    const core::ParamsSpec& params = reader_.param_spec();
    if (params.schema.empty() && !params.files.empty()) return true;   // Seen when a run starts.
    if (const core::ParamSchema* param = reader_.FindParam(dimension.param)) {
      if (param->name == dimension.param) dimension.schema = param;
      return true;
    }
    const std::string suggestion = reader_.SuggestParam(dimension.param);
    Error(key.place, "unknown parameter " + Quoted(dimension.param) + " in a matrix",
          suggestion.empty() ? "dimensions are parameters of `params`; other keys are exclude, max_parallel, fail_fast and select"
                             : suggestion,
          code::kUnknownParameter);
    return false;
  }

  void TooMany() {
    Error(node_.place, "a matrix has at most " + std::to_string(kCellsMax) + " combinations, this one has more");
  }

  // One value, of the type that its parameter has.
  std::optional<Value> ReadValue(const Node& node, const Dimension& dimension) {
    using Type = core::ParamSchema::Type;
    if (reader_.RefuseTemplate(node)) {
      is_good_ = false;
      return std::nullopt;
    }
    if (!node.is_scalar()) {
      Error(node.place, "a cell has one value of " + Quoted(dimension.param) + ", this is " + std::string(Described(node)));
      return std::nullopt;
    }
    Value value = ScalarValue(node);
    if (dimension.schema == nullptr) return value;
    if (dimension.schema->type == Type::kEnum) value = Value(std::string(node.text));
    if (dimension.schema->type == Type::kFloat && value.is_number()) value = Value(value.number());
    const std::string problem = core::CheckParam(*dimension.schema, value);
    if (problem.empty()) return value;
    Error(node.place, Quoted(dimension.param) + " " + problem);
    return std::nullopt;
  }

  void ReadExcluded(Node& node) {
    if (!node.is_list()) {
      is_good_ = false;
      return reader_.WrongType(node, "a list");
    }
    if (node.children.size() > kCellsMax) return TooMany();
    for (const Node& entry : node.children) {
      if (!entry.is_map() || entry.children.empty()) {
        Error(entry.place, "an entry of \"exclude\" is a map of parameters and values");
        continue;
      }
      CellParams& excluded = excluded_.emplace_back();
      for (size_t i = 0; i < entry.member_count(); ++i) ReadExcluded(entry.key(i), entry.value(i), excluded);
    }
  }

  void ReadExcluded(const Node& key, const Node& node, CellParams& excluded) {
    const auto dimension = std::find_if(dimensions_.begin(), dimensions_.end(),
                                        [&](const Dimension& one) { return one.param == key.text; });
    if (dimension == dimensions_.end()) {
      return Error(key.place, "\"exclude\" names " + Quoted(key.text) + ", which is no dimension of this matrix");
    }
    const std::optional<Value> value = ReadValue(node, *dimension);
    if (!value) return;
    if (std::find(dimension->values.begin(), dimension->values.end(), *value) == dimension->values.end()) {
      return Error(node.place, "\"exclude\" takes nothing out: " + ToText(*value) + " is no value of " + Quoted(key.text) + " here");
    }
    excluded.emplace(key.text, *value);
  }

  bool IsExcluded(const CellParams& params) const {
    return std::any_of(excluded_.begin(), excluded_.end(), [&](const CellParams& excluded) {
      return std::all_of(excluded.begin(), excluded.end(), [&](const auto& one) { return params.at(one.first) == one.second; });
    });
  }

  // In the order of the file: the last dimension changes first.
  std::vector<Cell> Combine() {
    size_t count = 1;
    for (const Dimension& dimension : dimensions_) {
      count *= dimension.values.size();
      if (count <= kCellsMax) continue;
      TooMany();
      return {};
    }
    std::vector<Cell> cells;
    std::map<std::string, std::string> named;   // The values by the name of their cell.
    for (size_t i = 0; i < count; ++i) {
      size_t rest = i;
      std::vector<Value> values(dimensions_.size());
      for (size_t d = dimensions_.size(); d-- > 0; rest /= dimensions_[d].values.size()) {
        values[d] = dimensions_[d].values[rest % dimensions_[d].values.size()];
      }
      CellParams params;
      for (size_t d = 0; d < values.size(); ++d) params[dimensions_[d].param] = values[d];
      if (IsExcluded(params)) continue;
      cells.push_back({core::CellName(stage_, values), std::move(params)});
      const std::string text = ToJson(Value::List(values.begin(), values.end()));
      const auto [other, is_new] = named.emplace(cells.back().name, text);
      if (is_new) continue;
      Error(node_.place, "the cells of " + other->second + " and " + text + " have the same name, " + cells.back().name,
            "write one of these values in another way");
      return {};
    }
    if (cells.empty()) Error(node_.place, "\"exclude\" takes every combination out, so there is no cell");
    return cells;
  }

  Reader& reader_;
  const std::string& stage_;
  const StageDefaults& defaults_;
  Node& node_;
  core::MatrixSpec& spec_;
  Fields fields_;
  std::vector<Dimension> dimensions_;
  std::vector<CellParams> excluded_;
  bool is_good_ = true;
};

bool MayHaveMatrix(std::string_view kind) { return kind == "train" || kind == "package" || kind == "command"; }

// Puts a stage with a matrix into the form that a run keeps. Returns false after saying that it would be too large.
bool WriteOut(Reader& reader, const std::string& name, const std::vector<Cell>& cells, Node& stage) {
  Node body{.kind = Node::Kind::kMap, .place = stage.place};
  Node matrix;
  core::Place place;
  for (size_t i = 0; i < stage.member_count(); ++i) {
    if (stage.key(i).text == "matrix") {
      place = stage.key(i).place;
      matrix = stage.value(i);
    } else {
      Append(body, stage.key(i).text, stage.key(i).place, stage.value(i));
    }
  }
  if (!reader.TakeRoom(cells.size() * CountValues(body), cells.size() * ToJson(body).size())) {
    reader.Error(code::kBadMatrix, place, Quoted(name) + " is too large for " + std::to_string(cells.size()) +
                                              " cells: what a run keeps says each of them in full");
    return false;
  }
  Node written{.kind = Node::Kind::kMap, .place = place};
  for (const Cell& cell : cells) Append(written, reader.Keep(cell.name.substr(name.size() + 1)), place, body);
  stage.children.clear();
  Append(stage, "matrix", place, std::move(matrix));
  Append(stage, "cells", place, std::move(written));
  return true;
}

// Reads the cells one by one, each with its own parameters. The first one that is wrong ends it: the others would be, too.
core::StageSpec ReadCells(Reader& reader, const std::string& name, const Node& key, Node& written,
                          const std::vector<Cell>& cells, const StageDefaults& defaults, core::MatrixSpec matrix) {
  core::StageSpec stage;
  std::vector<core::StageSpec> read;
  const core::Scope* outer = reader.scope();
  const size_t before = reader.finding_count();
  for (size_t i = 0; i < cells.size() && reader.finding_count() == before; ++i) {
    const core::Scope inner = outer == nullptr ? core::Scope() : core::ScopeOfCell(*outer, cells[i].params);
    if (outer != nullptr) reader.SetScope(&inner, cells[i].name);
    core::StageSpec cell = ReadStage(reader, name, key, written.value(i), defaults);
    reader.SetScope(outer);
    if (i == 0) stage = cell;
    cell.name = cells[i].name;
    cell.cell_of = name;
    cell.cell_params = cells[i].params;
    matrix.cells.push_back(cell.name);
    read.push_back(std::move(cell));
  }
  stage.matrix = std::move(matrix);
  stage.cells = std::move(read);
  return stage;
}

// Returns whether `written` holds these cells.
bool AreThese(const Node& written, const std::string& name, const std::vector<Cell>& cells) {
  if (!written.is_map() || written.member_count() != cells.size()) return false;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (written.key(i).text != std::string_view(cells[i].name).substr(name.size() + 1)) return false;
  }
  return true;
}

}  // namespace

core::StageSpec ReadMatrix(Reader& reader, const std::string& name, const Node& key, Node& value,
                           const StageDefaults& defaults) {
  Node* node = FindMember(value, "matrix");
  Node* written = FindMember(value, "cells");
  const bool is_kept = written != nullptr && written->is_map() && !written->children.empty();
  const Node* kind = FindMember(is_kept ? written->value(0) : value, "kind");
  // Of other kinds it is a key that cannot stand there.
  if (node == nullptr || !MayHaveMatrix(kind == nullptr ? "command" : kind->text)) {
    return ReadStage(reader, name, key, value, defaults);
  }
  core::MatrixSpec matrix;
  core::Place select = node->place;
  const std::vector<Cell> cells = MatrixReader(reader, name, defaults, *node, matrix).Read(select);
  bool is_good = !cells.empty();
  if (is_good && written == nullptr) {
    is_good = WriteOut(reader, name, cells, value);
  } else if (is_good && (value.member_count() != 2 || !AreThese(*written, name, cells))) {
    reader.Error(code::kBadMatrix, written->place, "\"cells\" are not those of the matrix; cd4ml writes them, so leave them out");
    is_good = false;
  }
  if (!is_good) {
    // What else is wrong with the stage is said as well.
    std::vector<Node>& members = value.children;
    for (size_t i = members.size(); i >= 2; i -= 2) {
      const bool is_own = members[i - 2].text == "matrix" || members[i - 2].text == "cells";
      if (is_own) members.erase(members.begin() + static_cast<std::ptrdiff_t>(i) - 2, members.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return is_kept ? core::StageSpec{.name = name, .place = key.place} : ReadStage(reader, name, key, value, defaults);
  }
  core::StageSpec stage = ReadCells(reader, name, key, *FindMember(value, "cells"), cells, defaults, std::move(matrix));
  stage.places.emplace("select", select);
  return stage;
}

}  // namespace cd4ml::yaml
