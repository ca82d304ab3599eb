// Reading includes and calls without a compiler: lines and words are enough for laws this simple.
#include "laws.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

namespace cd4ml::tidy {
namespace {

// What each module may include of the others. Absence is the law.
const std::map<std::string, std::set<std::string>>& Layers() {
  static const std::set<std::string> kAdapter = {"ports", "core", "base"};
  static const std::map<std::string, std::set<std::string>> kLayers = {
      {"base", {}},
      {"core", {"base"}},
      {"ports", {"core", "base"}},
      {"yaml", kAdapter},
      {"toml", kAdapter},
      {"store", kAdapter},
      {"git", kAdapter},
      {"blob", kAdapter},
      {"os", kAdapter},
      {"table", kAdapter},
      {"http", kAdapter},
      {"archive", kAdapter},
      {"crypto", kAdapter},
      {"xml", kAdapter},
      {"schema", kAdapter},
      {"rpc", kAdapter},
      {"keeper", {"base", "ports"}},
      {"daemon", kAdapter},
      {"agent", kAdapter},
      {"cli", kAdapter},
  };
  return kLayers;
}

struct ThirdParty {
  std::string_view header;   // Prefix of what stands in <> or "".
  std::set<std::string> modules;
};

const std::vector<ThirdParty>& ThirdParties() {
  static const std::vector<ThirdParty> kThirdParties = {
      {"spdlog/", {"base"}},      {"fmt/", {"base", "cli"}},  {"openssl/", {"base", "crypto"}},
      {"nlohmann/", {"base", "schema"}},    {"yaml-cpp/", {"yaml"}},    {"sqlite3", {"store"}},
      {"git2", {"git"}},          {"curl/", {"http"}},        {"httplib", {"http"}},
      {"grpc", {"rpc"}},          {"google/protobuf", {"rpc"}}, {"cd4ml/v1/", {"rpc"}},
      {"CLI/", {"cli"}},          {"duckdb", {"table"}},      {"archive", {"archive"}},
      {"zstd", {"blob"}},
      {"toml++/", {"toml"}},    {"expat", {"xml"}},
      {"valijson/", {"schema"}},
  };
  return kThirdParties;
}

struct Call {
  std::string_view word;
  std::set<std::string> modules;   // That may use it.
  std::string_view instead;
};

const std::vector<Call>& Calls() {
  static const std::vector<Call> kCalls = {
      {"system_clock::now", {"os"}, "take the time from ports/clock.h"},
      {"steady_clock::now", {"os"}, "take the time from ports/clock.h"},
      {"clock_gettime(", {"os", "keeper"}, "take the time from ports/clock.h"},
      {"sleep_for(", {}, "wait for what you wait for, with a deadline"},
      {"usleep(", {}, "wait for what you wait for, with a deadline"},
      {"random_device", {"os"}, "take ids from the caller"},
      {" rand(", {}, "take ids from the caller"},
      {"getenv(", {"os", "bin"}, "read the environment in bin and pass it on"},
      {"sqlite3_", {"store"}, "ask ports/state_store.h or ports/history.h"},
      {"grpc::", {"rpc"}, "ask a port; the rpc module carries it"},
      {"git_repository", {"git"}, "ask ports/source_repo.h"},
      {"YAML::", {"yaml"}, "ask ports/pipeline_parser.h"},
      {"spdlog::", {"base"}, "call cd4ml/base/log.h"},
      {"system(", {}, "start processes through ports/process_runner.h"},
      {"popen(", {}, "start processes through ports/process_runner.h"},
  };
  return kCalls;
}

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return lines;
}

std::string At(std::string_view path, size_t line) { return std::string(path) + ":" + std::to_string(line + 1) + ": "; }

// Returns what an #include line names, or "".
std::string_view IncludedBy(std::string_view line) {
  if (!line.starts_with("#include ")) return "";
  line.remove_prefix(9);
  const size_t end = line.find_first_of(">\"", 1);
  return end == std::string_view::npos ? "" : line.substr(1, end - 1);
}

// Drops what a line comment says and what stands in string literals: laws are about code.
std::string CodeOf(std::string_view line) {
  std::string code;
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    if (!quoted && line.substr(i).starts_with("//")) break;
    if (line[i] == '\\' && quoted) {
      ++i;
    } else if (line[i] == '"') {
      quoted = !quoted;
    } else if (!quoted) {
      code.push_back(line[i]);
    }
  }
  return code;
}

