// Who of a group goes first, and who is overtaken.
#include "cd4ml/core/concurrency.h"

#include <algorithm>
#include <array>

namespace cd4ml::core {
namespace {

constexpr std::array<std::string_view, 3> kPolicies = {"queue", "latest", "cancel"};

}  // namespace

std::string_view ToText(ConcurrencyPolicy policy) { return kPolicies[static_cast<size_t>(policy)]; }

std::optional<ConcurrencyPolicy> ParseConcurrencyPolicy(std::string_view text) {
  const auto found = std::find(kPolicies.begin(), kPolicies.end(), text);
  if (found == kPolicies.end()) return std::nullopt;
  return static_cast<ConcurrencyPolicy>(found - kPolicies.begin());
}

GroupDecision DecideGroup(ConcurrencyPolicy policy, int limit, const std::vector<Contender>& contenders) {
  GroupDecision decision;
  std::vector<const Contender*> waiting, under_way;
  for (const Contender& contender : contenders) (contender.under_way ? under_way : waiting).push_back(&contender);
  if (waiting.empty()) return decision;
  if (policy == ConcurrencyPolicy::kQueue) {
    std::stable_sort(waiting.begin(), waiting.end(),
                     [](const Contender* a, const Contender* b) { return a->priority > b->priority; });
  } else {
    const std::string newest = waiting.back()->id;
    for (size_t i = 0; i + 1 < waiting.size(); ++i) decision.superseded.push_back({waiting[i]->id, newest});
    waiting = {waiting.back()};
    // Room for the newest, at the cost of the oldest.
    int surplus = static_cast<int>(under_way.size()) + 1 - limit;
    for (const Contender* contender : under_way) surplus -= contender->ending;
    for (const Contender* contender : under_way) {
      if (policy != ConcurrencyPolicy::kCancel || surplus <= 0) break;
      if (contender->ending) continue;
      decision.superseded.push_back({contender->id, newest});
      --surplus;
    }
  }
  const size_t room = static_cast<size_t>(std::max(0, limit - static_cast<int>(under_way.size())));
  for (size_t i = 0; i < std::min(room, waiting.size()); ++i) decision.admitted.push_back(waiting[i]->id);
  return decision;
}

}  // namespace cd4ml::core
