// `cd4ml lineage`: what something was made from, or what was made of it.
#include <algorithm>
#include <map>
#include <set>

#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

// The graph as a tree below its root, in the order of the daemon's answer.
class Tree {
 public:
  Tree(const LineageGraph& graph, LineageDirection direction) : graph_(graph) {
    for (const LineageNode& node : graph.nodes) nodes_[node.id] = &node;
    for (const LineageEdge& edge : graph.edges) {
      const bool up = direction == LineageDirection::kUp;
      below_[up ? edge.to : edge.from].push_back(up ? edge.from : edge.to);
    }
  }

  std::vector<std::string> Lines(bool wide) {
    lines_.clear();
    shown_.clear();
    Add(graph_.root, "", "", wide);
    return lines_;
  }

 private:
  std::string Text(const std::string& id, bool wide) const {
    const auto found = nodes_.find(id);
    if (found == nodes_.end()) return id;
    const LineageNode& node = *found->second;
    const std::string text = node.label.empty() ? node.id : node.label;
    return wide ? text + "  " + node.id : text;
  }

  // Depth is bounded by depth_max of the query, and a node's parts are shown once.
  void Add(const std::string& id, const std::string& indent, const std::string& branch, bool wide) {
    const auto below = below_.find(id);
    const bool is_new = shown_.insert(id).second;
    const bool repeats = !is_new && below != below_.end();
    lines_.push_back(SafeLine(indent + branch + Text(id, wide) + (repeats ? "  (see above)" : "")));
    const std::string deeper = indent + (branch.empty() ? "" : branch == "└─ " ? "   " : "│  ");
    if (is_new) AddParams(id, deeper);
    if (!is_new || below == below_.end()) return;
    for (const std::string& next : below->second) {
      Add(next, deeper, &next == &below->second.back() ? "└─ " : "├─ ", wide);
    }
  }

  // Parameters are few and short, so their values are shown, once.
  void AddParams(const std::string& id, const std::string& indent) {
    const auto node = nodes_.find(id);
    if (!id.starts_with("params:") || node == nodes_.end()) return;
    const Value* values = node->second->facts.Find("values");
    if (values == nullptr) return;
    for (const auto& [name, value] : Flatten(*values)) {
      lines_.push_back(SafeLine(indent + "   " + name + " = " + ToText(value)));
    }
  }

  const LineageGraph& graph_;
  std::map<std::string, const LineageNode*> nodes_;
  std::map<std::string, std::vector<std::string>> below_;
  std::set<std::string> shown_;
  std::vector<std::string> lines_;
};

// Returns a label with `quote` for each quotation mark and `backslash` for each backslash.
std::string Escaped(const std::string& label, std::string_view quote, std::string_view backslash) {
  std::string escaped;
  for (char c : SafeLine(label)) {
    if (c == '"') {
      escaped += quote;
    } else if (c == '\\') {
      escaped += backslash;
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::map<std::string, std::string> ShortIds(const LineageGraph& graph) {
  std::map<std::string, std::string> ids;
  for (const LineageNode& node : graph.nodes)
    ids.emplace(node.id, "n" + std::to_string(ids.size()));
  return ids;
}

std::string DotText(const LineageGraph& graph) {
  std::map<std::string, std::string> ids = ShortIds(graph);
  std::string text = "digraph lineage {\n  rankdir=LR;\n  node [shape=box];\n";
  for (const LineageNode& node : graph.nodes) {
    text += "  " + ids[node.id] + " [label=\"" + Escaped(node.label, "\\\"", "\\\\") + "\"];\n";
  }
  for (const LineageEdge& edge : graph.edges) {
    if (ids.contains(edge.from) && ids.contains(edge.to))
      text += "  " + ids[edge.from] + " -> " + ids[edge.to] + ";\n";
  }
  return text + "}\n";
}

std::string MermaidText(const LineageGraph& graph) {
  std::map<std::string, std::string> ids = ShortIds(graph);
  std::string text = "flowchart LR\n";
  for (const LineageNode& node : graph.nodes) {
    text += "  " + ids[node.id] + "[\"" + Escaped(node.label, "#quot;", "\\") + "\"]\n";
  }
  for (const LineageEdge& edge : graph.edges) {
    if (ids.contains(edge.from) && ids.contains(edge.to))
      text += "  " + ids[edge.from] + " --> " + ids[edge.to] + "\n";
  }
  return text;
}

int Perform(Invocation& invocation) {
  const Arguments& arguments = invocation.arguments;
  if (arguments.Has("up") && arguments.Has("down"))
    return invocation.FailUsage("choose --up or --down");
  const absl::StatusOr<int> depth = invocation.Number("depth", 20, 1, 100);
  if (!depth.ok()) return invocation.Fail(depth.status());
  const LineageDirection direction =
      arguments.Has("down") ? LineageDirection::kDown : LineageDirection::kUp;
  const auto graph = invocation.Query().TraceLineage(arguments.One("REF"), direction, *depth);
  if (!graph.ok())
    return invocation.Fail(graph.status(),
                           IfNotFound(graph.status(), {"How things are named", "cd4ml help refs"}));
  const std::string format = arguments.One("format", "tree");
  if (invocation.is_json() || format == "json") {
    invocation.PrintJson(invocation.ports.json.lineage(*graph));
  } else if (format == "dot") {
    invocation.out.Write(DotText(*graph));
  } else if (format == "mermaid") {
    invocation.out.Write(MermaidText(*graph));
  } else {
    const bool wide = invocation.format == OutputFormat::kWide;
    for (const std::string& line : Tree(*graph, direction).Lines(wide)) {
      invocation.out.Line(wide ? line : Fit(line, invocation.out.width()));
    }
  }
  return kExitOk;
}

}  // namespace

Command Lineage() {
  return {.path = "lineage",
          .group = "Deployments and monitors",
          .summary = "trace what something was made from, or what was made of it",
          .examples = {"lineage used-car-price/1", "lineage production --depth 4",
                       "lineage 91bc2f0 --down --format mermaid"},
          .operands =
              {{"REF",
                "a run, environment, deployment, prediction, version, data or digest (cd4ml help refs)"}},
          .options = {{"--up", "", "what it was made from; this is the default"},
                      {"--down", "", "what was made of it"},
                      {"--depth", "N", "at most so many steps (1 to 100); without it: 20"},
                      {"--format",
                       "FMT",
                       "how the graph is printed",
                       false,
                       {"tree", "dot", "mermaid", "json"}}},
          .perform = Perform};
}

}  // namespace cd4ml::cli
