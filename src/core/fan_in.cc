// A search through the candidates, newest first, that goes back as soon as two of them disagree.
#include "cd4ml/core/fan_in.h"

#include <algorithm>
#include <string_view>

namespace cd4ml::core {
namespace {

// Choices that are tried before the search gives up: enough for any set that people would call consistent.
constexpr int kStepsMax = 100'000;

constexpr std::string_view kIsMixed = "is mixed: ";

std::string Brief(const std::string& revision) { return revision.substr(0, 12); }

class Search {
 public:
  explicit Search(const std::vector<Upstream>& upstreams) : upstreams_(upstreams), chosen_(upstreams.size()) {}

  bool Choose(size_t upstream, const Revisions& agreed) {
    if (upstream == upstreams_.size()) {
      shared_ = agreed;
      return true;
    }
    const std::vector<Candidate>& candidates = upstreams_[upstream].candidates;
    for (size_t i = 0; i < candidates.size() && ++steps_ <= kStepsMax; ++i) {
      Revisions more = agreed;
      const bool agrees = candidates[i].mixed.empty() && std::all_of(candidates[i].used.begin(), candidates[i].used.end(), [&](const auto& used) {
        return more.emplace(used.first, used.second).first->second == used.second;
      });
      chosen_[upstream] = i;
      if (agrees && Choose(upstream + 1, more)) return true;
    }
    return false;
  }

  std::vector<size_t>& chosen() { return chosen_; }
  Revisions& shared() { return shared_; }

 private:
  const std::vector<Upstream>& upstreams_;
  std::vector<size_t> chosen_;
  Revisions shared_;
  int steps_ = 0;
};

// Returns in words where the newest candidates disagree.
std::string Disagreement(const std::vector<Upstream>& upstreams, const Revisions& fixed) {
  std::map<std::string, std::pair<std::string, std::string>> seen;   // Source -> who, revision.
  for (const auto& [source, revision] : fixed) seen[source] = {"this run", revision};
  for (const Upstream& upstream : upstreams) {
    if (!upstream.candidates.front().mixed.empty()) return MixedText(upstream.material, upstream.candidates.front());
    for (const auto& [source, revision] : upstream.candidates.front().used) {
      const auto [other, is_new] = seen.emplace(source, std::pair(upstream.material, revision));
      if (is_new || other->second.second == revision) continue;
      return "\"" + upstream.material + "\" (" + upstream.candidates.front().run + ") is made from " + source + " at " +
             Brief(revision) + ", \"" + other->second.first + "\" from " + Brief(other->second.second);
    }
  }
  return "";
}

}  // namespace

void AddUsed(Candidate& candidate, const RunId& by, const std::string& source, const std::string& revision) {
  const std::string& known = candidate.used.emplace(source, revision).first->second;
  if (known == revision || !candidate.mixed.empty()) return;
  candidate.mixed = "is made from " + source + " at " + Brief(known) + " and, by " + by + ", at " + Brief(revision);
}

void AddMark(Candidate& candidate, const RunId& by, const std::string& mark) {
  if (mark.empty() || !candidate.mixed.empty()) return;
  // Whoever inherited it repeats the first reason, however many are between.
  const size_t inherited = mark.rfind(kIsMixed);
  const std::string reason = inherited == std::string::npos ? mark : mark.substr(inherited + kIsMixed.size());
  candidate.mixed = std::string(kIsMixed) + (by == candidate.run ? "" : "by " + by + ": ") + reason;
}

std::string MixedText(const std::string& material, const Candidate& candidate) {
  return "\"" + material + "\" (" + candidate.run + ") " + candidate.mixed;
}

FanIn ResolveFanIn(const std::vector<Upstream>& upstreams, const Revisions& fixed) {
  FanIn result;
  Search search(upstreams);
  if (search.Choose(0, fixed)) {
    result.chosen = std::move(search.chosen());
    result.shared = std::move(search.shared());
    return result;
  }
  result.chosen.assign(upstreams.size(), 0);
  result.shared = fixed;
  result.conflict = Disagreement(upstreams, fixed);
  return result;
}

}  // namespace cd4ml::core