bool IsWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool Calls(std::string_view code, std::string_view word) {
  for (size_t at = code.find(word); at != std::string_view::npos; at = code.find(word, at + 1)) {
    if (at == 0 || !IsWordCharacter(word[0]) || !IsWordCharacter(code[at - 1])) return true;
  }
  return false;
}

}  // namespace

std::string ModuleOf(std::string_view path) {
  for (std::string_view prefix : {"src/", "include/cd4ml/"}) {
    if (!path.starts_with(prefix)) continue;
    path.remove_prefix(prefix.size());
    const size_t slash = path.find('/');
    return slash == std::string_view::npos ? "" : std::string(path.substr(0, slash));
  }
  return "";
}

Findings CheckIncludes(std::string_view path, std::string_view text) {
  Findings findings;
  const std::string module = ModuleOf(path);
  if (module.empty() || module == "bin") return findings;
  const auto layer = Layers().find(module);
  if (layer == Layers().end()) return {std::string(path) + ": module \"" + module + "\" has no place in the layers"};
  const std::vector<std::string_view> lines = Lines(text);
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string_view included = IncludedBy(lines[i]);
    if (included.empty()) continue;
    for (const ThirdParty& third : ThirdParties()) {
      if (included.starts_with(third.header) && !third.modules.contains(module)) {
        findings.push_back(At(path, i) + module + " may not know <" + std::string(included) + ">");
      }
    }
    if (!included.starts_with("cd4ml/") || included.starts_with("cd4ml/v1/")) continue;
    const std::string other = ModuleOf("include/" + std::string(included));
    if (other != module && !layer->second.contains(other)) {
      findings.push_back(At(path, i) + module + " may not include \"" + std::string(included) + "\"");
    }
  }
  return findings;
}

Findings CheckCalls(std::string_view path, std::string_view text) {
  Findings findings;
  const std::string module = ModuleOf(path);
  const std::vector<std::string_view> lines = Lines(text);
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string code = CodeOf(lines[i]);
    for (const Call& call : Calls()) {
      if (call.modules.contains(module) || !Calls(code, call.word)) continue;
      findings.push_back(At(path, i) + std::string(call.word) + " does not belong here: " + std::string(call.instead));
    }
  }
  return findings;
}

Findings CheckFirstLine(std::string_view path, std::string_view text) {
  if (text.starts_with("// ") || text.starts_with("#!") || text.starts_with("-- ")) return {};
  return {std::string(path) + ":1: the first line is a comment that says what the file is for"};
}

Findings CheckNamedFiles(std::string_view path, std::string_view text, const std::vector<std::string>& known) {
  Findings findings;
  static constexpr std::array<std::string_view, 9> kTops = {"src/",     "include/", "tests/",     "proto/", "docs/",
                                                            "scripts/", "bench/",   "pipelines/", "examples/"};
  const std::vector<std::string_view> lines = Lines(text);
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string_view rest = lines[i];
    for (size_t open = rest.find('`'); open != std::string_view::npos; open = rest.find('`')) {
      const size_t close = rest.find('`', open + 1);
      if (close == std::string_view::npos) break;
      const std::string name(rest.substr(open + 1, close - open - 1));
      rest.remove_prefix(close + 1);
      const bool is_file = std::any_of(kTops.begin(), kTops.end(), [&](std::string_view top) {
        return name.starts_with(top) && name.find_first_of(" *<{…") == std::string::npos;
      });
      const bool exists = std::any_of(known.begin(), known.end(), [&](const std::string& file) {
        return file == name || file.starts_with(name.ends_with('/') ? name : name + "/");
      });
      if (is_file && !exists) findings.push_back(At(path, i) + "there is no `" + name + "`");
    }
  }
  return findings;
}

}  // namespace cd4ml::tidy
