// Runtimes as values: what they are made from, and what makes two of them the same.
#include "cd4ml/core/runtime.h"

#include <algorithm>
#include <array>

#include "cd4ml/base/glob.h"
#include "cd4ml/base/text.h"
#include "cd4ml/base/value.h"

namespace cd4ml::core {
namespace {

using Kind = RuntimeSpec::Kind;

// Raise it when agents build runtimes in another way: none that was built before is used then.
constexpr int kVersion = 1;

std::string_view KindText(Kind kind) {
  static constexpr std::string_view kWords[] = {"host", "host", "python", "image", "setup"};
  return kWords[static_cast<size_t>(kind)];
}

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// Returns the line without a comment, which begins the line or follows a blank.
std::string_view WithoutComment(std::string_view line) {
  for (size_t at = line.find('#'); at != std::string_view::npos; at = line.find('#', at + 1)) {
    if (at == 0 || line[at - 1] == ' ' || line[at - 1] == '\t') return Trimmed(line.substr(0, at));
  }
  return Trimmed(line);
}

bool IsElsewhere(std::string_view place) { return place.starts_with('/') || place.find("://") != std::string_view::npos; }

// Returns what keeps one requirement or option from saying exactly what is to be installed, or "".
std::string ProblemOf(std::string_view line) {
  if (line.starts_with('-')) {
    static constexpr std::array<std::string_view, 6> kOthers = {"-r",           "--requirement", "-c",
                                                                "--constraint", "-e",            "--editable"};
    // "-r more.txt", "-rmore.txt", "--requirement more.txt", "--requirement=more.txt"
    const size_t end = line.starts_with("--") ? std::min(line.find_first_of(" =\t"), line.size()) : 2;
    const std::string_view name = line.substr(0, end);
    const std::string_view argument = Trimmed(line.substr(std::min(line.find_first_not_of(" =\t", end), line.size())));
    if (std::find(kOthers.begin(), kOthers.end(), name) != kOthers.end()) {
      return "leads to other files; a lock file is complete by itself";
    }
    const bool is_folder = name == "-f" || name == "--find-links";
    if (is_folder && !IsElsewhere(argument)) return "is a folder of the repository; name it by a URL or an absolute path";
    return "";
  }
  const std::string_view requirement = Trimmed(line.substr(0, line.find_first_of(";")));
  if (requirement.find("git+") != std::string_view::npos) {
    const std::string_view commit = requirement.substr(requirement.rfind('@') + 1).substr(0, 40);
    const bool is_commit = commit.size() == 40 && commit.find_first_not_of("0123456789abcdef") == std::string_view::npos;
    return is_commit ? "" : "does not name one commit; write the URL@COMMIT with all 40 digits";
  }
  if (const size_t at = requirement.find(" @ "); at != std::string_view::npos) {
    return IsElsewhere(Trimmed(requirement.substr(at + 3))) ? "" : "is a file of the repository; name it by a URL or an absolute path";
  }
  const std::string_view first = requirement.substr(0, requirement.find_first_of(" \t"));
  if (IsElsewhere(first)) return "";
  if (first.find('/') != std::string_view::npos || first.ends_with(".whl") || first.ends_with(".tar.gz")) {
    return "is a file of the repository; name it by a URL or an absolute path";
  }
  const std::string_view name = first.substr(0, first.find_first_of("=<>!~[ "));
  const size_t equals = requirement.find("==");
  const bool is_pinned = equals != std::string_view::npos && requirement.find_first_of(",*<>!~") == std::string_view::npos;
  return is_pinned ? "" : "does not name one version; write " + std::string(name) + "==VERSION";
}

}  // namespace

std::vector<std::string> RuntimeFilePatterns(const RuntimeSpec& runtime) {
  if (runtime.kind == Kind::kPython) return {runtime.requirements};
  return runtime.kind == Kind::kSetup ? runtime.key : std::vector<std::string>{};
}

std::map<std::string, std::string> FilesOf(const RuntimeSpec& runtime,
                                           const std::map<std::string, std::string>& files) {
  std::map<std::string, std::string> own;
  for (const std::string& pattern : RuntimeFilePatterns(runtime)) {
    for (const auto& [path, text] : files) {
      if (path == pattern || (runtime.kind == Kind::kSetup && MatchesGlob(pattern, path))) own[path] = text;
    }
  }
  return own;
}

Digest RuntimeDigest(const RuntimeSpec& runtime, const std::map<std::string, std::string>& files) {
  Value::Map texts;
  for (const auto& [path, text] : FilesOf(runtime, files)) texts[path] = text;
  Value::List argv(runtime.setup.argv.begin(), runtime.setup.argv.end());
  return Sha256(ToJson(Value::Map{{"version", kVersion},
                                  {"kind", KindText(runtime.kind)},
                                  {"python", runtime.python},
                                  {"image", runtime.image},
                                  {"script", runtime.setup.script},
                                  {"argv", std::move(argv)},
                                  {"files", std::move(texts)}}));
}

std::string ToText(const RuntimeSpec& runtime) {
  switch (runtime.kind) {
    case Kind::kUnsaid:
    case Kind::kHost:
      return "host";
    case Kind::kPython:
      return "python " + runtime.python + " with " + runtime.requirements;
    case Kind::kImage:
      return "image " + runtime.image;
    case Kind::kSetup: {
      std::string text = "setup with ";
      for (const std::string& key : runtime.key) text += (&key == &runtime.key.front() ? "" : ", ") + key;
      return text;
    }
  }
  return "";
}

const RuntimeSpec& RuntimeOf(const PipelineSpec& pipeline, const StageSpec& stage) {
  if (!stage.service) return stage.runtime;
  const StageSpec* maker = pipeline.FindStage(ParseReference(stage.package).stage);
  return maker == nullptr ? stage.runtime : maker->runtime;
}

absl::Status CheckLock(std::string_view text) {
  int number = 0, begun = 0;
  std::string line;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view part = WithoutComment(text.substr(0, end));
    text.remove_prefix(std::min(text.size(), end + 1));
    ++number;
    if (line.empty()) begun = number;
    const bool goes_on = part.ends_with('\\');
    if (goes_on) part.remove_suffix(1);
    line += part;
    if (goes_on && !text.empty()) continue;
    const std::string_view whole = Trimmed(line);
    if (const std::string problem = whole.empty() ? "" : ProblemOf(whole); !problem.empty()) {
      return absl::InvalidArgumentError("line " + std::to_string(begun) + ": " + Quoted(whole) + " " + problem);
    }
    line.clear();
  }
  return absl::OkStatus();
}

}  // namespace cd4ml::core
